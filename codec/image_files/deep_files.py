"""Reading samples of more than 8 bits, which Pillow would cut, by imagecodecs and tifffile.

Samples of less than 16 bits are scaled to 16. That can be undone exactly.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import DamagedImageError, UnsupportedImageError
from codec.file_metadata.exif_tags import ORIENTATION
from codec.file_metadata.file_parts import PNG_MAGIC, png_chunks
from codec.format.bare_png import chunk
from codec.image_files import source_depth

U16 = NDArray[np.uint16]
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass of an interlaced PNG, and the steps to the next ones."""
FULL = (1 << 16) - 1
WHITE_IS_ZERO, SEPARATE, UNASSOCIATED_ALPHA = 0, 2, 2
"""TIFF's numbers of inverted grey, of channels that stand apart, and of alpha that colours are not multiplied by."""

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"(P[2356])" + 3 * (_GAP + rb"(\d+)") + rb"\s")
_TURNS: dict[int, Callable[[U16], U16]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""What makes an array upright, by the TIFF tag of orientation. Pillow does the same with the samples of TIFF files."""


def read(image: Image.Image, data: bytes) -> U16 | None:
    """Return the samples of a file of more than 8 bits a sample, uint16 array (H, W, C). None if it has 8 or fewer.

    Parameters
    ----------
    image : PIL.Image.Image
        The image as Pillow opened it.
    data : bytes
        Its file.

    Raises
    ------
    ImageError
        The file holds samples that 16 bits do not hold, or is damaged.
    """
    reader = _READERS.get((image.format or "").upper())
    found = reader(image, data) if reader and data else None
    if found is None:
        return None
    samples = found[:, :, None] if found.ndim == 2 else found
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4:
        raise UnsupportedImageError(f"expected 1 to 4 channels, got an array of {found.shape}")
    return np.ascontiguousarray(samples)


def scaled(values: NDArray[Any], largest: int) -> U16:
    """Return samples of 0..``largest`` as samples of 0..65535."""
    if values.size and int(values.max()) > largest:
        raise UnsupportedImageError(f"expected samples up to {largest}, got {values.max()}")
    if largest == FULL:
        return values.astype(np.uint16, copy=False)
    return ((values.astype(np.uint32) * FULL + largest // 2) // largest).astype(np.uint16)


def _png(image: Image.Image, data: bytes) -> U16 | None:
    if data[24] != 16:
        return None
    if image.tell():
        raise UnsupportedImageError("expected frames of 8 bits a sample, got 16")
    return _png_decoded(data) if data[28] == 0 else _interlaced(data)


def _png_decoded(data: bytes) -> U16:
    from imagecodecs import png_decode

    found: U16 = png_decode(data)
    return found[:, :, None] if found.ndim == 2 else found


def _interlaced(data: bytes) -> U16:
    """Return the samples of an interlaced PNG: each of its seven passes is a PNG of its own, of every n-th pixel."""
    parts = list(png_chunks(data))
    width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
    rows = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    before = [chunk(kind, body) for kind, body in parts if kind == b"tRNS"]
    pixel_bytes = 2 * {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    found, at = None, 0
    for x, y, across, down in _PASSES:
        columns, lines = -(-(width - x) // across), -(-(height - y) // down)
        if columns <= 0 or lines <= 0:
            continue
        end = at + lines * (1 + columns * pixel_bytes)
        head = chunk(b"IHDR", struct.pack(">IIBB3x", columns, lines, 16, colour_type))
        body = chunk(b"IDAT", zlib.compress(rows[at:end], 0))
        samples = _png_decoded(b"".join([PNG_MAGIC, head, *before, body, chunk(b"IEND", b"")]))
        found = np.zeros((height, width, samples.shape[2]), np.uint16) if found is None else found
        found[y::down, x::across] = samples
        at = end
    if found is None or at != len(rows):
        raise DamagedImageError("cannot be read: its passes have another length")
    return found


def _tiff(image: Image.Image, data: bytes) -> U16 | None:
    return read_tiff(data, image.tell(), image.width * image.height)


def read_tiff(data: bytes, page: int, max_pixels: int) -> U16 | None:
    """Return the samples of a page of a TIFF file, uint16 array (H, W[, C]); None if they are none of 9 to 16 bits.

    Parameters
    ----------
    data : bytes
    page : int
        Number of the page, from 0.
    max_pixels : int
        Limit on width times height.

    Raises
    ------
    ImageError
        The page is over the limit.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    from tifffile import TiffFile, TiffPage

    with _without_log(), TiffFile(BytesIO(data)) as file:
        found = file.pages[page]
        if not isinstance(found, TiffPage) or not _is_deep(found):
            return None
        if found.imagewidth * found.imagelength > max_pixels:
            raise UnsupportedImageError(
                f"{found.imagewidth}x{found.imagelength} pixels are over the limit of {max_pixels}"
            )
        samples = scaled(np.asarray(found.asarray()), (1 << found.bitspersample) - 1)
        if samples.ndim == 3 and found.planarconfig == SEPARATE:
            samples = np.moveaxis(samples, 0, -1)
        turn = _TURNS.get(found.tags.valueof(ORIENTATION, 1))
    if found.photometric == WHITE_IS_ZERO:
        samples = FULL - samples
    return turn(samples) if turn else samples


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep tifffile from writing about damage to standard error."""
    from tifffile import logger

    before, logger().disabled = logger().disabled, True
    try:
        yield
    finally:
        logger().disabled = before


def _is_deep(page: Any) -> bool:
    """Return whether a page has unsigned samples of 9 to 16 bits, of grey or RGB with or without alpha."""
    colours = {WHITE_IS_ZERO: 1, 1: 1, 2: 3}.get(page.photometric)
    if not 8 < page.bitspersample <= 16 or page.sampleformat != 1 or colours is None or page.is_reduced:
        return False
    further = page.samplesperpixel - colours
    plain = further == 0 or (further == 1 and page.photometric != WHITE_IS_ZERO)
    return plain and list(page.extrasamples) == [UNASSOCIATED_ALPHA] * further


def _jpeg2000(image: Image.Image, data: bytes) -> U16 | None:
    depths = source_depth.jpeg2000_depths(data)
    if max(depths) <= 8:
        return None
    from imagecodecs import jpeg2k_decode

    if len(set(depths)) > 1 or max(depths) > 16:
        raise UnsupportedImageError(f"expected samples of one depth up to 16 bits, got {', '.join(map(str, depths))}")
    return scaled(np.asarray(jpeg2k_decode(data)), (1 << depths[0]) - 1)


def _avif(image: Image.Image, data: bytes) -> U16 | None:
    depth = source_depth.avif_depth(data)
    if not 8 < depth < 16:
        return None
    from imagecodecs import avif_decode

    return scaled(np.asarray(avif_decode(data)), (1 << depth) - 1)


def _ppm(image: Image.Image, data: bytes) -> U16 | None:
    found = _PPM_HEADER.match(data)
    if not found or int(found[4]) <= 255:
        return None
    magic, largest = found[1], int(found[4])
    channels = 3 if magic in (b"P3", b"P6") else 1
    width, height = image.size
    if magic in (b"P5", b"P6"):
        values = np.frombuffer(data, ">u2", width * height * channels, found.end())
    else:
        words = re.sub(rb"#[^\r\n]*", b" ", data[found.end() :]).split()
        values = np.array([int(word) for word in words[: width * height * channels]])
    return scaled(values.reshape(height, width, channels), largest)


def _sgi(image: Image.Image, data: bytes) -> U16 | None:
    _, rle, width_bytes, dimensions, width, height, channels = struct.unpack_from(">HBBHHHH", data)
    if width_bytes != 2:
        return None
    channels = channels if dimensions == 3 else 1
    height = height if dimensions > 1 else 1
    if not rle:
        planes = np.frombuffer(data, ">u2", channels * height * width, 512).reshape(channels, height, width)
    else:
        starts = struct.unpack_from(f">{channels * height}I", data, 512)
        planes = np.stack([_sgi_row(data, start, width) for start in starts]).reshape(channels, height, width)
    return np.moveaxis(planes[:, ::-1], 0, -1).astype(np.uint16)


def _sgi_row(data: bytes, at: int, width: int) -> U16:
    """Return a row of samples whose runs begin at a byte."""
    row: list[int] = []
    while len(row) < width:
        (code,) = struct.unpack_from(">H", data, at)
        count, at = code & 127, at + 2
        if count == 0:
            raise DamagedImageError(f"expected {width} samples in a row, got {len(row)}")
        literal = bool(code & 128)
        row += struct.unpack_from(f">{count if literal else 1}H", data, at) * (1 if literal else count)
        at += 2 * (count if literal else 1)
    return np.array(row[:width], np.uint16)


_READERS: dict[str, Callable[[Image.Image, bytes], U16 | None]] = {
    "AVIF": _avif,
    "JPEG2000": _jpeg2000,
    "PNG": _png,
    "PPM": _ppm,
    "SGI": _sgi,
    "TIFF": _tiff,
}
"""Functions that read the samples of a format, by Pillow's names."""
