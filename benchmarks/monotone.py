"""Checks that a higher quality gives a longer file that is no further from the image, at each step of each image.

People rely on it, and so does the search for a target size. Without a folder, the pictures are those of
`benchmarks.drawn`. The PSNR of their lossy files alone would sometimes fall; that of the returned files must not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise, starmap
from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

import codec
from benchmarks.common import markdown_table
from benchmarks.drawn import DRAWINGS
from codec.format import container
from codec.format.headers import MAX_QUALITY
from codec.image_files import conversion
from codec.images.choice import reach
from codec.images.fidelities import Encoder, File
from codec.images.goals import DEFAULT_EFFORT, goal_of
from codec.images.metrics import psnr


@dataclass(frozen=True)
class Remembering(Encoder):
    """An encoder that makes each file only once, because the choice of a file also tries lower qualities."""

    made: dict[str, File] = field(default_factory=dict)

    def lossy(self, quality: int) -> File:
        """Return the file of a quality."""
        return self.made.get(f"lossy {quality}") or self.made.setdefault(f"lossy {quality}", super().lossy(quality))

    def exact(self, error: int) -> File:
        """Return the file within an error."""
        return self.made.get(f"exact {error}") or self.made.setdefault(f"exact {error}", super().exact(error))


def curve(image: Image.Image, qualities: Iterable[int]) -> list[tuple[int, float]]:
    """Return for each quality the bytes of the whole file, and the PSNR in dB of the visible samples."""
    pixels = conversion.from_pillow(image)
    encoder = Remembering(image, pixels, None, DEFAULT_EFFORT, None, None)
    samples, alpha = conversion.planes(image)
    points = []
    for quality in qualities:
        data = container.pack(reach(encoder, goal_of(quality=quality)).whole())
        points.append((len(data), psnr(samples, conversion.planes(codec.decompress(data))[0], alpha)))
    return points


def steps(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return for each step between qualities the growth of the file in percent, and the gain in dB."""
    return list(starmap(_step, pairwise(points)))


def _step(before: tuple[int, float], after: tuple[int, float]) -> tuple[float, float]:
    # If both images came back exactly, the gain is zero.
    gain = 0.0 if math.isinf(before[1]) and math.isinf(after[1]) else after[1] - before[1]
    return 100 * (after[0] / before[0] - 1), gain


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N images only.")
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="N", help="Every quality divisible by N.")
def main(folder: Path | None, limit: int | None, every: int) -> None:
    """Print the smallest step of size and of PSNR of each image of FOLDER, or of ten drawn pictures."""
    qualities = [quality for quality in range(1, MAX_QUALITY + 1) if quality % every == 0]
    drawn = [(name, draw()) for name, draw in DRAWINGS.items()]
    if folder is None:
        images = drawn[:limit]
    else:
        from benchmarks.rd import rgb_images  # with it comes what only the extra bench has

        images = list(rgb_images(folder))[:limit]
    rows = [["image", "qualities", "least growth of the file", "least gain of PSNR"]]
    for name, image in tqdm(images, unit="image", leave=False, disable=None):
        growths, gains = zip(*steps(curve(image, qualities)), strict=True)
        rows.append([name, str(len(qualities)), f"{min(growths):+.2f} %", f"{min(gains):+.3f} dB"])
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
