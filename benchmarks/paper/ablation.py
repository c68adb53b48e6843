"""The value of latents and their prior: dynamic digits without z, with a factorised, and an autoregressive prior.

    python -m benchmarks.paper.ablation --data DIR --runs DIR

RUNS is that of `benchmarks.paper.variants`. Figures are means over the first ``--images`` test images, each coded
in one chain and decoded. The paper's are importance-weighted with 4,096 samples; ours are what a file can have.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from benchmarks.paper.chains import code, model_of, promise
from benchmarks.paper.digits import NATS, dynamic_test
from benchmarks.paper.variants import STEPS, VARIANTS, weights_of
from codec.format.headers import Latents

ROWS = (
    ("no-z", "local decoder alone", 87.55, 0.0),
    ("factorised-prior", "with z, factorised prior", 79.48, 10.60),
    ("window-7x4", "with z, autoregressive prior", 78.94, 11.73),
)
"""Variants, their titles, and the paper's NLL and KL in nats (table 2)."""


def draw(names: list[str], ours: np.ndarray, theirs: np.ndarray, path: Path) -> None:
    """Write bars of pixels and latents, ours beside the paper's, nats an image (rows of NLL and KL)."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    for shift, rows, label, alpha in ((-0.2, ours, "here, coded", 1.0), (0.2, theirs, "paper, bound of NLL", 0.55)):
        axes.bar(places + shift, rows[:, 0] - rows[:, 1], 0.38, color="#4c78a8", alpha=alpha, label=f"pixels: {label}")
        axes.bar(places + shift, rows[:, 1], 0.38, rows[:, 0] - rows[:, 1], color="#f58518", alpha=alpha, label="z")
    axes.set_xticks(places, names)
    axes.set_ylabel("nats an image")
    axes.set_ylim(bottom=50)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--images", type=int, default=10_000)
@click.option("--picture", type=click.Path(path_type=Path), default=Path("docs/paper/ablation.png"))
def main(data: Path, runs: Path, images: int, picture: Path) -> None:
    """Code the test images with the variants, print a table, and draw it."""
    test = dynamic_test(data)[:images]
    steps = STEPS[VARIANTS[ROWS[0][0]].recipe]
    click.echo(f"{len(test)} dynamic test digits, {steps} steps of training each; nats an image")
    click.echo("| model | -ELBO | KL | coded, one chain | paper: NLL | paper: KL |")
    click.echo("|---" * 6 + "|")
    ours = []
    for name, title, nll, kl in ROWS:
        weights = weights_of(runs, name)
        latents = Latents.NONE if name == "no-z" else Latents.BITS_BACK
        bits = promise(weights, test)
        coded = NATS * code(model_of(weights), test, latents).bits / len(test)
        whole, latent = (bits.off, 0.0) if name == "no-z" else (bits.elbo, bits.latent)
        click.echo(f"| {title} | {NATS * whole:.2f} | {NATS * latent:.2f} | {coded:.2f} | {nll:.2f} | {kl:.2f} |")
        ours.append((coded, NATS * latent))
    picture.parent.mkdir(parents=True, exist_ok=True)
    titles = [title.replace(", ", ",\n") for _, title, _, _ in ROWS]
    draw(titles, np.array(ours), np.array([row[2:] for row in ROWS]), picture)


if __name__ == "__main__":
    main()
