"""Image files of other formats, read and written through Pillow, and what Pillow does not tell of them."""
