"""Layers of integer networks: products, convolutions, transforms. Every machine gets the same result."""
