"""Integer networks: products, convolutions, transforms. All machines compute the same results."""
