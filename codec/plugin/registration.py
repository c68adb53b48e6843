"""Telling Pillow of our files."""

from __future__ import annotations

from PIL import Image

from codec.plugin.opening import VlaeImageFile, accepts
from codec.plugin.saving import save

MIME_TYPE = "image/vlae"


def register_opener() -> None:
    """Make Pillow open and save ``.vlae`` files. To call it again changes nothing.

    ``import codec.VlaeImagePlugin`` does the same.
    """
    Image.register_open(VlaeImageFile.format, VlaeImageFile, accepts)
    Image.register_save(VlaeImageFile.format, save)
    Image.register_extension(VlaeImageFile.format, ".vlae")
    Image.register_mime(VlaeImageFile.format, MIME_TYPE)
