"""The saving of bits-back over two-part files, and the cost of its approximate posterior.

    python -m benchmarks.paper.two_part --data DIR

A two-part code sends z at the posterior's mode in full. Bits-back sends a z that other bits chose, and gets
-log q(z|x) bits back. Its expected length is minus the ELBO, which is KL(q(z|x) || p(z|x)) above -log2 p(x)
(section 2.2 of the paper). The divergence is estimated from below, by the importance-weighted bound.
"""

from __future__ import annotations

from pathlib import Path

import click
from matplotlib.figure import Figure

from benchmarks.paper.chains import code, evidence_gap, model_of, promise
from benchmarks.paper.digits import TESTS, spread
from codec.format.headers import Latents
from codec.frozen.shipped import weights_path


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--images", type=int, default=200, help="Test images of each model.")
@click.option("--samples", type=int, default=512, help="Samples of the importance-weighted bound.")
@click.option("--picture", type=click.Path(path_type=Path), default=Path("docs/paper/two-part.png"))
def main(data: Path, images: int, samples: int, picture: Path) -> None:
    """Code the test images both ways, print a table, and draw it."""
    click.echo("bits an image, chains of test images")
    click.echo(
        "| model | images | two parts | bits-back | saved | -ELBO | KL(q, p(z given x)) above | -log2 p(x) below |"
    )
    click.echo("|---" * 8 + "|")
    rows = []
    for name, load in TESTS.items():
        test, weights = spread(load(data), images), weights_path(name)
        model = model_of(weights)
        sent, returned = (code(model, test, mode).bits / len(test) for mode in (Latents.TWO_PART, Latents.BITS_BACK))
        bits = promise(weights, test)
        gap, error = evidence_gap(weights, test, samples)
        click.echo(
            f"| {name} | {len(test)} | {sent:.1f} | {returned:.1f} | {sent - returned:.1f} | {bits.elbo:.1f} "
            f"| {gap:.2f} +- {error:.2f} | {bits.elbo - gap:.1f} |"
        )
        rows.append((name, sent / returned, 1.0, (bits.elbo - gap) / returned))
    draw(rows, picture)


def draw(rows: list[tuple[str, float, float, float]], path: Path) -> None:
    """Write bars of lengths, as multiples of the length of bits-back."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for number, label in enumerate(("two parts", "bits-back", "-log2 p(x), at most")):
        places = [i + 0.27 * (number - 1) for i in range(len(rows))]
        axes.bar(places, [row[1 + number] for row in rows], 0.25, label=label)
    axes.set_xticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylabel("length over bits-back's")
    axes.set_ylim(bottom=0.8)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
