"""Rasters, which the VLAE coder codes: their channels, values, and the places at which channels are coded.

There are three kinds: the samples of an image, the bits of a black-and-white image, and tensors, which are the
quantised latents of a learned transform. The coder is the same for all. A `Kind` and a `Layout` say how they differ.
See FORMAT.md, "Rasters".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LARGEST_SAMPLE, NO_PIXEL
from codec.entropy.tables import compress
from codec.errors import ModelError
from codec.format.headers import BITS_MODE, CODED_MODES
from codec.frozen.contexts import ORDER
from codec.networks.transform import PATCH

TENSOR_KNEE = 2
"""Up to about this, `codec.entropy.tables.compress` is linear. It is small, because tensors hold small numbers."""
TENSOR_LIMIT = 16383
"""Largest magnitude of a tensor's values, so that the difference of two has 16 bits."""

BITS_KNEE = 1
"""With this knee, a difference of 1 is compressed to `codec.entropy.tables.COMPRESS_UNIT`."""

I64 = NDArray[np.int64]


class Layout(NamedTuple):
    """The channels of a raster, and the places, which code the channels of a position one after the other.

    Each channel has a residual v: its value minus its reference, which is a prediction from contexts.

    Attributes
    ----------
    order : int64 array (channels,)
        The channels in coding order.
    begins : int64 array (places + 1,)
        Place p codes the channels ``order[begins[p]:begins[p + 1]]``.
    low, high : int
        Range of the values.
    missing : int
        Value of neighbours that do not exist.
    references : int
        The first ``references`` channels of the raster have a reference. That of the others is 0.
    level_shift : int
        A reference less ``missing``, shifted to the right by this, is an input of the network.
    grey : bool
        Whether contexts show only the grey of red, green and blue. Then all three have the same reference, made of it.
    compress : int16 array (2 (high - low) + 1,)
        Entry d + high - low is the input for the difference d.
    features : int64 array (features, 2)
        Inputs of places from the channels coded before: v of the first channel, minus v of the second unless that is
        -1.
    feature_begins : int64 array (places + 1,)
        Place p sees the features from ``feature_begins[p]`` up to ``feature_begins[p + 1]``, without the latter.
    coefficients : int64 array (places,)
        A place may move its means by the v of this number of channels, the first ones in coding order.
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
        """Largest absolute input that the layout gives a network: a compressed difference, or a level."""
        levels = [(value - self.missing) >> self.level_shift for value in (self.low, self.high)]
        return max(int(self.compress[-1]), -levels[0], levels[1])

    @property
    def sizes(self) -> list[int]:
        """Number of channels of each place."""
        return [int(end - begin) for begin, end in pairwise(self.begins)]

    def inputs(self, contexts: int) -> int:
        """Return the number of a network's inputs from ``contexts`` contexts and from the references."""
        return contexts + 1 if self.grey else contexts * len(self.order) + self.references


@lru_cache(maxsize=2)
def samples(*, grey: bool = False) -> Layout:
    """Return the layout of an image's samples: red, green and blue. Each place codes one channel."""
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
    """Return the layout of a black-and-white image, whose values are 0 and 1."""
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
    """Return the layout of a tensor of values -limit..limit.

    Each place codes one of ``groups`` equal groups of channels. The first ``references`` channels have a reference.

    Raises
    ------
    ModelError
        The groups cannot be equal, or there are more references than channels.
    """
    if channels % groups:
        raise ModelError(f"groups: expected a divisor of {channels}, got {groups}")
    if references > channels:
        raise ModelError(f"references: expected at most {channels}, got {references}")
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


@dataclass(frozen=True)
class Kind:
    """A kind of raster.

    Attributes
    ----------
    name : str
        The word for it in weights files.
    dtype : np.dtype
        Type of the values.
    may_be_grey : bool
        Whether one channel may stand for all, as in a grey image.
    is_rounded : bool
        Whether the condition of a model is the largest error within which values are coded.
    is_adaptable : bool
        Whether a file may adapt the biases of its model.
    modes : tuple of str
        The modes of the images whose lossless files may hold such rasters.
    ranges : dict of str to (int, int)
        Integers that only configurations of models of this kind have, and their ranges.
    layout : callable
        Called with a configuration. Returns the layout of what its model codes. Raises ModelError if numbers contradict
        each other.
    patch : int
        A position of the raster stands for patch x patch pixels of the image.
    white : int
        Factor from the raster's values to an image's samples. It is 255 for bits and 1 for samples.
    coarse_places : int
        The first places, of this number, make a preview. Where it is 0, the latents z make one.
    """

    name: str
    dtype: np.dtype[Any]
    may_be_grey: bool
    is_rounded: bool
    is_adaptable: bool
    modes: tuple[str, ...]
    ranges: dict[str, tuple[int, int]]
    layout: Callable[[Mapping[str, Any]], Layout]
    patch: int = 1
    white: int = 1
    coarse_places: int = 0

    @property
    def has_transforms(self) -> bool:
        """Whether a weights file may hold transforms between images and such rasters."""
        return self.patch > 1

    def conditions(self, config: Mapping[str, Any], rows: int) -> int:
        """Return the number of conditions of a model whose tensors have biases for ``rows`` of them.

        A model has a row for each, unless its configuration says their number.
        """
        return int(config["conditions"]) if "conditions" in self.ranges else rows

    def samples_of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return an image's samples of the raster's values. Where they are samples, no copy is made."""
        return values if self.white == 1 else values * self.white


SAMPLES = Kind(
    "samples",
    np.dtype(np.uint8),
    may_be_grey=True,
    is_rounded=True,
    is_adaptable=True,
    modes=CODED_MODES,
    ranges={},
    layout=lambda config: samples(grey=config["window_shows"] == "grey"),
)
BITS = Kind(
    "bits",
    np.dtype(np.uint8),
    may_be_grey=False,
    is_rounded=False,
    is_adaptable=False,
    modes=(BITS_MODE, "L"),  # grey images that hold only black and white, too
    ranges={},
    layout=lambda _: bits(),
    white=255,
)
TENSOR = Kind(
    "tensor",
    np.dtype(np.int16),
    may_be_grey=False,
    is_rounded=False,
    is_adaptable=False,
    modes=(),
    ranges={
        "channels": (1, 1024),
        "groups": (1, 1024),
        "limit": (1, TENSOR_LIMIT),
        "references": (0, 1024),
        "conditions": (1, 100),
    },
    layout=lambda config: tensor(*(config[name] for name in ("channels", "groups", "limit", "references"))),
    patch=PATCH,
    coarse_places=2,
)
KINDS = {kind.name: kind for kind in (SAMPLES, BITS, TENSOR)}
