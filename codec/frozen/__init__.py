"""Frozen models: rasters and contexts, the networks of p(x|z), p(z) and q(z|x), and the files of their weights."""
