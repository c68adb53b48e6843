"""Training material: folders of images, cut into crops and given pasts at random.

Users' photographs have been compressed, resized, sharpened and denoised before we see them, and cameras and film leave
their own grain. On such photographs, a model that was trained on clean ones alone loses to classical coders. So a part
of the crops gets such a past here. See docs/MODELS.md.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.errors import TrainingError

Image.MAX_IMAGE_PIXELS = 50_000_000
KERNELS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """A folder of images, the share of the crops that come from it, and the share of these that get a past."""

    folder: str
    share: Annotated[float, Meta(gt=0, le=1)]
    past: Annotated[float, Meta(ge=0, le=1)]


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders in a fixed order."""
    endings = {".png", ".webp", ".jpg", ".jpeg"}
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings)


def load_images(folder: Path) -> list[U8]:
    """Return all images of a folder as uint8 arrays (H, W, 3).

    Raises
    ------
    TrainingError
        There are none, or one cannot be read. The message names it.
    """
    images = [_load(path) for path in image_files(folder)]
    if not images:
        raise TrainingError(f"no images in {folder}")
    return images


def _load(path: Path) -> U8:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path}: not an image that can be read: {error}") from error


def centre(image: U8, side: int, multiple: int) -> U8:
    """Return the centre of an image (H, W, 3). Its sides are at most ``side``, and multiples of ``multiple``."""
    h, w = (min(size, side) // multiple * multiple for size in image.shape[:2])
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return np.ascontiguousarray(image[y : y + h, x : x + w])


def _jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    quality = int(rng.choice([rng.integers(50, 80), rng.integers(75, 96), rng.integers(88, 99)]))
    image.save(buffer, "JPEG", quality=quality, subsampling=int(rng.integers(0, 3)))
    return Image.open(buffer).convert("RGB")


def _resize(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    return image.resize((size, size), KERNELS[rng.integers(len(KERNELS))])


def _spread(x: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    """Return an (H, W, 3) array filtered by (side, 1, side) along both axes, not normalised."""
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)), "reflect")
    x = side * (x[:-2] + x[2:]) + x[1:-1]
    return side * (x[:, :-2] + x[:, 2:]) + x[:, 1:-1]


def _grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add sensor or film noise. It may be correlated, coloured, or dependent on brightness."""
    x = np.asarray(image, dtype=np.float32)
    strength = float(rng.choice([0.7, 1.5, 3.0, 5.0])) * rng.uniform(0.5, 1.3)
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    if rng.random() < 0.6:  # film scans: grain wider than a pixel
        noise = _spread(noise, float(rng.uniform(0.1, 1.0)))
        noise /= noise.std() + 1e-6
    grey = noise.mean(-1, keepdims=True) * np.sqrt(3)
    colour = rng.uniform(0, 1)
    noise = colour * noise + (1 - colour) * grey
    if rng.random() < 0.5:
        noise = noise * np.sqrt((x + 10) / 128)
    return Image.fromarray(np.clip(np.rint(x + strength * noise), 0, 255).astype(np.uint8))


def _mosaic(image: Image.Image) -> Image.Image:
    """Keep one colour of each pixel, as a Bayer sensor does, and interpolate the others linearly."""
    x = np.asarray(image, dtype=np.float32)
    mask = np.zeros_like(x)
    mask[0::2, 0::2, 0] = mask[1::2, 1::2, 2] = 1
    mask[0::2, 1::2, 1] = mask[1::2, 0::2, 1] = 1

    full = _spread(x * mask, 0.5) / _spread(mask, 0.5)
    return Image.fromarray(np.clip(np.rint(np.where(mask > 0, x, full)), 0, 255).astype(np.uint8))


def _tone(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change gamma, contrast and saturation, with dither so that the histogram gets no holes."""
    x = np.asarray(image, dtype=np.float32) / 255
    x = np.power(x, np.float32(rng.uniform(0.7, 1.5)))
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.4, 1.5))
    x = np.float32(rng.uniform(-0.05, 0.1)) + x * np.float32(rng.uniform(0.6, 1.1))
    x = x * 255 + rng.random(x.shape, dtype=np.float32)
    return Image.fromarray(np.clip(np.floor(x), 0, 255).astype(np.uint8))


def give_past(crop: U8, size: int, rng: np.random.Generator) -> U8:
    """Return a crop (size, size, 3), made from a larger square crop by a random past."""
    image = Image.fromarray(crop)
    if rng.random() < 0.2:
        image = _tone(image, rng)
    if rng.random() < 0.12:
        image = _mosaic(image)
    if rng.random() < 0.3:
        image = _grain(image, rng)
    if rng.random() < 0.35:
        image = _jpeg(image, rng)
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0))))
    if image.size[0] != size:
        image = _resize(image, size, rng)
    if rng.random() < 0.25:
        radius, percent = float(rng.uniform(0.5, 2.0)), int(rng.integers(30, 150))
        image = image.filter(ImageFilter.UnsharpMask(radius, percent, int(rng.integers(0, 4))))
    if rng.random() < 0.1:
        image = _grain(image, rng)
    if rng.random() < 0.25:
        image = _jpeg(image, rng)
    return np.asarray(image)


class Crops:
    """Random square crops of the sources. A crop depends only on the seed and on its number."""

    def __init__(self, root: Path, sources: Sequence[Source], size: int, seed: int) -> None:
        self.images = [load_images(root / s.folder) for s in sources]
        self.sources = sources
        self.size = size
        self.seed = seed
        shares = np.array([s.share for s in sources])
        self.shares = shares / shares.sum()

    def batch(self, step: int, count: int) -> U8:
        """Return the ``count`` crops of a step, uint8 array (count, size, size, 3)."""
        return np.stack([self.crop(number) for number in range(step * count, (step + 1) * count)])

    def crop(self, number: int) -> U8:
        """Return the crop of a number, uint8 array (size, size, 3)."""
        rng = np.random.default_rng((self.seed, number))
        kind = rng.choice(len(self.sources), p=self.shares)
        images = self.images[kind]
        image = images[rng.integers(len(images))]
        past = rng.random() < self.sources[kind].past
        factor = 1.0
        if past and rng.random() < 0.6:
            factor = float(np.exp(rng.uniform(np.log(0.7), np.log(2.8))))
        wide = min(round(self.size * factor), *image.shape[:2])
        if past or wide < self.size:
            wide = max(wide, 16)
            crop = self._cut(image, wide, rng)
            crop = give_past(crop, self.size, rng)
        else:
            crop = self._cut(image, self.size, rng)
        if rng.random() < 0.06:  # grey images go through the same model
            crop = np.asarray(Image.fromarray(crop).convert("L").convert("RGB"))
        if rng.random() < 0.5:
            crop = crop.transpose(1, 0, 2)
        return np.array(np.rot90(crop, int(rng.integers(4))))  # a copy, because Pillow's arrays are read-only

    @staticmethod
    def _cut(image: U8, size: int, rng: np.random.Generator) -> U8:
        h, w = image.shape[:2]
        if min(h, w) < size:  # tiny icons: repeat the border
            image = np.pad(image, ((0, max(0, size - h)), (0, max(0, size - w)), (0, 0)), "edge")
            h, w = image.shape[:2]
        y, x = rng.integers(h - size + 1), rng.integers(w - size + 1)
        return np.ascontiguousarray(image[y : y + size, x : x + size])
