"""Static and dynamic MNIST: the bounds of the models, and the bits of real archives and files.

    python -m benchmarks.paper.digits --data DIR

All test images are coded as one chain, as blocks of 64, and as single files. All are decoded and compared. The paper's
figures bound -log p(x) with 4,096 importance samples, which no code attains. Our bound, with `--samples` samples,
stands beside the bits of files.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage

import codec
from benchmarks.paper.chains import evidence_gap, promise
from codec.archive.reader import Archive
from codec.archive.writer import create_archive
from codec.frozen.shipped import weights_path
from models.data.small import load_small

U8 = NDArray[np.uint8]
NATS = math.log(2)
PAPER = {"mnist-static": 79.03, "mnist-dynamic": 78.53}
"""The paper's figures in nats an image, from its tables 1 and 2."""


def static_test(data: Path) -> U8:
    """Return the test images (10,000, 28, 28, 1) of static MNIST, bits."""
    return load_small(data / "small/binarized_mnist.npz/test", 28)


def dynamic_test(data: Path) -> U8:
    """Return the test images of dynamic MNIST: bits drawn with the pixels' brightness, always the same."""
    grey = load_small(data / "small/mnist_exact.npz/test", 28)
    return (np.random.default_rng(0).integers(0, 255, grey.shape) < grey).astype(np.uint8)


def tiny_test(data: Path) -> U8:
    """Return the first 1,017 test images (1,017, 32, 32, 3) of CIFAR-10."""
    return load_small(data / "small/cifar10_exact_subset.npz/test", 32)


TESTS = {"mnist-static": static_test, "mnist-dynamic": dynamic_test, "tiny": tiny_test}
"""Functions that load the test images of the models that ship."""


def spread(images: U8, count: int) -> U8:
    """Return ``count`` images that are spread from the first to about the last, because static MNIST is in order."""
    return images[:: max(1, len(images) // count)][:count]


def pillow(values: U8) -> PillowImage.Image:
    """Return an image (H, W, 3), or (H, W, 1) of bits."""
    if values.shape[2] == 3:
        return PillowImage.fromarray(values)
    return PillowImage.fromarray(values[:, :, 0] * np.uint8(255)).convert("1")


@dataclass(frozen=True)
class Archived:
    """An archive of images, all of which were decoded and compared.

    Attributes
    ----------
    file_bits, message_bits : int
        Bits of the whole file, and of its messages with their heads and initial bits.
    encode_s, decode_s : float
        Seconds on all cores.
    one_s : float
        Seconds to get one image from the middle of a block. The model and the index are loaded before.
    """

    file_bits: int
    message_bits: int
    encode_s: float
    decode_s: float
    one_s: float


def archived(images: U8, model: str, block: int) -> Archived:
    """Write an archive of images (N, H, W, C) in blocks, and read it back.

    Raises
    ------
    ValueError
        A decoded image differs from the original.
    """
    named = {f"{number:05d}": pillow(values) for number, values in enumerate(images)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.vlar"
        begin = time.perf_counter()
        create_archive(path, named, lossless=True, model=model, block=block)
        encode_s = time.perf_counter() - begin
        with Archive(path) as archive:
            begin = time.perf_counter()
            archive.verify()
            decode_s = time.perf_counter() - begin
            for name, image in archive.items():
                if not np.array_equal(np.asarray(image), np.asarray(named[name])):
                    raise ValueError(f"{name}: was not decoded as it was")
            message = archive.part_bits()["message_bits"]
        with Archive(path) as archive:
            archive["00000"]
            begin = time.perf_counter()
            archive[f"{len(images) // 2 // block * block + min(block, len(images)) // 2:05d}"]
            one_s = time.perf_counter() - begin
        return Archived(8 * path.stat().st_size, message, encode_s, decode_s, one_s)


def singles(images: U8, model: str) -> tuple[float, float]:
    """Return the mean bits of whole single files, and of their messages alone. All are decoded and compared."""
    whole = message = 0
    for values in images:
        image = pillow(values)
        data = codec.compress(image, lossless=True, model=model, threads=1)
        if not np.array_equal(np.asarray(codec.decompress(data, threads=1)), np.asarray(image)):
            raise ValueError("an image was not decoded as it was")
        whole += 8 * len(data)
        message += codec.info(data).part_bits["payload_bits"]
    return whole / len(images), message / len(images)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--images", type=int, default=10_000)
@click.option("--samples", type=int, default=512, help="Samples of the importance-weighted bound.")
@click.option("--every", type=int, default=25, help="The bound is taken of one image in this number.")
@click.option("--picture", type=click.Path(path_type=Path), default=Path("docs/paper/digits.png"))
def main(data: Path, images: int, samples: int, every: int, picture: Path) -> None:
    """Code the test images in all ways, print tables, and draw them."""
    rows = []
    for name, paper in PAPER.items():
        test, weights = TESTS[name](data)[:images], weights_path(name)
        bits = promise(weights, test)
        gap, error = evidence_gap(weights, test[::every], samples)
        click.echo(f"{name}: {len(test)} test images; nats an image")
        click.echo(f"  paper, -log p(x) with 4,096 samples       {paper:8.2f}")
        bound = f"{NATS * (bits.elbo - gap):8.2f} +- {NATS * math.hypot(error, bits.elbo_stderr):.2f}"
        click.echo(f"  here, -log p(x) with {samples:,} samples           {bound}")
        click.echo(
            f"  -ELBO of the frozen model                 {NATS * bits.elbo:8.2f} +- {NATS * bits.elbo_stderr:.2f}"
        )
        click.echo(f"  of it z (KL)                              {NATS * bits.latent:8.2f} = {bits.latent:.1f} bits")
        chains = [archived(test, name, block) for block in (len(test), 64)]
        for title, chain in zip(("one chain", "blocks of 64"), chains, strict=True):
            message = chain.message_bits / len(test)
            over = 100 * (message / bits.elbo - 1)
            click.echo(
                f"  {title:<13} messages {NATS * message:8.2f} = {message:7.2f} bits, {over:+.3f} % of -ELBO; "
                f"with names and index {chain.file_bits / len(test):.1f} bits; "
                f"encoded in {chain.encode_s:.0f} s, decoded in {chain.decode_s:.0f} s, "
                f"one image in {1000 * chain.one_s:.1f} ms = {100 * chain.one_s / chain.decode_s:.2f} % of all"
            )
        whole, message = singles(test, name)
        click.echo(
            f"  single files  messages {NATS * message:8.2f} = {message:7.2f} bits; whole files {whole:.1f} bits"
        )
        rows.append(
            [paper, NATS * (bits.elbo - gap), NATS * bits.elbo]
            + [NATS * chain.message_bits / len(test) for chain in chains]
        )
    draw(rows, picture)


def draw(rows: list[list[float]], path: Path) -> None:
    """Write bars of nats an image. Single files are left out, because they take more than twice as many."""
    labels = ("paper, bound of -log p(x)", "bound of -log p(x)", "-ELBO", "one chain", "blocks of 64")
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, label in enumerate(labels):
        places = [i + 0.17 * (number - 2) for i in range(len(rows))]
        bars = axes.bar(places, [row[number] for row in rows], 0.16, label=label)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_xticks(range(len(rows)), list(PAPER))
    axes.set_ylabel("nats an image")
    axes.set_ylim(70, 90)
    axes.legend(fontsize=7, ncols=3, loc="upper center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
