"""The thumbnail of a file: a small picture, as file managers show it."""

from __future__ import annotations

from PIL import Image

from codec.desktop import DEFAULT_PX, LARGEST_PX
from codec.errors import RequestError
from codec.format import container
from codec.image_files.display import direction, displayable, turned
from codec.image_files.wide_image import shown_of
from codec.plugin.opening import REDUCED
from codec.system.sources import Source, data_of, whole

GAP = 3.0
"""A large image is first reduced by averages, to at least this times the thumbnail's size, which is quicker."""


def thumbnail(data: Source, size: int = DEFAULT_PX) -> Image.Image:
    """Return a small picture of a file, RGB or RGBA and upright. Its ``info`` has the ICC profile alone.

    An image that is no larger than asked for keeps its size. A lossy file whose image is at least eight times as large
    is decoded to an eighth: the transform that would make the samples is left out, so they have no checksum.

    Parameters
    ----------
    data : path, bytes, bytearray, memoryview or binary file
        The source of the file's bytes. A str is a path.
    size : int
        Pixels of the longer side, at most, 1 to 1024.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    UnsupportedError
        The file has another version of the format, or the image is over the pixel limit.
    ModelError
        The file's model is missing, or has other weights.
    ImageError
        The ICC profile of an image of inks is damaged.
    ValueError
        The size is out of range, or the source is a closed file.
    TypeError
        A parameter has a wrong type.
    OSError
        The file cannot be read.
    """
    from codec.images import decoder  # loads the compiler of kernels

    size = whole("size", size, 1)
    if size > LARGEST_PX:
        raise RequestError(f"size: expected at most {LARGEST_PX}, got {size}")
    file = container.unpack(data_of(data, "data"))
    header, found = file.header, decoder.opened(file)
    if header.quality is not None and max(header.width, header.height) >= REDUCED * size:
        return _within(size, found.reduced(), (header.width / REDUCED, header.height / REDUCED))
    image = shown_of(found.image())
    return _within(size, image, image.size)


def _within(size: int, image: Image.Image, sides: tuple[float, float]) -> Image.Image:
    """Return the thumbnail of an image, of which the part with these sides is the picture."""
    shown, profile = displayable(image)
    scale = min(size / max(sides), 1)
    smaller = max(round(sides[0] * scale), 1), max(round(sides[1] * scale), 1)
    if shown.size != smaller:
        shown = shown.resize(smaller, Image.Resampling.LANCZOS, (0, 0, *sides), GAP)
    shown.info = direction(image) | {"icc_profile": profile}
    upright = turned(shown)
    upright.info = {"icc_profile": profile} if profile else {}
    return upright
