"""The blocks of an archive: which images share one.

To get an image, those before it in its chain are decoded. So a block has few large images. Of small images it has many,
because each of them borrows from the others, and they are decoded fast. The order of the images stays as it is.
"""

from __future__ import annotations

import os

from codec.format.archive_index import BLOCK_IMAGES
from codec.image_files import loading
from codec.image_files.frames import Frame
from codec.image_files.wide_image import Picture
from codec.images.small import SMALL_PIXELS

Source = Picture | Frame | str | os.PathLike[str] | bytes
"""An image, or the path or the bytes of its file, or a frame of that."""
Named = tuple[str, Source]
"""An image with its name."""

BLOCK_PIXELS = 1 << 19
"""Most pixels of a block's small images together. On average half of them are decoded to get one."""
LEAST_PIXELS = 1 << 8
"""Pixels that an image counts as at least, so that a block has at most some thousand images."""


def blocks_of(images: list[Named], count: int | None) -> list[list[Named]]:
    """Return the images of each block.

    Parameters
    ----------
    images : list of (str, image)
    count : int or None
        Images of a block. None makes a block of up to 8 large images, and of small ones with half a megapixel together.
    """
    if count is not None:
        return [images[begin : begin + count] for begin in range(0, len(images), count)]
    blocks: list[list[Named]] = []
    large = small_px = 0
    for image in images:
        pixels = small_pixels(image[1])
        more = (1, 0) if pixels is None else (0, max(pixels, LEAST_PIXELS))
        large, small_px = large + more[0], small_px + more[1]
        if not blocks or large > BLOCK_IMAGES or small_px > BLOCK_PIXELS:
            blocks.append([])
            large, small_px = more
        blocks[-1].append(image)
    return blocks


def small_pixels(source: Source) -> int | None:
    """Return the number of pixels of an image if it is small, else None. Nothing is decoded."""
    pixels = loading.pixel_count(source)
    return None if pixels is None or pixels >= SMALL_PIXELS else pixels
