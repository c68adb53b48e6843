"""Image files of other formats: read and written through Pillow, with checks for what Pillow would lose in silence."""
