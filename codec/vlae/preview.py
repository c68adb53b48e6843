"""What the latents of a file hold by themselves: the local detail is left out, or made up by the model.

Of a file that codes samples these are z alone, of which the likelihood makes an image: each sample at its
mean, or drawn. Of a lossy file they are the coarse channels of y, which come first; the others are zero, or
drawn. This is the lossy decoding of the variational lossy autoencoder (Chen et al. 2017, section 2.2, their
"decompression"), in the very coder: to draw is to pop from a message of random words.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codec.entropy.rans import random_message
from codec.errors import UnsupportedError
from codec.frozen.layout import TENSOR
from codec.frozen.likelihood import Raster
from codec.vlae.image import Image
from codec.vlae.pixels import all_in_waves
from codec.vlae.wavefront import DECODE, ROUND

COARSE_PLACES = 2
"""Places of y that are kept."""
WHOLE_RANGE = 255
"""A largest error with which rounding leaves every sample at its mean."""
DRAWN_BITS = 9
"""Of a value that is drawn, in the mean; none has more than 8 bits of entropy."""


def preview(image: Image, seed: int | None) -> Raster:
    """Return the raster (H, W, channels) that the latents of a decoded one alone give.

    Parameters
    ----------
    image : Image
        Decoded, with its latents.
    seed : int or None
        Draw what is left out, with these random words.

    Raises
    ------
    UnsupportedError
        The file was coded without latents.
    """
    tensor = image.model.kind is TENSOR
    if not tensor and image.z[0] is None:
        raise UnsupportedError("latents: the file was coded without any")
    raster = np.zeros_like(image.raster)
    known, max_error = 0, image.max_error
    if tensor:
        kept = image.model.layout.begins[COARSE_PLACES]
        raster[..., :kept] = image.raster[..., :kept]
        known = COARSE_PLACES
    elif seed is None:
        max_error = WHOLE_RANGE
    made = replace(image, raster=raster, source=image.raster, lanes=1, known=known, max_error=max_error)
    if seed is not None:
        message = random_message(image.raster.size * DRAWN_BITS // 32 + 1024, seed)
        all_in_waves(DECODE, made, lambda index: image.z[index], 1, None, message)
    elif not tensor:
        all_in_waves(ROUND, made, lambda index: image.z[index], made.bands, None)
    return made.samples
