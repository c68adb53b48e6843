"""Files of one image: a fidelity maps the image to an integer raster, which the VLAE coder codes, and back."""
