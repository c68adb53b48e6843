"""What the codec needs of the machine: outputs, folders, sources of bytes, signals, threads, processes."""
