"""The pictures of a report: what an image and its file look like, small enough for a page of many.

Pictures are WebP without loss, so that a page shows no other errors than the file's.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage

from codec.errors import UnsupportedError
from codec.image_files.display import displayable
from codec.images.decoder import Opened
from codec.report import heatmap

LARGEST_SIDE = 640
"""Larger pictures are shrunken to it: 24 lossy photographs make a page of 45 MB, and one still fills a phone."""
SEED = 0
"""Seed of what the model makes up where the latents say nothing."""


@dataclass(frozen=True)
class Picture:
    """A picture as a page shows it: its data URI, and the pixels of that."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class HeatMap:
    """Picture of the bits of every pixel.

    Attributes
    ----------
    mean, largest : float
        Bits per pixel, of the pixels of the image itself.
    top : float
        Bits per pixel of the last colour.
    """

    picture: Picture
    mean: float
    largest: float
    top: float


@dataclass(frozen=True)
class Pictures:
    """The pictures of an image and its file.

    Attributes
    ----------
    decoded : Picture or None
        None if the file is exact: it is the original.
    latents, sample : Picture or None
        What the latents hold alone, and with detail made up, see `codec.vlae.preview`; None of a file without.
    heat : HeatMap or None
        None of a stored file.
    """

    original: Picture
    decoded: Picture | None
    latents: Picture | None
    sample: Picture | None
    heat: HeatMap | None


def pictures(image: PillowImage.Image, opened: Opened, *, exact: bool) -> Pictures:
    """Return the pictures of an image and its decoded file.

    Parameters
    ----------
    image : PIL.Image.Image
    opened : Opened
    exact : bool
        Whether the file holds every sample.
    """
    original = _picture(image)
    if opened.raster is None:
        return Pictures(original, None, None, None, None)
    decoded = None if exact else _decoded(opened)

    def alone(seed: int | None) -> Picture | None:
        try:
            return _picture(opened.preview(seed))
        except UnsupportedError:  # there are no latents
            return None

    bits = heatmap.pixel_bits(opened.raster, image.height, image.width)
    small = heatmap.shrink(bits, shown_size(image.width, image.height))
    top = heatmap.scale_top(small)
    heat = HeatMap(
        picture=_picture(PillowImage.fromarray(heatmap.colour(small, top))),
        mean=float(bits.mean(dtype=np.float64)),
        largest=float(bits.max()),
        top=top,
    )
    return Pictures(original, decoded, alone(None), alone(SEED), heat)


def _decoded(opened: Opened) -> Picture:
    image = opened.image()
    return _picture(image if isinstance(image, PillowImage.Image) else image.shown())


def colour_scale() -> Picture:
    """Return the colours of heat maps, from no bits on the left to the most on the right."""
    return _picture(PillowImage.fromarray(heatmap.colour(np.linspace(0, 1, 256, dtype=np.float32)[None], 1)))


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height at which an image is shown."""
    factor = min(1, LARGEST_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _picture(image: PillowImage.Image) -> Picture:
    shown, profile = displayable(image)
    size = shown_size(image.width, image.height)
    if size != image.size:
        shown = shown.resize(size, PillowImage.Resampling.LANCZOS)
    buffer = BytesIO()
    shown.save(buffer, "WEBP", lossless=True, quality=50, method=4, icc_profile=profile)
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri, *size)
