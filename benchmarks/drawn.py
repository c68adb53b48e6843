"""Ten drawn pictures, which are unlike photographs and which people compress, too.

They are small, so that each can be coded at a hundred qualities. They use no fonts and no random numbers, so that they
are the same with all versions of the libraries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]


def _grid(width: int, height: int) -> tuple[F64, F64]:
    """Return the row and the column of each pixel."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y, x


def _coverage(width: int, height: int, radius: float) -> F64:
    """Return the part of each pixel, 0 to 1, that a disc in the middle covers. So its edge is smooth."""
    y, x = _grid(width, height)
    return np.clip(radius + 0.5 - np.hypot(y - (height - 1) / 2, x - (width - 1) / 2), 0, 1)


def _blend(under: tuple[int, int, int], over: tuple[int, int, int], share: F64) -> U8:
    mixed = np.asarray(under) + (np.asarray(over) - np.asarray(under)) * share[..., None]
    return np.rint(mixed).astype(np.uint8)


def disc() -> Image.Image:
    """Return an opaque disc of one colour on another."""
    return Image.fromarray(_blend((240, 240, 235), (200, 40, 60), _coverage(128, 128, 45)))


def disc_rgba() -> Image.Image:
    """Return a disc on a transparent ground, whose hidden pixels are black."""
    share = _coverage(144, 144, 60)
    colours = np.where(share[..., None] > 0, np.asarray((30, 120, 200)), 0)
    alpha = np.rint(255 * share)[..., None]
    return Image.fromarray(np.concatenate([colours, alpha], axis=2).astype(np.uint8))


def disc_shaded() -> Image.Image:
    """Return a shaded disc on a transparent ground, whose hidden pixels are white."""
    share = _coverage(120, 120, 50)
    y, x = _grid(120, 120)
    shade = np.stack([60 + y, 200 - x, 90 + (x + y) / 3], axis=-1)
    colours = np.where(share[..., None] > 0, shade, 255)
    return Image.fromarray(np.rint(np.concatenate([colours, 255 * share[..., None]], axis=2)).astype(np.uint8))


def frame() -> Image.Image:
    """Return a white picture with a dark frame."""
    array = np.full((120, 180, 3), 255, dtype=np.uint8)
    array[8:112, 8:172] = (20, 30, 50)
    array[14:106, 14:166] = 255
    return Image.fromarray(array)


def gradient() -> Image.Image:
    """Return a smooth transition between two colours, rounded to whole samples."""
    y, x = _grid(160, 120)
    return Image.fromarray(_blend((250, 200, 60), (30, 60, 160), (x / 159 + y / 119) / 2))


def glow() -> Image.Image:
    """Return a grey round glow, stored as RGB."""
    y, x = _grid(128, 128)
    grey = np.rint(230 * np.exp(-((y - 63.5) ** 2 + (x - 63.5) ** 2) / 1800) + 12)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))


def text() -> Image.Image:
    """Return lines of small dark strokes on white, like a page."""
    page = np.full((120, 192, 3), 255, dtype=np.uint8)
    for line in range(8):
        for letter in range(22):
            code, top, left = (line * 37 + letter * 101 + letter * letter * 13) % 512, 8 + 14 * line, 8 + 8 * letter
            for bit in range(9):
                if code >> bit & 1:
                    row, column = divmod(bit, 3)
                    page[top + 3 * row : top + 3 * row + 3, left + 2 * column : left + 2 * column + 2] = 25
    return Image.fromarray(page)


def screenshot() -> Image.Image:
    """Return windows of several colours with bars, buttons and lines."""
    screen = np.full((140, 200, 3), (58, 110, 165), dtype=np.uint8)
    for top, left, height, width, bar in ((12, 10, 90, 120, (0, 60, 140)), (44, 80, 84, 110, (90, 90, 110))):
        screen[top : top + height, left : left + width] = (236, 233, 216)
        screen[top : top + 12, left : left + width] = bar
        screen[top + 3 : top + 9, left + width - 10 : left + width - 4] = (220, 60, 40)
        for line in range(4):
            at = top + 20 + 12 * line
            screen[at : at + 6, left + 8 : left + 30 + 17 * line] = (70, 70, 75)
        screen[top + height - 16 : top + height - 6, left + width - 40 : left + width - 8] = (200, 215, 240)
    return Image.fromarray(screen)


def checker() -> Image.Image:
    """Return a board of fields of 7 by 7 pixels."""
    y, x = np.mgrid[:98, :98]
    fields = (y // 7 + x // 7) % 2
    return Image.fromarray(np.where(fields[..., None] == 1, (235, 220, 180), (90, 60, 40)).astype(np.uint8))


def lines() -> Image.Image:
    """Return line art: smooth thin rings and rays, grey."""
    y, x = _grid(150, 150)
    radius, angle = np.hypot(y - 74.5, x - 74.5), np.arctan2(y - 74.5, x - 74.5)
    ring = np.abs((radius + 7) % 14 - 7)
    ray = np.abs((angle * 12 / np.pi + 1) % 2 - 1) * radius * np.pi / 12
    ink = np.clip(1.2 - np.minimum(ring, ray), 0, 1)
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8))


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    drawing.__name__: drawing
    for drawing in (disc, disc_rgba, disc_shaded, frame, gradient, glow, text, screenshot, checker, lines)
}
"""The functions that draw the ten pictures, by name."""
