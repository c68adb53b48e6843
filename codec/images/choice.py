"""The choice of an image's file: the shortest one that meets the caller's goal.

A shorter exact file takes the place of a lossy one. So does a shorter near-lossless file that is no worse. A file of
higher quality is never further from the image than one of lower quality. Drawn pictures need more care for this than
photographs: their lossy files sometimes get a little worse with higher quality, and exact files are as short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
from PIL import Image

from codec.errors import RequestError
from codec.format import container, metadata
from codec.format.container import Container
from codec.format.headers import BITS_MODE, MAX_ERROR, MAX_QUALITY, SIDE_LIMIT
from codec.format.png import fits_palette
from codec.image_files import conversion, loading
from codec.image_files.conversion import Pixels
from codec.image_files.wide_image import Picture
from codec.images.fidelities import Encoder, File
from codec.images.goals import LOSSLESS, Goal, Kind
from codec.images.rate_control import last_below
from codec.wide import parts

BRIEF_BPP = 0.02
"""A stored file of a drawn picture with at most this many bits a pixel is taken at once. No lossy file is much shorter,
and to make one of a large picture takes a minute."""
QUICK_FACTOR = 1.6
"""An optimised PNG is tried if a quick one is shorter than this times the coded file."""
START_BYTES = 40
"""About what the first image of an archive's chain pays for all that borrow from it. Without this allowance, no small
image would begin a chain, because its stored file is shorter."""
LEAST_SHARE = 0.1
"""Smallest share of a quick PNG's length that a lossless file has, with hardly an exception."""
SEARCH_SHARE = 0.6
"""Smallest share of its estimated length that a lossless file has after the search for an adaptation."""
EXACT_SHARE = 0.6
"""Typical share of a quick PNG's length that a photograph's lossless file has."""
ERROR_SHARE = 0.62
"""The length of a file within error d is about 1 / (1 + d ERROR_SHARE) of a lossless one's."""
SIZE_SLOPE = 0.035
"""About how much the natural logarithm of a lossy file's length grows when quality grows by one."""
PSNR_SLOPE = 0.2
"""About how many dB the PSNR of a lossy file grows when quality grows by one."""
DRAWN_BPSP = 2.0
"""A picture counts as drawn if its quick PNG has fewer bits for each visible sample. Photographs have 4 to 6."""
SMOOTH_BPSP, SMOOTH_LOSSLESS_BPSP = 3.5, 1.5
"""A picture also counts as drawn if its quick PNG has fewer bits for each visible sample than the first number, and its
lossless file fewer than the second. PNG is poor at gradients, so that the first alone would miss smooth drawings."""
WATCHED_PIXELS = 1 << 17
"""Largest drawn picture, in pixels, whose file is compared with lower qualities. Each takes as long as the first."""
DIP = 3.0
"""Most dB by which the PSNR of a drawn picture falls while its quality grows. Of eighteen pictures it fell by at most
2.8 dB, in those with large smooth places."""
FINE_PSNR, FINE_DIP = 42.0, 10.0
"""From the first PSNR on, the second number takes the place of `DIP`, in dB. Errors of flat places are then 1 or 2, and
come and go with quality: the PSNR fell by up to 9 dB."""
MOST_LOOKS = 24
"""Most lower qualities that are tried. It bounds the work where PSNR hardly grows with quality."""

Lossy = Callable[[int], File]


def file_of(
    image: Picture,
    goal: Goal,
    encoder_of: Callable[[Image.Image, Pixels], Encoder],
    max_pixels: int | None = None,
) -> File:
    """Return the shortest file of an image that meets a goal. A lossy goal turns 16 bits and inks into 8 bits and RGB.

    Parameters
    ----------
    image : PIL.Image.Image or WideImage
    goal : Goal
    encoder_of : callable
        Returns the encoder of an image and its samples that are coded.
    max_pixels : int, optional
        Limit on width times height, in place of `codec.format.headers.PIXEL_LIMIT`.

    Raises
    ------
    ImageError
        The image cannot be read, or not be coded without changing it; or the named model does not code such images.
    ModelError
        The weights are missing or damaged.
    ValueError
        No file meets the goal.
    """
    found = loading.wide_of(image, max_pixels)
    if found is not None and goal.kind == Kind.MAX_ERROR:

        def encode(part: Image.Image) -> Container:
            encoder = replace(encoder_of(part, conversion.from_pillow(part, max_pixels)), chains=None)
            return reach(encoder, LOSSLESS).whole()

        stored = parts.stored(found, metadata.pack(metadata.entries_of_info(found.info)), encode)
        return File(stored, math.inf, container.file_bytes(stored))
    shown = cast("Image.Image", image) if found is None else found.shown()
    return reach(encoder_of(shown, pixels_for(shown, goal, max_pixels)), goal)


