"""A small image without the synthesis transform: the mean colour of each patch, from y's linear map alone."""

from __future__ import annotations

import numpy as np

from codec.constants import LARGEST_SAMPLE, OUTPUT_SHIFT
from codec.networks.convolutions import Output, output
from codec.networks.depthwise import SQUARE
from codec.networks.products import I16
from codec.networks.transform import CENTRE, FINE_PATCH, PATCH, U8, Transforms

ROWS = 16
"""Rows of patches that are worked at once. They are few, because the results take eight bytes each."""


def mean_colours(values: I16, transforms: Transforms) -> U8:
    """Return about the mean colour of each patch, uint8 array (h, w, 3).

    It is about what `codec.networks.transform.synthesise` returns, reduced to an eighth. The network of the synthesis
    is left out: it adds detail, whose mean over a patch is small.

    Parameters
    ----------
    values : int16 array (h, w, C), in 1/16 sample
        Dequantised y.
    transforms : Transforms
    """
    last = transforms.synthesis.last
    linear = Output(last.linear, np.zeros_like(last.linear_multiplier), last.linear_multiplier, OUTPUT_SHIFT)
    h, w, channels = values.shape
    colours = np.empty((h, w, 3), dtype=np.uint8)
    for begin in range(0, h, ROWS):
        rows = values[begin : begin + ROWS]
        samples = output(rows.reshape(-1, channels), linear).reshape(len(rows), w, SQUARE, 3, FINE_PATCH**2)
        means = CENTRE + ((samples.sum((2, 4)) + PATCH**2 // 2) // PATCH**2)
        colours[begin : begin + ROWS] = np.clip(means, 0, LARGEST_SAMPLE)
    return colours
