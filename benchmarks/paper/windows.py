"""The split of information between z and the pixels, by the window that the likelihood sees.

    python -m benchmarks.paper.windows digits --data DIR --runs DIR
    python -m benchmarks.paper.windows colours --data DIR --runs DIR

RUNS is that of `benchmarks.paper.variants`. A narrow window cannot see what distant pixels have in common, and leaves
that to z. The picture shows test images, and under them the images that z alone gives, in which the model draws the
rest ("decompressions", section 4.1 of the paper).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from benchmarks.paper.chains import code, model_of, promise
from benchmarks.paper.digits import spread, static_test, tiny_test
from benchmarks.paper.variants import STEPS, VARIANTS, weights_of
from codec.format.headers import Latents
from codec.vlae.image import Image
from codec.vlae.latents import mode
from codec.vlae.preview import preview

KINDS = {
    "digits": (("window-1x1", "window-3x2", "window-7x4"), static_test),
    "colours": (("colour-window", "grey-window"), tiny_test),
}
"""For each kind, its variants, and the function that loads their test images."""
SHOWN, SCALE = 16, 3
U8 = NDArray[np.uint8]


def redrawn(weights: Path, images: U8) -> U8:
    """Return images (N, H, W, C) that the model draws, given the originals' z at the posterior's mode."""
    model, found = model_of(weights), []
    for seed, values in enumerate(images):
        image = Image.of(model, values, 0)
        image.z[:] = [mode(image, band) for band in range(image.bands)]
        found.append(preview(image, seed))
    return np.stack(found)


def sheet(rows: list[U8], path: Path) -> None:
    """Write rows of images (N, H, W, C), values 0..1 or 0..255, one below the other, enlarged."""
    lines = []
    for row in rows:
        shown = row * np.uint8(255) if row.max() <= 1 else row
        shown = np.broadcast_to(shown, (*shown.shape[:3], 3))
        lines.append(np.pad(shown, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=128).swapaxes(0, 1))
    whole = np.concatenate([line.reshape(line.shape[0], -1, 3) for line in lines])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PillowImage.fromarray(np.ascontiguousarray(whole))
    picture.resize((SCALE * picture.width, SCALE * picture.height), PillowImage.Resampling.NEAREST).save(path)


def table(names: tuple[str, ...], runs: Path, test: U8, path: Path) -> None:
    """Print a line for each variant, and write the sheet."""
    samples = test[0].size
    click.echo(f"{len(test)} test images, {STEPS[VARIANTS[names[0]].recipe]} steps of training each; bits an image")
    click.echo("| model | z (KL) | pixels | together | coded, one chain | bits/dim |")
    click.echo("|---" * 6 + "|")
    rows = [spread(test, SHOWN)]
    for name in names:
        weights = weights_of(runs, name)
        bits = promise(weights, test)
        coded = code(model_of(weights), test, Latents.BITS_BACK).bits / len(test)
        click.echo(
            f"| {name} | {bits.latent:.1f} | {bits.pixel:.1f} | {bits.elbo:.1f} | {coded:.1f} | {coded / samples:.4f} |"
        )
        rows.append(redrawn(weights, spread(test, SHOWN)))
    sheet(rows, path)


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--images", type=int, default=500)
@click.option("--pictures", type=click.Path(path_type=Path), default=Path("docs/paper"), help="Folder.")
def main(kind: str, data: Path, runs: Path, images: int, pictures: Path) -> None:
    """Code test images with all windows, print a table, and write a sheet of pictures."""
    names, load = KINDS[kind]
    table(names, runs, spread(load(data), images), pictures / f"windows-{kind}.png")


if __name__ == "__main__":
    main()
