"""The preview of a file: the image that its latents hold, without the local detail or with detail that the model draws.

For a file that codes samples, the latents are z alone. The likelihood makes an image of them: each sample is its mean,
or is drawn. For a lossy file, the latents are the coarse channels of y, which come first. The other channels are zero,
or are drawn. This is the lossy decoding of the variational lossy autoencoder (Chen et al. 2017, section 2.2, their
"decompression"). It runs in the coder itself: to draw a value is to pop it from a message of random words.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codec.entropy.rans import random_message
from codec.errors import UnsupportedError
from codec.frozen.likelihood import Raster
from codec.vlae.image import Image
from codec.vlae.pixels import all_in_waves
from codec.vlae.wavefront import DECODE, ROUND

WHOLE_RANGE = 255
"""With this largest error one bin holds all values, so that rounding puts every sample at its mean."""
DRAWN_BITS = 9
"""Random bits that are provided for each drawn value. The entropy of a value is at most 8 bits."""


def preview(image: Image, seed: int | None) -> Raster:
    """Return the raster (H, W, channels), uint8 or int16, that the latents of a decoded image give alone.

    Parameters
    ----------
    image : Image
        A decoded image or tensor, with its latents.
    seed : int or None
        Seed of the random words that draw the detail. With None there is no detail.

    Raises
    ------
    UnsupportedError
        The file was coded without latents.
    """
    known = image.model.kind.coarse_places
    if not known and image.z[0] is None:
        raise UnsupportedError("latents: the file was coded without any")
    raster = np.zeros_like(image.raster)
    kept = image.model.layout.begins[known]
    raster[..., :kept] = image.raster[..., :kept]
    max_error = WHOLE_RANGE if seed is None and not known else image.max_error
    made = replace(image, raster=raster, source=image.raster, lanes=1, known=known, max_error=max_error)
    if seed is not None:
        message = random_message(image.raster.size * DRAWN_BITS // 32 + 1024, seed)
        all_in_waves(DECODE, made, lambda index: image.z[index], 1, None, message)
    elif not known:
        all_in_waves(ROUND, made, lambda index: image.z[index], made.bands, None)
    return made.samples
