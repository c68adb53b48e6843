"""The tags of EXIF and TIFF that matter to the codec."""

from __future__ import annotations

import warnings

from PIL import Image

ORIENTATION, X_RESOLUTION = 274, 282

LAYOUT_TAGS = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 317, 320, 322, 323, 324, 325,
    330, 338, 339, 340, 341, 347, 512, 513, 514, 519, 520, 521, 530, 531, 532, 700, 34675,
})  # fmt: skip
"""TIFF tags that describe how a file stores its pixels (or XMP and ICC), and so not the picture."""


def has_resolution(exif: bytes) -> bool:
    """Return whether EXIF has a resolution. If it is damaged, it has none."""
    return _value(exif, X_RESOLUTION) is not None


def orientation(exif: bytes) -> int:
    """Return the orientation that EXIF asks for, 1 to 8; 1, upright, if it says none or is damaged."""
    value = _value(exif, ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _value(exif: bytes, tag: int) -> object:
    found = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found.load(exif)
            return found.get(tag)
        except Exception:
            # Damaged tags make Pillow's reader raise many kinds of errors.
            return None
