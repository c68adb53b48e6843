"""The training loop: material, optimiser, checkpoints, devices, and what becomes of a finished run."""
