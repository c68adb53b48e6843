"""PNG of images that Pillow cannot hold: of 16 bits a sample, or with four inks. See FORMAT.md, "Stored images".

A PNG of four inks is one of RGBA whose channels are cyan, magenta, yellow and black.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.errors import CorruptDataError
from codec.format.bare_png import SIGNATURE, chunk, chunks, whole
from codec.format.headers import CHANNELS

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour type, by the number of channels."""
_FILTERS = (8, 16, 32, 64, 128, 248)
"""libpng's numbers of the five filters of rows, and of the choice among them for each row."""
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)
QUICK = (248,)


def wide_png_bytes(samples: Samples, *, filters: tuple[int, ...] = _FILTERS, level: int = 9) -> bytes:
    """Return the optimised PNG of samples, without metadata. `open_wide_png` reads it, when it is bare.

    Parameters
    ----------
    samples : uint8 or uint16 array (H, W, C)
    filters : tuple of int
        Filters of rows that are tried. With `QUICK` and ``level`` 1, it tells roughly how long the optimised PNG is.
    level : int
        Effort of deflate, 1 to 9.
    """
    from imagecodecs import png_encode

    height, width, channels = samples.shape
    if channels > 2 and samples.dtype == np.uint16 and (samples[:, :, :3] == samples[:, :, :1]).all():
        samples = samples[:, :, 2:]
    array = np.ascontiguousarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    rows = [_rows(bytes(png_encode(array, 1, filter=each))) for each in filters]
    bodies = [_deflated(data, level, strategy) for data in rows for strategy in _STRATEGIES]
    head = struct.pack(">IIBB3x", width, height, 8 * samples.itemsize, _COLOUR_TYPES[samples.shape[2]])
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", min(bodies, key=len)) + chunk(b"IEND", b"")


def _rows(data: bytes) -> bytes:
    """Return the filtered rows of a PNG."""
    return zlib.decompress(b"".join(body for kind, body in chunks(data) if kind == b"IDAT"))


def _deflated(data: bytes, level: int, strategy: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return stream.compress(data) + stream.flush()


def open_wide_png(data: bytes, size: tuple[int, int], mode: str) -> Samples:
    """Return the samples of a bare PNG, uint8 or uint16 array (H, W, C); `bare` of `wide_png_bytes` is the inverse.

    Parameters
    ----------
    data : bytes
    size : tuple of int
        Width and height that the PNG must have.
    mode : str
        One of `codec.format.headers.WIDE_MODES`, which the PNG must stand for.

    Raises
    ------
    CorruptDataError
        The data is damaged, or of another kind.
    """
    from imagecodecs import png_decode

    restored = whole(data, size, mode)
    try:
        samples: Any = png_decode(restored)
    except Exception as error:  # a damaged PNG makes the library raise several kinds of errors
        raise CorruptDataError(f"png: cannot be read: {error}") from error
    samples = samples.reshape(size[1], size[0], -1)
    if mode in ("RGB;16", "RGBA;16") and samples.shape[2] < 3:
        samples = np.concatenate([samples[:, :, :1]] * 2 + [samples], axis=2)
    if samples.shape[2] != CHANNELS[mode]:  # a transparent colour adds alpha
        raise CorruptDataError(f"png: expected {CHANNELS[mode]} channels, got {samples.shape[2]}")
    found: Samples = samples
    return found
