"""The value of latents for small images in a chain, where the first bits of bits-back cost nearly nothing.

    python -m benchmarks.experiments.small_latents --data DIR --runs DIR [--minutes 15]

Arms are models of the recipe ``tiny`` with wider and narrower windows. Each has a twin without latents, which spends
the multiply-adds of the networks around z on its likelihood. All train for the same processor time. In a share of the
training latents are dropped, so that a single file may do without them. Bits/dim are minus the ELBO, with the KL.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.experiments.training import SoftFreeBits, arm_options, begin, train_for
from models.data.small import load_small
from models.nets.spatial import SpatialConfig
from models.noise import Noise
from models.recipes.reading import load_recipe
from models.tasks.maps import AT_ONCE, MapsTask
from models.training.optimizer import MATRICES

RATE = 0.0015
BATCH = 24
DROP = 0.15
FREE_BITS = 0.03
"""Least bits that each latent costs in the loss. They fall with the learning rate."""
RISE_STEPS = 600
"""Number of first steps in which the price of latents rises to 1."""
FOLDERS = ("small/cifar10_exact_subset.npz/train[3500:]", "photos_valid")
IMAGES = 500
WINDOWS = ((3, 2), (5, 3), (7, 4))
SHAPES = {
    "16 for 4x4": {},
    "4 for 4x4": {"latents": 4},
    "16 for 8x8": {"cell": 2},
    "16 for 4x4, networks of 96": {"stream": 96},
}
LIKELIHOOD = re.compile(r"likelihood\.(hidden[123]|split)\.weight")
"""Names of the parameters that Muon steps, in arms whose networks around z are stepped by Adam."""
ADAM, HELD = ", Adam around z", ", held"
"""Ends of the names of arms, by how their networks around z are trained: by Adam, or by Adam with the KL divergence
held near `TARGET` until the learning rate falls."""
TARGET = 0.04
"""Share of the pixels' bits at which the KL divergence is held."""
WIDTH, ALONE = 96, 136
"""Width of the likelihood with latents, and without. Both kinds of arms then have as many multiply-adds in all."""


def arms() -> dict[str, SpatialConfig]:
    """Return all arms by their names."""
    config = load_recipe("tiny").model
    if not isinstance(config, SpatialConfig):
        raise TypeError("recipe tiny: expected latents that become a map of features")
    found = {}
    for window in WINDOWS:
        name = f"{window[0]}x{window[1]}"
        found[f"{name}, no latents"] = replace(config, window=window, width=ALONE)
        for shape, changes in SHAPES.items():
            if window == WINDOWS[1] or shape == "16 for 4x4":
                found[f"{name}, {shape}{HELD}"] = replace(config, window=window, width=WIDTH, **changes)
        if window == WINDOWS[1]:
            for way in ("", ADAM):
                found[f"{name}, 16 for 4x4{way}"] = replace(config, window=window, width=WIDTH)
    return found


@torch.no_grad()
def judged(task: MapsTask, model: torch.nn.Module, path: Path, *, alone: bool) -> dict[str, float]:
    """Return bits/dim of small images with latents, including the KL divergence, and without latents."""
    images = torch.from_numpy(load_small(path, task.crop)[:IMAGES])
    row = {"off": 0.0, "on": 0.0, "KL": 0.0}
    noise = Noise()
    for some in images.split(AT_ONCE):
        nothing = torch.zeros(len(some), dtype=torch.bool)
        row["off"] += float(task.terms(model, some, noise, nothing)[0].sum())
        if not alone:
            bits, latent = task.terms(model, some, noise)
            kl = float((latent.prior_bits - latent.posterior_bits).sum())
            row["on"] += float(bits.sum()) + kl
            row["KL"] += kl
    return {key: value / images.numel() for key, value in row.items()}


@click.command()
@arm_options(minutes=15.0)
def main(data: Path, runs: Path, minutes: float, only: str) -> None:
    """Train all arms and print a table."""
    begin(runs)
    recipe = load_recipe("tiny")
    columns = " | ".join(f"{images}: off | on | of it KL" for images in ("CIFAR-10", "photographs"))
    click.echo(f"| window, latents | steps | MAC a pixel | {columns} |")
    click.echo("|---" * 9 + "|")
    for name, config in arms().items():
        if only not in name:
            continue
        alone = name.endswith("no latents")
        task = MapsTask(recipe, config)
        model = task.new_model()
        task.set_bfloat16(model, True)
        material = task.material(data, 1)

        def batch(step: int, task: MapsTask = task, material: object = material) -> Tensor:
            return task.batch(material.batch(step, BATCH), np.random.default_rng((1, step, 2)))

        held = SoftFreeBits(TARGET) if name.endswith(HELD) else None

        def lost(images: Tensor, step: int, fall: float, task=task, model=model, alone=alone, held=held) -> Tensor:
            if alone:  # the networks around z are not computed
                features = torch.zeros(len(images), task.config.features, task.crop, task.crop)
                return task.whole.bits(model, images, features).mean() / images[0].numel()
            noise = Noise(step)
            on = noise.uniform(len(images)) >= DROP
            bits, latent = task.terms(model, images, noise, on)
            kl = ((latent.prior_bits - latent.posterior_bits) * on[:, None, None]).mean(0)
            if held is None:
                price, kl = min(1.0, step / RISE_STEPS), kl.clamp(min=FREE_BITS * fall)
            else:
                if fall == 1:
                    held.step(float(kl.sum().detach() / bits.mean().detach()))
                price = fall * held.price + 1 - fall
            return (bits.mean() + price * kl.sum()) / images[0].numel()

        stem = runs / name.replace(",", "").replace(" ", "-")
        matrices = LIKELIHOOD if name.endswith((ADAM, HELD)) else MATRICES
        steps = train_for(60 * minutes, model, batch, lost, RATE, stem.with_suffix(".safetensors"), matrices)
        figures = stem.with_suffix(".json")
        if not figures.exists():
            found = {folder: judged(task, model, data / folder, alone=alone) for folder in FOLDERS}
            figures.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        table = json.loads(figures.read_text(encoding="utf-8"))
        macs = task.multiply_adds(model)
        total = macs["likelihood"] if alone else sum(macs.values())
        values = [table[folder][key] for folder in FOLDERS for key in ("off", "on", "KL")]
        cells = [f"{value:.4f}" if value else "" for value in values]
        click.echo(f"| {name} | {steps} | {total:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
