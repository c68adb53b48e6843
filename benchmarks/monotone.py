"""Whether a higher quality gives a longer file that is no further from the image: every step of each image.

People and the search for a target size both rely on it.
"""

from __future__ import annotations

import math
from itertools import pairwise, starmap
from pathlib import Path

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

import codec
from benchmarks.common import markdown_table
from benchmarks.rd import rgb_images
from codec.headers import MAX_QUALITY
from codec.metrics import psnr


def curve(image: Image.Image, qualities: list[int]) -> list[tuple[int, float]]:
    """Return bytes of the whole file and PSNR in dB at each quality."""
    points = []
    for quality in qualities:
        data = codec.compress(image, quality=quality)
        points.append((len(data), psnr(np.asarray(image), np.asarray(codec.decompress(data)))))
    return points


def steps(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return from each quality to the next the growth in percent and the gain in dB."""
    return list(starmap(_step, pairwise(points)))


def _step(before: tuple[int, float], after: tuple[int, float]) -> tuple[float, float]:
    gain = 0.0 if math.isinf(before[1]) else after[1] - before[1]  # both came back exactly
    return 100 * (after[0] / before[0] - 1), gain


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N images only.")
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="N", help="Every quality divisible by N.")
def main(folder: Path, limit: int | None, every: int) -> None:
    """Print the smallest step of size and of PSNR of each image."""
    qualities = [quality for quality in range(1, MAX_QUALITY + 1) if quality % every == 0]
    images = list(rgb_images(folder))[:limit]
    rows = [["image", "qualities", "least growth of the file", "least gain of PSNR"]]
    for name, image in tqdm(images, unit="image", leave=False, disable=None):
        growths, gains = zip(*steps(curve(image, qualities)), strict=True)
        rows.append([name, str(len(qualities)), f"{min(growths):+.2f} %", f"{min(gains):+.3f} dB"])
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
