"""Files of ours in file managers: their thumbnails, and what tells a desktop of the files."""

DEFAULT_PX, LARGEST_PX = 256, 1024
"""Longer sides of thumbnails. The specification of freedesktop.org has the sizes 128, 256, 512 and 1024."""
