"""The networks in float, and what they are trained to make small.

The folder knows no files, no recipes and no training loop: only tensors, and the random numbers that it is given. So a
network can be read, tested and frozen alone.
"""
