"""The models of small images: one for each group of alike images, chosen by estimates of a few of them.

The usual model codes any image. A model for certain small images codes them shorter if several of them are a chain. The
first image of a chain pays for its latents in full, so that a chain must be long enough to win this back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from codec.encoder.estimates import estimate
from codec.encoder.search import LEAST_PIXELS
from codec.format import png
from codec.format.headers import Latents
from codec.frozen.layout import BITS
from codec.frozen.model import Model
from codec.frozen.shipped import model_for, named_model
from codec.image_files import conversion
from codec.image_files.conversion import Pixels
from codec.images.goals import LOSSLESS, Goal

T = TypeVar("T")

SMALL_PIXELS = LEAST_PIXELS
"""Images with fewer pixels are small. Others are adapted, which gains more than another model."""
FEWEST = 4
"""Fewest images of a group for which the model `COLOURS` is looked at. Fewer gain less than the first of them pays."""
LOOKS, LOOK_EVERY = 4, 8
"""Most images of a group that are looked at, and number of images for each of them. More looks take more time, and
alike images differ little."""

BLACK_AND_WHITE, COLOURS = "mnist-dynamic", "tiny"
"""Models for small images. The static digits of the validation set are shorter with `mnist-dynamic`, too, by half a
nat, than with `mnist-static`."""


class _Group(NamedTuple):
    """What images have in common that are alike: the model that may code them, and about their size."""

    model: str
    size: int


class _Costs(NamedTuple):
    """Bits of an image: by the usual way, by another model in a chain, and what is added if it begins the chain."""

    usual: float
    chained: float
    start: float


def models_for(images: Sequence[T], pixels_of: Callable[[T], Pixels | None], goal: Goal) -> list[Model | None]:
    """Return for each image of a chain the model that codes it shortest, or None for the usual model.

    Parameters
    ----------
    images : sequence
        Those of an archive's block, or a single one.
    pixels_of : callable
        Called with an image, once or twice. Returns its samples, or None if it is not small.
    goal : Goal

    Raises
    ------
    ModelError
        Weights are damaged.
    """
    groups: dict[_Group, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        pixels = pixels_of(image)
        group = None if pixels is None else _group_of(pixels, goal)
        if group is not None:
            groups[group].append(index)
    members: dict[str, list[int]] = defaultdict(list)
    gains: dict[str, float] = defaultdict(float)
    for group, indices in groups.items():
        if group.model == COLOURS and len(indices) < FEWEST:
            continue
        looks = [pixels_of(images[index]) for index in indices[:: max(LOOK_EVERY, -(-len(indices) // LOOKS))]]
        costs = [_costs(named_model(group.model), pixels) for pixels in looks if pixels is not None]
        usual, chained, start = np.mean(costs, axis=0)
        if usual > chained:
            gains[group.model] += len(indices) * (usual - chained) - (start if group.model not in gains else 0)
            members[group.model] += indices
    chosen: list[Model | None] = [None] * len(images)
    for name, gain in gains.items():
        if gain > 0:
            for index in members[name]:
                chosen[index] = named_model(name)
    return chosen


def _group_of(pixels: Pixels, goal: Goal) -> _Group | None:
    """Return the group of an image, or None if only the usual model codes it."""
    height, width = pixels.samples.shape[:2]
    if height * width >= SMALL_PIXELS or pixels.keyed or (pixels.codable and goal != LOSSLESS):
        return None
    size = (height * width).bit_length() // 2
    if pixels.mode in BITS.modes and conversion.is_black_and_white(pixels.samples):
        return _Group(BLACK_AND_WHITE, size)
    return _Group(COLOURS, size) if pixels.codable else None


def _costs(model: Model, pixels: Pixels) -> _Costs:
    usual = []
    if pixels.codable:
        ways = Latents.NONE, Latents.BITS_BACK
        usual += [estimate(model_for(0), pixels.samples, how, dry=False) for how in ways]
    if model.kind is BITS:
        usual.append(8 * len(png.png_bytes(conversion.to_pillow(pixels))))
    values = pixels.samples // model.kind.white
    chained = estimate(model, values, Latents.BITS_BACK, dry=False)
    alone = min(estimate(model, values, how) for how in (Latents.NONE, Latents.TWO_PART))
    return _Costs(min(usual), chained, alone - chained)
