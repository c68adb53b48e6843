"""``vlae demo``: codes and decodes a small image that ships with the package.

The image is drawn, not photographed, so that it needs no download and nobody has rights in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codec.commands.console import prepare
from codec.errors import CodecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 120
PICTURE = Path(__file__).with_name("demo.png")


def draw() -> NDArray[np.uint8]:
    """Return the picture of `PICTURE`, uint8 array (120, 160, 3): sky, hills, soft discs, grain."""
    import numpy as np

    rng = np.random.default_rng(2024)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    down = y[:, :, None] / HEIGHT
    picture = np.array([96.0, 140.0, 205.0]) * (1 - down) + np.array([236.0, 205.0, 170.0]) * down
    for _ in range(14):
        centre_x, centre_y = rng.uniform(0, WIDTH), rng.uniform(0, 0.6 * HEIGHT)
        radius, softness = rng.uniform(4, 18), rng.uniform(0.6, 5)
        distance = np.hypot(x - centre_x, y - centre_y)
        cover = 0.7 / (1 + np.exp(np.clip((distance - radius) / softness, -50, 50)))
        picture += cover[:, :, None] * (rng.uniform(30, 250, 3) - picture)
    for level, colour in ((0.62, (92, 112, 120)), (0.74, (70, 92, 70)), (0.86, (52, 58, 38))):
        waves = sum(rng.uniform(1, 5) * np.sin(x / rng.uniform(6, 30) + rng.uniform(0, 6)) for _ in range(5))
        cover = 1 / (1 + np.exp(np.clip(-(y - level * HEIGHT - waves) / 0.6, -50, 50)))
        texture = rng.normal(0, 5, (HEIGHT, WIDTH, 1))
        picture += cover[:, :, None] * (np.array(colour) + texture - picture)
    # The noise of a camera's sensor is stronger in bright pixels.
    picture += rng.normal(0, 1, picture.shape) * np.sqrt(np.clip(picture, 1, None)) * 0.18
    drawn: NDArray[np.uint8] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return drawn


@click.command()
def demo() -> None:
    """Compress a small image that comes with vlae, decompress it, check it, print the ledger."""
    prepare(quiet=False, for_lossy=False)

    from codec.ledger.measure import measure
    from codec.ledger.tables import image_table

    measured = measure(PICTURE, name=str(PICTURE), lossless=True)
    if not measured.exact:
        raise CodecError(f"demo: {PICTURE.name} did not come back as it was")
    info, samples = measured.info, measured.ledger.samples
    click.echo(
        f"{PICTURE.name}: {info.width}x{info.height}, {samples} samples -> {info.file_bytes} bytes "
        f"({info.bpsp:.3f} bits a sample) -> the same {samples} samples"
    )
    click.echo(image_table(measured))
