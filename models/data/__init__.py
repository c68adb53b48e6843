"""Training material: crops of photographs with a past, small images, and the rounding of near-lossless contexts.

A model depends on its images as much as on its networks. So the code that chooses, cuts and ages them stands in a
folder of its own, and needs no torch.
"""
