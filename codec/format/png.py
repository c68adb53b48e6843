"""PNG inside our files: the whole image of a stored file, and the alpha channel of a coded one.

Both are without what the file says anyway, see `codec.format.bare_png`. So a PNG that Pillow reads has the size of the
file's header, and no other chunks than ours. See FORMAT.md, "Stored images" and "Alpha".
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from codec.errors import CorruptDataError, ImageError
from codec.format.bare_png import bare, whole

MAX_COLOURS = {"L": 16, "RGB": 256, "RGBA": 256}
"""Most colours of an image that gets a palette. Grey images get none above 16 colours, because an index of 8 bits is no
shorter than a grey sample."""

U8 = NDArray[np.uint8]


def png_bytes(image: Image.Image, *, quick: bool = False) -> bytes:
    """Return the optimised PNG of an image, bare and without metadata. The inverse of `open_png`.

    Palette and transparency are kept. An image of few colours gets a palette where that is shorter.

    Parameters
    ----------
    image : PIL.Image.Image
        An image of one of `codec.format.headers.MODES`.
    quick : bool
        Whether to compress with the least effort. That tells roughly how long the optimised PNG is.

    Raises
    ------
    ImageError
        Pillow cannot write the image.
    """
    if image.mode == "P":
        image = _complete_palette(image)
    if quick:
        return _written(image, compress_level=1)
    plain = _written(image, optimize=True)
    return min(plain, _written(with_palette(image), optimize=True), key=len) if fits_palette(image) else plain


def _written(image: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    try:
        image.save(buffer, "PNG", icc_profile=None, **options)
    except Exception as error:
        # Wrong values in `info` make Pillow raise ValueError, TypeError or OSError.
        raise ImageError(f"image: cannot be written as PNG: {error}") from error
    return bare(buffer.getvalue())


def fits_palette(image: Image.Image) -> bool:
    """Return whether an image has so few colours that a palette may be shorter.

    An image with a transparent colour gets no palette.
    """
    if image.mode not in MAX_COLOURS or "transparency" in image.info:
        return False
    return image.getcolors(MAX_COLOURS[image.mode]) is not None


def with_palette(image: Image.Image) -> Image.Image:
    """Return an image of mode P with the same pixels as an image that fits a palette."""
    colours = np.asarray(image.convert("RGBA"))
    # Alpha is the highest byte. So the colours that are not opaque stand first, and PNG's list of alphas is short.
    keys = colours.view("<u4")[:, :, 0]
    known = _distinct(keys)
    indexed = Image.fromarray(np.searchsorted(known, keys).astype(np.uint8)).convert("L")
    entries = known.astype("<u4").view(np.uint8).reshape(-1, 4)
    indexed.putpalette(entries[:, :3].tobytes())
    if image.mode == "RGBA":
        indexed.info["transparency"] = entries[:, 3].tobytes()
    return indexed


def _distinct(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the distinct values of an array that has few, in ascending order.

    It goes row by row: to sort all values at once would take seconds.
    """
    known = np.unique(keys[:1])
    for row in keys:
        new = row[known[np.minimum(np.searchsorted(known, row), len(known) - 1)] != row]
        if new.size:
            known = np.union1d(known, new)
    return known


def _complete_palette(image: Image.Image) -> Image.Image:
    """Return the image with a palette entry for each index. A shorter palette would cut the indices in the PNG."""
    kind = image.palette.mode if image.palette else "RGB"
    palette = image.getpalette(kind) or []
    missing = (int(np.asarray(image).max()) + 1) * len(kind) - len(palette)
    if missing <= 0:
        return image
    image = image.copy()
    image.putpalette(palette + [0] * missing, kind)
    return image


def open_png(data: bytes, size: tuple[int, int], mode: str) -> Image.Image:
    """Return the loaded image of a PNG; the inverse of `png_bytes`.

    Parameters
    ----------
    data : bytes
    size : tuple of int
        Width and height that the PNG must have.
    mode : str
        Mode that the PNG must have.

    Raises
    ------
    CorruptDataError
        The data is damaged, or of another kind.
    """
    restored = whole(data, size, mode)
    try:
        # `PngImageFile` opens no other format. Pillow's own pixel limit is not needed: the size was checked.
        image = PngImageFile(BytesIO(restored))
        image.load()
        if image.mode == "P" and mode in MAX_COLOURS:
            return _without_palette(image, mode)
    except Exception as error:
        # A damaged PNG makes Pillow raise OSError, SyntaxError, ValueError, struct.error and others.
        raise CorruptDataError(f"png: cannot be read: {error}") from error
    if image.mode != mode or image.size != size:
        raise CorruptDataError(f"png: expected {size} pixels of mode {mode}, got {image.size} of {image.mode}")
    return image


def _without_palette(image: Image.Image, mode: str) -> Image.Image:
    """Return an image of a mode without palette that has the palette's colours and alpha. Undoes `with_palette`."""
    if mode != "RGBA" and "transparency" in image.info:
        raise CorruptDataError(f"png: expected no transparency beside a palette in mode {mode}")
    if mode == "L":
        return image.convert("RGB").getchannel("R")
    converted = image.convert(mode)
    converted.info.pop("transparency", None)
    return converted


def pack_alpha(alpha: U8) -> bytes:
    """Return the alpha chunk: one byte if alpha is constant, else a grey PNG, bare. The inverse of `unpack_alpha`.

    Parameters
    ----------
    alpha : uint8 array (H, W)
    """
    first = int(alpha[0, 0])
    if (alpha == first).all():
        return bytes([first])
    return png_bytes(Image.fromarray(alpha))


def unpack_alpha(chunk: bytes, size: tuple[int, int]) -> U8:
    """Return the alpha channel, uint8 array (H, W). The inverse of `pack_alpha`.

    Parameters
    ----------
    chunk : bytes
    size : tuple of int
        Width and height of the image.

    Raises
    ------
    CorruptDataError
        The chunk is damaged.
    """
    width, height = size
    if len(chunk) == 1:
        return np.full((height, width), chunk[0], dtype=np.uint8)
    return np.asarray(open_png(chunk, size, "L"))
