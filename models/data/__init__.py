"""Training material: crops of photographs with a past, small images, and what near-lossless contexts hold.

What a model becomes depends on its images as much as on its networks, so how they are chosen, cut and aged stands in a
folder of its own, and can be looked at without torch.
"""