def pixels_for(image: Image.Image, goal: Goal, max_pixels: int | None = None) -> Pixels:
    """Return the samples of an image that are coded. A lossy goal turns a palette or a transparent colour into RGB(A).

    Raises
    ------
    ImageError
        The image cannot be read, or not be coded without changing it.
    """
    pixels = conversion.from_pillow(image, max_pixels)
    if pixels.codable or pixels.mode == BITS_MODE or goal.kind == Kind.MAX_ERROR:
        return pixels
    shown = conversion.from_pillow(conversion.without_palette(image), max_pixels)
    return replace(shown, metadata=pixels.metadata)


def reach(encoder: Encoder, goal: Goal) -> File:
    """Return the shortest file of an image that meets a goal.

    Raises
    ------
    ImageError
        The model does not code such images.
    ModelError
        The weights are missing or damaged.
    ValueError
        No file meets the goal. The message gives the length of the shortest file.
    """
    if encoder.model is not None:
        return _within(encoder, _or_stored(encoder, encoder.by_model(encoder.model)), goal)
    if not encoder.pixels.codable or max(encoder.pixels.samples.shape) > SIDE_LIMIT:
        return _within(encoder, encoder.stored, goal)
    if goal.kind == Kind.MAX_ERROR:
        return _or_stored(encoder, encoder.exact(int(goal.value)))
    if _is_drawn(encoder) and encoder.stored.size <= min(_brief_bytes(encoder), _limit_bytes(encoder, goal)):
        return encoder.stored
    lossy = cache(encoder.lossy)
    if goal.kind == Kind.QUALITY:
        return _of_quality(encoder, lossy, int(goal.value))
    return _search(encoder, lossy, goal)


def _pixels(encoder: Encoder) -> int:
    return encoder.image.width * encoder.image.height


def _limit_bytes(encoder: Encoder, goal: Goal) -> float:
    """Return the largest length in bytes that a goal allows."""
    return {Kind.SIZE: goal.value, Kind.BPP: goal.value * _pixels(encoder) / 8}.get(goal.kind, math.inf)


def _brief_bytes(encoder: Encoder) -> float:
    return BRIEF_BPP * _pixels(encoder) / 8


def _is_drawn(encoder: Encoder) -> bool:
    alpha = encoder.pixels.alpha
    visible = _pixels(encoder) if alpha is None else int(np.count_nonzero(alpha))
    bands = len(encoder.image.getbands())
    quick_bits, samples = 8 * encoder.quick_png_bytes, visible * min(bands, encoder.pixels.samples.shape[2])
    if quick_bits >= SMOOTH_BPSP * visible * bands:
        return False
    return bool(quick_bits < DRAWN_BPSP * samples or 8 * encoder.lossless_bytes < SMOOTH_LOSSLESS_BPSP * samples)


def _within(encoder: Encoder, file: File, goal: Goal) -> File:
    """Return the file, which is the shortest one; ValueError if it is longer than the goal allows."""
    if file.size > _limit_bytes(encoder, goal):
        bpp = 8 * file.size / _pixels(encoder)
        raise RequestError(
            f"{goal.kind.value}: {goal.value:g} cannot be met, the shortest file has {file.size} bytes, "
            f"{bpp:.4f} bits a pixel"
        )
    return file


