"""The codec's access to the machine: outputs, folders, sources of bytes, signals, threads, processes."""
