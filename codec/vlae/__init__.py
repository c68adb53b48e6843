"""The VLAE coder: a raster of integers becomes bits-back messages, band by band, and a raster again."""