def _of_quality(encoder: Encoder, lossy: Lossy, quality: int) -> File:
    """Return the file of a quality, or a better one that is no longer.

    The PSNR of the result must not fall while quality grows. The PSNR of a drawn picture's lossy files may fall. So
    lower qualities are tried, too, until one is so much worse that none below it can be better.
    """
    best, longest = lossy(quality), lossy(quality).size
    file = _or_better(encoder, best)
    if math.isinf(file.psnr) or not _is_drawn(encoder) or _pixels(encoder) > WATCHED_PIXELS:
        return file
    for lower in range(quality - 1, max(quality - MOST_LOOKS, 1) - 1, -1):
        other = lossy(lower)
        if other.psnr < best.psnr - (DIP if best.psnr < FINE_PSNR else FINE_DIP):
            break
        longest = max(longest, other.size)
        if other.psnr > best.psnr:
            best = other
    exact = _exact_within(encoder, longest)
    return _or_better(encoder, best) if exact is None else exact


def _search(encoder: Encoder, lossy: Lossy, goal: Goal) -> File:
    """Return the lossy file of the highest quality within a length, or of the lowest quality that reaches a PSNR."""
    if goal.kind == Kind.PSNR:
        short = np.nextafter(goal.value, 0)
        quality = 1 + last_below(lambda q: lossy(q).psnr, MAX_QUALITY, short, PSNR_SLOPE)
        return _reaching(encoder, goal.value) if quality > MAX_QUALITY else _or_better(encoder, lossy(quality))
    limit = _limit_bytes(encoder, goal)
    quality = last_below(lambda q: math.log(lossy(q).size), MAX_QUALITY, math.log(limit), SIZE_SLOPE)
    return _within(encoder, _or_better(encoder, lossy(max(quality, 1))), goal)


def _reaching(encoder: Encoder, psnr: float) -> File:
    """Return the near-lossless file of the largest error that reaches a PSNR, or the lossless file."""
    for error in range(_largest_error(psnr), 0, -1):
        file = encoder.exact(error)
        if file.psnr >= psnr:
            return _or_stored(encoder, file)
    return _or_stored(encoder, encoder.exact(0))


def _or_stored(encoder: Encoder, file: File) -> File:
    """Return a file, or the stored one if that is shorter."""
    if fits_palette(encoder.image) or encoder.quick_png_bytes < QUICK_FACTOR * file.size:
        coding = file.container.coding
        begins = encoder.chains is not None and coding is not None and coding.model not in encoder.chains
        return encoder.stored if encoder.stored.size < file.size - begins * START_BYTES else file
    return file


def _exact_within(encoder: Encoder, size: int) -> File | None:
    """Return the shortest exact file, or None if it is longer than ``size`` bytes."""
    found = []
    if fits_palette(encoder.image) or encoder.quick_png_bytes < QUICK_FACTOR * size:
        found.append(encoder.stored)
    least = min([size, *(file.size for file in found)])
    if LEAST_SHARE * encoder.quick_png_bytes < least and SEARCH_SHARE * encoder.lossless_bytes < least:
        found.append(encoder.exact(0))
    return min((file for file in found if file.size <= size), key=lambda f: f.size, default=None)


def _or_better(encoder: Encoder, file: File) -> File:
    """Return a lossy file, or one that is shorter and no worse: an exact one, or a photograph's near-lossless one."""
    exact = _exact_within(encoder, file.size)
    if exact is not None:
        return exact
    error = _largest_error(file.psnr)
    # The errors of a drawn picture are not evenly distributed, so that the PSNR of these files may fall with quality.
    if (
        error
        and not _is_drawn(encoder)
        and EXACT_SHARE * encoder.quick_png_bytes / (1 + ERROR_SHARE * error) < file.size
    ):
        near = encoder.exact(error)
        if near.psnr >= file.psnr and near.size < file.size:
            return near
    return file


def _largest_error(psnr: float) -> int:
    """Return the largest error with which a near-lossless file reaches a PSNR, if errors are evenly distributed."""
    allowed = 255**2 / 10 ** (psnr / 10)
    return max(error for error in range(MAX_ERROR + 1) if error * (error + 1) / 3 <= allowed)
