"""Training material of small images: arrays in numpy's files, and shrunk photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.crops import KERNELS, Source, load_images
from models.errors import TrainingError

U8 = NDArray[np.uint8]
SIDES = (32, 40, 48, 64, 96)
"""Lengths of the shorter side to which photographs are shrunk before they are cut into small images."""


def load_array(path: Path) -> U8:
    """Return the images (N, H, W, C) of ``FILE.npz/NAME``, or of a part of them, ``FILE.npz/NAME[BEGIN:END]``.

    Raises
    ------
    TrainingError
        The file does not exist, it has no such array, or the array does not hold images.
    """
    name, _, part = path.name.partition("[")
    try:
        with np.load(path.parent) as file:
            array = file[name]
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise TrainingError(f"{path.parent}: no array {name} that can be read: {error}") from error
    if part:
        begin, _, end = part.rstrip("]").partition(":")
        array = array[int(begin or 0) : int(end) if end else None]
    if array.ndim == 2:
        side = int(np.sqrt(array.shape[1]))
        array = array.reshape(-1, side, side)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype != np.uint8:
        raise TrainingError(f"{path}: expected images of uint8, got {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)


def shrunken(folder: Path, side: int, seed: int) -> U8:
    """Return small images (N, side, side, 3) from a folder's photographs, which are shrunk to several sizes and cut."""
    rng = np.random.default_rng(seed)
    found = []
    for pixels in load_images(folder):
        photo = Image.fromarray(pixels)
        for shorter in SIDES:
            shorter = max(side, round(shorter * rng.uniform(0.85, 1.2)))
            factor = shorter / min(photo.size)
            width, height = (max(side, round(length * factor)) for length in photo.size)
            small = np.asarray(photo.resize((width, height), KERNELS[rng.integers(len(KERNELS))]))
            for _ in range(max(1, round(4 * height * width / side**2))):
                y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
                found.append(small[y : y + side, x : x + side])
    return np.stack(found)


class SmallImages:
    """Random images of sources, each ``FILE.npz/NAME`` or a folder. They are drawn as in `models.data.crops.Crops`."""

    def __init__(self, root: Path, sources: Sequence[Source], size: int, seed: int) -> None:
        self.seed = seed
        self.images = [load_small(root / source.folder, size) for source in sources]
        shares = np.array([source.share for source in sources])
        self.shares = shares / shares.sum()

    def batch(self, step: int, count: int) -> U8:
        """Return the ``count`` images of a step, uint8 array (count, size, size, C)."""
        return np.stack([self.crop(number) for number in range(step * count, (step + 1) * count)])

    def crop(self, number: int) -> U8:
        """Return the image of a number, uint8 array (size, size, C)."""
        rng = np.random.default_rng((self.seed, number))
        images = self.images[rng.choice(len(self.images), p=self.shares)]
        image: U8 = images[rng.integers(len(images))]
        return image


def load_small(path: Path, size: int) -> U8:
    """Return the small images of ``FILE.npz/NAME``, or of a folder of photographs, uint8 array (N, H, W, C)."""
    return shrunken(path, size, seed=0) if path.is_dir() else load_array(path)
