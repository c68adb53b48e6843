"""The networks in float, and their losses.

Nothing here knows files, recipes or the training loop. Functions take tensors, and random numbers from their callers.
So a network can be read, tested and frozen alone.
"""
