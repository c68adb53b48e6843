"""The samples of images: from Pillow's images, and back.

An image that must come back exactly is coded, stored, or refused with a message. It is never changed in silence.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import UnsupportedImageError
from codec.format import metadata
from codec.format.headers import BITS_MODE, CODED_MODES, COLOURED_MODES, MODES, SAMPLES_CRC_BITS
from codec.image_files import loading

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Pixels:
    """The samples of an image, with its alpha apart from its colours.

    Attributes
    ----------
    mode : str
        One of `codec.format.headers.MODES`.
    samples : uint8 array (H, W, C)
        C is 3 for RGB and RGBA, unless their three colours are equal everywhere; else it is 1. They are palette indices
        for mode P, and 0 or 255 for mode 1.
    alpha : uint8 array (H, W) or None
    metadata : bytes
        The metadata chunk, see `codec.format.metadata`.
    codable : bool
        Whether the samples are intensities and describe the image completely. If not, an exact file is stored.
    keyed : bool
        Whether one of the colours means transparent. Only a stored PNG can say that.
    """

    mode: str
    samples: U8
    alpha: U8 | None
    metadata: bytes
    codable: bool
    keyed: bool = False


def from_pillow(image: Image.Image, max_pixels: int | None = None) -> Pixels:
    """Return the samples and metadata of an image. If they are codable, `to_pillow` is the inverse.

    Parameters
    ----------
    image : PIL.Image.Image
        It is loaded if it was not.
    max_pixels : int, optional
        Limit on width times height, in place of `PIXEL_LIMIT`.

    Raises
    ------
    UnsupportedImageError
        The image is over the limit or animated, has an unsupported mode, or holds more than Pillow returns.
    DamagedImageError
        Its file is damaged or truncated.
    ValueError
        The image is closed.
    """
    loading.check_frames(image)
    entries = loading.check(image, "image", max_pixels)
    if image.mode not in MODES:
        raise UnsupportedImageError(f"image: expected mode {', '.join(MODES)}, got {image.mode}")
    samples, alpha = planes(image)
    keyed = image.mode in ("1", "L", "RGB") and "transparency" in image.info
    codable = image.mode in CODED_MODES and not keyed
    return Pixels(image.mode, without_equal(samples), alpha, metadata.pack(entries), codable, keyed)


def without_palette(image: Image.Image) -> Image.Image:
    """Return an image without palette or transparent colour, of one of `CODED_MODES`, that looks the same.

    The mode L becomes LA, and RGB becomes RGBA. P becomes RGB, or RGBA if some colours are transparent.
    """
    if image.mode == "L":
        return image.convert("LA")
    colours = image.convert("RGBA")
    opaque = image.mode == "P" and colours.getchannel("A").getextrema() == (255, 255)
    return colours.convert("RGB") if opaque else colours


def planes(image: Image.Image) -> tuple[U8, U8 | None]:
    """Return the samples, uint8 (H, W, C), and the alpha, uint8 (H, W) or None, of an image of one of `MODES`."""
    if image.mode == "1":
        return np.asarray(image.convert("L"))[:, :, None], None
    array = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        return np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])
    return array.reshape(image.height, image.width, -1), None


def without_equal(samples: U8) -> U8:
    """Return samples (H, W, C), or only one channel (H, W, 1) if all channels are equal everywhere."""
    first = samples[:, :, :1]
    for channel in range(1, samples.shape[2]):
        if not np.array_equal(samples[:, :, channel : channel + 1], first):
            return samples
    return np.ascontiguousarray(first)


def is_black_and_white(samples: U8) -> bool:
    """Return whether samples (H, W, C) have one channel, and all are 0 or 255."""
    return samples.shape[2] == 1 and bool(((samples == 0) | (samples == 255)).all())


def to_pillow(pixels: Pixels) -> Image.Image:
    """Return the image of coded pixels, with its metadata in ``info``. The inverse of `from_pillow`.

    Raises
    ------
    CorruptDataError
        The metadata is damaged.
    """
    entries = metadata.info_of(pixels.metadata)
    array = pixels.samples
    if pixels.mode in COLOURED_MODES and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if pixels.alpha is not None:
        array = np.concatenate([array, pixels.alpha[:, :, None]], axis=2)
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    if pixels.mode == BITS_MODE:
        image = image.convert("1", dither=Image.Dither.NONE)
    image.info.update(entries)
    return image


def samples_crc(samples: U8, alpha: U8 | None) -> int:
    """Return the format's ``samples_crc``: the CRC-32 of the samples in raster order and of alpha, modulo 2^31.

    Parameters
    ----------
    samples : uint8 array (H, W, C)
    alpha : uint8 array (H, W) or None
    """
    crc = zlib.crc32(np.ascontiguousarray(samples).data)
    if alpha is not None:
        crc = zlib.crc32(np.ascontiguousarray(alpha).data, crc)
    return crc % (1 << SAMPLES_CRC_BITS)
