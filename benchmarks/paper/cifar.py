"""The first 1,017 test images of CIFAR-10: an archive and single files, compared with other codecs.

    python -m benchmarks.paper.cifar --data DIR

The whole test set is not available here. Papers quote all 10,000 images, so their figures only give a scale.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import zstandard
from matplotlib.figure import Figure

from benchmarks.common import RIVALS
from benchmarks.paper.chains import promise
from benchmarks.paper.digits import archived, pillow, singles, tiny_test
from codec.frozen.shipped import weights_path

PUBLISHED = {"Bit-Swap, chain": 3.82, "HiLLoC, chain": 3.56, "VLAE, bound": 2.95}
"""Bits per dimension of the whole test set."""


def zstd_bits(raw: bytes) -> int:
    """Return the bits of zstd at its highest level, of all samples in one stream."""
    return 8 * len(zstandard.ZstdCompressor(level=22).compress(raw))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--images", type=int, default=1017)
@click.option("--picture", type=click.Path(path_type=Path), default=Path("docs/paper/cifar.png"))
def main(data: Path, images: int, picture: Path) -> None:
    """Code the test images in all ways, print a table, and draw it."""
    test = tiny_test(data)[:images]
    samples = test.size
    bits = promise(weights_path("tiny"), test)
    chain, blocks = archived(test, "tiny", len(test)), archived(test, "tiny", 64)
    whole, message = singles(test, "tiny")
    rows = {
        "one chain, messages": chain.message_bits / samples,
        "one chain, whole archive": chain.file_bits / samples,
        "blocks of 64, messages": blocks.message_bits / samples,
        "single files, messages": message / test[0].size,
        "single files, whole": whole / test[0].size,
    }
    for rival in RIVALS.values():
        encoded = 0
        for values in test:
            image = pillow(values)
            stored = rival.encode(image, 1)
            if not np.array_equal(np.asarray(rival.decode(stored, 1)), np.asarray(image)):
                raise ValueError(f"{rival.name}: an image was not decoded as it was")
            encoded += 8 * len(stored)
        rows[f"{rival.name}, single files"] = encoded / samples
    rows["zstd -22 of raw samples, all images"] = zstd_bits(test.tobytes()) / samples
    click.echo(f"first {len(test)} test images of CIFAR-10, bits/dim")
    click.echo(
        f"| tiny: -ELBO of the frozen model (z {bits.latent:.0f} bits an image) | {bits.elbo / test[0].size:.4f} |"
    )
    for name, value in rows.items():
        click.echo(f"| {name} | {value:.4f} |")
    for name, value in PUBLISHED.items():
        click.echo(f"| published, all 10,000: {name} | {value:.2f} |")
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rows)[::-1], list(rows.values())[::-1])
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
    axes.set_xlabel("bits/dim")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
