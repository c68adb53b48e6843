"""Models that differ in one thing. They are trained by the recipes that ship, for fewer steps, and frozen.

    python -m benchmarks.paper.variants --data DIR --runs DIR [NAME ...]

A run resumes from its checkpoint, and a variant whose frozen weights exist is not trained again. All variants of a
recipe see the same images in the same order, for the same number of steps. `benchmarks.paper.ablation` and
`benchmarks.paper.windows` code the test images with them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch

from models.recipes.reading import load_recipe
from models.training.device import Machine
from models.training.finish import FROZEN, finish
from models.training.run import Run

STEPS = {"mnist-dynamic": 1500, "tiny": 800}
"""Training steps of each recipe's variants."""


@dataclass(frozen=True)
class Variant:
    """A model of an experiment: a recipe that ships, and the changes to it."""

    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "no-z": Variant("mnist-dynamic", {"train.drop_latents": 1.0}),
    "factorised-prior": Variant("mnist-dynamic", {"model.prior": 0}),
    "window-7x4": Variant("mnist-dynamic"),
    "window-1x1": Variant("mnist-dynamic", {"model.window": [1, 1]}),
    "window-3x2": Variant("mnist-dynamic", {"model.window": [3, 2]}),
    "colour-window": Variant("tiny"),
    "grey-window": Variant("tiny", {"model.grey": True}),
}
"""The variants, by name. The window of 7 x 4 with an autoregressive prior is part of the ablation, too."""


def schedule(recipe: str) -> dict[str, Any]:
    """Return the changes to a recipe for a variant's shorter training."""
    steps = STEPS[recipe]
    return {"train.steps": steps, "train.decay_steps": steps // 2, "train.latent_steps": steps // 4}


def weights_of(runs: Path, name: str) -> Path:
    """Return the path of a variant's frozen weights, which the command of this module writes."""
    return runs / name / FROZEN


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(VARIANTS)))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--threads", type=int, default=1)
@click.option("--limit", type=float, default=float("inf"), help="Seconds for all; the same command goes on afterwards.")
def main(names: tuple[str, ...], data: Path, runs: Path, threads: int, limit: float) -> None:
    """Train and freeze variants, by default all."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    end = time.monotonic() + limit
    for name in names or VARIANTS:
        if weights_of(runs, name).exists():
            continue
        variant = VARIANTS[name]
        recipe = load_recipe(variant.recipe, schedule(variant.recipe) | variant.changes)
        run = Run(recipe, data, runs / name, machine=Machine(bfloat16=True))
        if not run.train(end - time.monotonic()):
            click.echo(f"{name}: stopped at step {run.progress.step}: the same command goes on", err=True)
            return
        card = finish(run)
        click.echo(f"{name}: {card['validation']}")


if __name__ == "__main__":
    main()
