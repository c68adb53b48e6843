"""What is coded: the channels of a raster, their values, and the places in which they are coded.

There are three kinds of rasters: the samples of an image, the bits of one of black and white, and tensors, the
quantised latents of a learned transform. The coder is the same for all of them. It reads from a `Kind` and a `Layout`
where they differ. See FORMAT.md, "Rasters".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LARGEST_SAMPLE, NO_PIXEL
from codec.entropy.tables import compress
from codec.frozen.contexts import ORDER
from codec.networks.transform import PATCH

TENSOR_KNEE = 2
"""Differences up to which `codec.entropy.tables.compress` is about linear: tensors hold small numbers."""
TENSOR_LIMIT = 16383
"""Largest limit of a tensor: differences of two values have 16 bits."""

BITS_KNEE = 1
"""With it 1 is `codec.entropy.tables.COMPRESS_UNIT`."""

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """A kind of raster.

    Attributes
    ----------
    name : str
        The word in weights files.
    dtype : np.dtype
        Of its values.
    may_be_grey : bool
        Whether one channel may stand for all, as in a grey image.
    is_rounded : bool
        Whether the condition of a model is the largest error within which values are coded.
    patch : int
        Side of the square of an image's pixels that a position stands for.
    white : int
        Difference of an image's samples for each 1 in the raster: an image of black and white has samples 0 and 255.
    """

    name: str
    dtype: np.dtype[Any]
    may_be_grey: bool
    is_rounded: bool
    patch: int
    white: int = 1


SAMPLES = Kind("samples", np.dtype(np.uint8), may_be_grey=True, is_rounded=True, patch=1)
BITS = Kind("bits", np.dtype(np.uint8), may_be_grey=False, is_rounded=False, patch=1, white=255)
TENSOR = Kind("tensor", np.dtype(np.int16), may_be_grey=False, is_rounded=False, patch=PATCH)
KINDS = {kind.name: kind for kind in (SAMPLES, BITS, TENSOR)}


class Layout(NamedTuple):
    """The channels of a raster, and the places that code them one after the other.

    A channel's v is its value minus its reference.

    Attributes
    ----------
    order : int64 array (channels,), channels in coding order
    begins : int64 array (places + 1,)
        Place p codes the channels ``order[begins[p]:begins[p + 1]]``.
    low, high : int, range of values
    missing : int, value of neighbours that do not exist
    references : int
        So many channels, the first of the raster, are predicted by a reference; that of others is 0.
    level_shift : int, from a reference's distance to ``missing`` to an input
    grey : bool
        Whether contexts show the grey of red, green and blue alone, from which all three have their reference.
    compress : int16 array (2 (high - low) + 1,), entry d + high - low is that of the difference d
    features : int64 array (features, 2)
        What places see of the channels coded before: v of the first, minus v of the second unless it is -1.
    feature_begins : int64 array (places + 1,)
        Place p sees the features ``feature_begins[p]`` up to the next one's.
    coefficients : int64 array (places,)
        By so many v, of the first channels in coding order, a place may move its means.
    """

    order: I64
    begins: I64
    low: int
    high: int
    missing: int
    references: int
    level_shift: int
    grey: bool
    compress: NDArray[np.int16]
    features: I64
    feature_begins: I64
    coefficients: I64

    @property
    def largest_input(self) -> int:
        """Largest absolute value that the layout gives a network: a compressed difference, or a level."""
        levels = [(value - self.missing) >> self.level_shift for value in (self.low, self.high)]
        return max(int(self.compress[-1]), -levels[0], levels[1])

    @property
    def sizes(self) -> list[int]:
        """Channels of each place."""
        return [int(end - begin) for begin, end in pairwise(self.begins)]

    def inputs(self, contexts: int) -> int:
        """Return how many inputs of a network so many contexts and the references are."""
        return contexts + 1 if self.grey else contexts * len(self.order) + self.references


@lru_cache(maxsize=2)
def samples(*, grey: bool = False) -> Layout:
    """Return the layout of an image's samples: red, green, blue; each place codes a channel."""
    red, green, _ = sorted(ORDER)
    return Layout(
        order=np.array(ORDER, dtype=np.int64),
        begins=np.arange(4, dtype=np.int64),
        low=0,
        high=LARGEST_SAMPLE,
        missing=NO_PIXEL,
        references=3,
        level_shift=1,
        grey=grey,
        compress=compress().astype(np.int16),
        features=np.array([(green, -1), (green, -1), (red, -1), (red, green)], dtype=np.int64),
        feature_begins=np.array([0, 0, 1, 4], dtype=np.int64),
        coefficients=np.arange(3, dtype=np.int64),
    )


@lru_cache(maxsize=1)
def bits() -> Layout:
    """Return the layout of an image of black and white: 0 and 1."""
    return Layout(
        order=np.zeros(1, dtype=np.int64),
        begins=np.arange(2, dtype=np.int64),
        low=0,
        high=1,
        missing=0,
        references=0,
        level_shift=1,
        grey=False,
        compress=compress(1, BITS_KNEE).astype(np.int16),
        features=np.zeros((0, 2), dtype=np.int64),
        feature_begins=np.zeros(2, dtype=np.int64),
        coefficients=np.zeros(1, dtype=np.int64),
    )


@lru_cache(maxsize=8)
def tensor(channels: int, groups: int, limit: int, references: int) -> Layout:
    """Return the layout of a tensor of values -limit..limit, whose channels are coded in equal groups."""
    begins = np.arange(0, channels + 1, channels // groups, dtype=np.int64)
    seen = begins[:-1]
    channel = np.concatenate([np.arange(count, dtype=np.int64) for count in seen])
    return Layout(
        order=np.arange(channels, dtype=np.int64),
        begins=begins,
        low=-limit,
        high=limit,
        missing=0,
        references=references,
        level_shift=2,
        grey=False,
        compress=compress(2 * limit, TENSOR_KNEE).astype(np.int16),
        features=np.stack([channel, np.full_like(channel, -1)], axis=1),
        feature_begins=np.concatenate([[0], np.cumsum(seen)]),
        coefficients=np.zeros(groups, dtype=np.int64),
    )
