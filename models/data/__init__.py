"""Training material: crops of photographs with a past, small images, and what near-lossless contexts hold."""
