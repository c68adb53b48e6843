"""Images that Pillow cannot hold, or only in part: 16 bits a sample, and four inks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import ImageError
from codec.format.headers import SAMPLES_CRC_BITS, WIDE_MODES

DEEP_MODES = WIDE_MODES[:4]
"""Modes of 16 bits a sample, by the number of channels less 1."""
INKS_MODE = "CMYK"


@dataclass(frozen=True)
class WideImage:
    """An image of one of `codec.format.headers.WIDE_MODES`.

    Attributes
    ----------
    samples : uint16 array (H, W, C), or uint8 array (H, W, 4) of inks
        With alpha, that is the last channel.
    info : mapping
        The metadata, as in Pillow's ``info``.
    """

    samples: NDArray[np.uint16] | NDArray[np.uint8]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """One of `codec.format.headers.WIDE_MODES`."""
        return DEEP_MODES[self.samples.shape[2] - 1] if self.samples.dtype == np.uint16 else INKS_MODE

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width, _ = self.samples.shape
        return width, height

    @property
    def samples_crc(self) -> int:
        """The format's ``samples_crc``: as of other images, with two bytes for a sample of 16 bits."""
        colours = 3 if self.mode == "RGBA;16" else 1 if self.mode == "LA;16" else self.samples.shape[2]
        little = self.samples.astype(self.samples.dtype.newbyteorder("<"), copy=False)
        crc = zlib.crc32(little[:, :, :colours].tobytes())
        return zlib.crc32(little[:, :, colours:].tobytes(), crc) % (1 << SAMPLES_CRC_BITS)

    def public(self) -> Image.Image | NDArray[np.uint16]:
        """Return the image as users of the package get it: a Pillow image of I;16 or CMYK, else an array (H, W, C)."""
        if self.mode not in ("I;16", INKS_MODE):
            return self.samples.astype(np.uint16, copy=False)
        if self.mode == INKS_MODE:
            image = Image.fromarray(self.samples, INKS_MODE)
        else:
            image = Image.fromarray(np.ascontiguousarray(self.samples[:, :, 0]))
        image.info.update(self.info)
        return image

    def shown(self) -> Image.Image:
        """Return a Pillow image of 8 bits a sample, L, LA, RGB or RGBA, that looks the same.

        Inks are converted to sRGB by the image's ICC profile, which is dropped then.

        Raises
        ------
        ImageError
            The profile is damaged, or not one of inks.
        """
        if self.mode == INKS_MODE:
            return self._of_inks()
        array = ((self.samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        image.info.update(self.info)
        return image

    def _of_inks(self) -> Image.Image:
        from PIL import ImageCms

        image = Image.fromarray(self.samples, INKS_MODE)
        info = dict(self.info)
        profile = info.pop("icc_profile", None)
        if profile:
            try:
                own = ImageCms.ImageCmsProfile(BytesIO(profile))
                converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            except (ImageCms.PyCMSError, OSError) as error:
                raise ImageError(f"image: cannot be converted by its ICC profile: {error}") from error
        else:
            converted = image.convert("RGB")
        if converted is None:
            raise ImageError("image: cannot be converted by its ICC profile")
        converted.info.clear()
        converted.info.update(info)
        return converted


Picture = Image.Image | WideImage


def shown_of(image: Picture) -> Image.Image:
    """Return a picture as a Pillow image of 8 bits a sample, see `WideImage.shown`."""
    return image if isinstance(image, Image.Image) else image.shown()


def public_of(image: Picture) -> Image.Image | NDArray[np.uint16]:
    """Return a picture as users of the package get it, see `WideImage.public`."""
    return image if isinstance(image, Image.Image) else image.public()


def from_array(array: NDArray[Any]) -> WideImage:
    """Return the image of an array.

    Parameters
    ----------
    array : uint16 array (H, W) or (H, W, C)
        C is 1, 2, 3 or 4: grey, grey and alpha, RGB, RGB and alpha.

    Raises
    ------
    ImageError
        The array has another shape, or no pixels.
    """
    samples = array[:, :, None] if array.ndim == 2 else array
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4 or samples.size == 0:
        raise ImageError(f"image: expected a uint16 array (H, W) or (H, W, 1 to 4), got {array.shape}")
    return WideImage(np.ascontiguousarray(samples))
