"""The value of latents: small models that differ only in their latents are trained and compared.

    python -m benchmarks.latents --data DIR --runs DIR [--steps 1500]

Each line is a run of the recipe ``photo`` at a smaller width, with the same data, seed, steps and likelihood. Bits are
minus the ELBO of the float model on the validation folders, which includes the KL divergence.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
import torch

from models.data.rounding import Rounder
from models.recipes.reading import load_recipe
from models.tasks.evaluate import folder_bpsp
from models.training.run import Run

SMALL: dict[str, Any] = {
    "model.width": 64,
    "model.head": 24,
    "model.posterior": [16, 24, 32],
    "train.batch": 8,
    "train.pixels": 256,
    "train.average": 0.99,
    "train.warmup_steps": 100,
    "train.learning_rate": 0.0015,
}
# With smaller tiles there are more of them, and fewer pixels of each are used, so that all steps use as many pixels.
TILE_32 = {"model.tile": 32, "train.batch": 16, "train.pixels": 128, "validation.pixels": 40}
TILE_16 = {"model.tile": 16, "train.batch": 32, "train.pixels": 64, "validation.pixels": 10}
REFINE_STEPS = 10
"""Steps of an encoder's search for a better z of its image."""
VARIANTS: dict[str, dict[str, Any]] = {
    "no latents": {"model.latents": 0},
    "no latents, 2 % wider": {"model.latents": 0, "model.width": 66},
    "4 a tile of 64": {"model.latents": 4},
    "16 a tile of 64": {},
    "32 a tile of 64": {"model.latents": 32},
    "4 a tile of 32": {**TILE_32, "model.latents": 4},
    "16 a tile of 32": TILE_32,
    "4 a tile of 16": {**TILE_16, "model.latents": 4},
}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", type=click.Path(path_type=Path), required=True, help="Folder of the checkpoints.")
@click.option("--steps", type=int, default=1500)
@click.option("--threads", type=int, default=1)
def main(data: Path, runs: Path, steps: int, threads: int) -> None:
    """Train all variants and print a table."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    click.echo("| latents | " + " | ".join(f"{f}, bpsp | of it latents | z refined" for f in ("photos", "past")) + " |")
    click.echo("|---" * 7 + "|")
    for name, changes in VARIANTS.items():
        schedule = {"train.steps": steps, "train.decay_steps": steps // 2}
        recipe = load_recipe("photo", SMALL | schedule | changes)
        run = Run(recipe, data, runs / name.replace(" ", "-").replace(",", ""))
        run.train(float("inf"), every_s=float("inf"))
        cells, rounder = [], Rounder(recipe.rounding)
        for folder in recipe.validation_folders:
            total, latent, _ = folder_bpsp(run.average, data / folder, recipe.validation_pixels, rounder)
            cells += [f"{total:.4f}", f"{latent:.4f}"]
            if recipe.model.latents:
                total, _, _ = folder_bpsp(
                    run.average, data / folder, recipe.validation_pixels, rounder, refine_steps=REFINE_STEPS
                )
            cells.append(f"{total:.4f}")
        click.echo(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
