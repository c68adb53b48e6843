"""The value of latents z, coded with bits-back, in the entropy model of the lossy mode's y.

    python -m benchmarks.experiments.lossy_latents --data DIR --runs DIR [--minutes 15] [--only NAME]

The shipped analysis makes y, and stays as it is. Each arm is an entropy model of y, trained from random weights for
the same processor time on the same crops and qualities in the same order (`benchmarks.experiments.decoder`). An arm
with latents has integers z for each cell of y: a residual network makes features for every position of them, and the
likelihood sees these beside its contexts. Its twin without latents spends as many multiply-adds on its likelihood.

z is coded with bits-back, so it costs KL(q||p). In training its price is below one at first, and set so that z holds
a share of the bits (soft free bits; Chen et al. 2017, "Variational Lossy Autoencoder"). It rises to one as the
learning rate falls. Judged bits are those of y, plus the prior's, minus the posterior's.

The table has all arms that have figures in the folder of runs. ``--only none`` trains no arm and prints it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import markdown_table
from benchmarks.experiments.decoder import EVERY, FOLDERS, QUALITIES, SIDE, load_pool, quantised, shipped, to_images
from benchmarks.experiments.training import SoftFreeBits, arm_options, begin, train_for
from codec.frozen import contexts
from models.data.crops import centre, load_images
from models.nets.latents import draw, normal_bits
from models.nets.layers import Condition, lowered
from models.nets.likelihood import SAMPLES, Coded, Likelihood
from models.nets.lossy import Lossy, LossyConfig, compress, near, near_mixtures
from models.nets.spatial import Z_UNIT, SpatialConfig, SpatialDecoder, SpatialPosterior, SpatialPrior, bounded
from models.noise import Noise

RATE, BATCH, SEED = 0.001, 8, 1
CELL = 4
"""Positions of y along a side of a cell; a position is 8 x 8 pixels."""
SHAPE = {"patch": 1, "cell": CELL, "stream": 48, "blocks": (1, 1), "features": 16, "prior": 8, "neighbours": 4}
"""Shape of the networks around z."""
TARGET = 0.015
"""Share of the bits at which the KL divergence is held. It is the mean of single crops' shares, because in a share of
all bits together high qualities would dominate."""
ACTIVITY = 0.1
"""Bits a pixel that a squared error of 1 costs in the prediction of a cell's activity."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """An arm of the experiment: an entropy model to train.

    Attributes
    ----------
    title : str
    radius : int
        Radius of the contexts. With 0, a position sees only its own channels coded before.
    latents : int
        Number of latents of each cell.
    twin : str
        The arm that spends as many multiply-adds. An arm without latents takes its width from its twin.
    drop : float
        Share of the crops whose contexts are hidden in training. References are not hidden.
    activity : bool
        Whether training predicts the mean size of y in a cell from the features.
    """

    title: str
    radius: int = 2
    latents: int = 0
    twin: str = ""
    drop: float = 0.0
    activity: bool = False


WIDTH = 256
"""Width of the likelihood in arms that have latents or no twin."""
ARMS = {
    "plain": Arm("radius 2"),
    "wide": Arm("radius 2, wider", twin="latents"),
    "latents": Arm("radius 2, 8 latents", latents=8, twin="wide"),
    "dropped": Arm("radius 2, 8 latents, contexts dropped", latents=8, twin="wide", drop=0.2),
    "activity": Arm("radius 2, 8 latents, activity predicted", latents=8, twin="wide", activity=True),
    "near": Arm("radius 1, wider", radius=1, twin="near-z"),
    "near-z": Arm("radius 1, 8 latents", radius=1, latents=8, twin="near"),
    "blind": Arm("no contexts, wider", radius=0, twin="blind-z"),
    "blind-z": Arm("no contexts, 16 latents", radius=0, latents=16, twin="blind"),
}


@dataclass(frozen=True)
class CellConfig(SpatialConfig):
    """Shape of an entropy model of y. The positions of y take the place of the pixels of a `SpatialConfig`."""

    tensor: Coded = SAMPLES

    @property
    def coded(self) -> Coded:
        """The tensor that is coded."""
        return self.tensor


class Terms(NamedTuple):
    """The bits of y (B,), the KL divergence of z in bits (B,), and the features (B, F, H, W) or None."""

    bits: Tensor
    kl: Tensor
    features: Tensor | None


class EntropyModel(nn.Module):
    """The likelihood of y and, if the arm has latents, the networks around z.

    Attributes
    ----------
    in_bfloat16 : bool
        Whether the networks around z multiply in bfloat16.
    """

    def __init__(self, arm: Arm, config: LossyConfig, width: int = WIDTH) -> None:
        super().__init__()
        coder, levels = config.coder, config.levels
        c = CellConfig(
            width, coder.head, coder.mixtures, latents=arm.latents, grid=coder.grid, tensor=coder.coded, **SHAPE
        )
        self.arm, self.lossy, self.config, self.in_bfloat16 = arm, config, c, False
        self.offsets = contexts.offsets(arm.radius)
        inputs = config.channels * len(self.offsets) + config.references
        self.likelihood = Likelihood(c, inputs + (c.features if arm.latents else 0))
        self.condition = Condition(levels, c.bias_count)
        if arm.latents:
            # These names are not those that Muon steps, so that Adam does. Muon's steps do not get smaller with the
            # gradient: with Muon z was of no use, and the posterior became constant within 400 steps.
            self.inference, self.generator, self.prior = SpatialPosterior(c), SpatialDecoder(c), SpatialPrior(c)
            self.inference_condition = Condition(levels, config.channels)
            self.prior_condition = Condition(levels, 2 * arm.latents)
        if arm.activity:
            self.activity = nn.Linear(c.features, coder.coded.groups)

    def set_bfloat16(self, on: bool) -> None:
        """Let all networks multiply in bfloat16, or not."""
        self.in_bfloat16 = self.likelihood.in_bfloat16 = on

    def multiply_adds(self) -> float:
        """Return the multiply-adds a pixel of the likelihood and of all networks around z."""
        total = float(self.config.multiply_adds(self.likelihood.hidden1.in_features))
        for network in (self.inference, self.generator, self.prior) if self.arm.latents else ():
            total += sum(p.numel() for p in network.parameters() if p.dim() == 4)
            total += sum(p.numel() for p in network.parameters() if p.dim() == 2) / CELL**2
        return total / 64

    def forward(self, q: Tensor, level: Tensor, noise: Noise, shown: Tensor | None = None) -> Terms:
        """Return the bits of quantised y (B, C, H, W) of a square crop, under drawn latents.

        Parameters
        ----------
        level : float tensor (B, levels)
            See `models.nets.lossy.Lossy.level`.
        shown : bool tensor (B,)
            Whether the contexts of each image are seen. With None all are.
        """
        inputs, reference = self.near(q)
        if shown is not None:
            inputs = inputs * shown[:, None, None]
        kl, features = q.new_zeros(len(q)), None
        if self.arm.latents:
            z, kl = self.draw(q, level, noise)
            with lowered(q, self.in_bfloat16):
                features = self.generator(z).float()
            inputs = torch.cat([inputs, features.flatten(2).transpose(1, 2)], -1)
        biases = self.condition(level)[:, None]
        found = near_mixtures(self.likelihood, inputs, reference, q, biases)
        return Terms(found.bits(q, self.lossy.limit), kl, features)

    def near(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result of `models.nets.lossy.near`. An arm without contexts gets zeros as inputs."""
        if self.arm.radius:
            return near(q, self.lossy, self.offsets)
        b, c, h, w = q.shape
        return q.new_zeros(b, h * w, self.lossy.references), q.new_zeros(b, h * w, c)

    def draw(self, q: Tensor, level: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return z (B, cells, latents), drawn with straight-through gradients, and the KL divergence in bits (B,)."""
        grid = self.config.grid
        with lowered(q, self.in_bfloat16):
            means, scales = self.inference(compress(q) + self.inference_condition(level)[:, :, None, None])
        z = draw(means, scales, grid, noise.normal(*means.shape))
        moved, scaled = self.prior_condition(level)[:, None].chunk(2, -1)
        expected, spread = self.prior(z)
        expected = bounded(expected + Z_UNIT * moved, -grid, grid)
        prior = normal_bits(z, expected, bounded(spread + scaled, -1, 5), grid)
        return z, (prior - normal_bits(z, means, scales, grid)).sum((1, 2))

    def activity_error(self, q: Tensor, features: Tensor) -> Tensor:
        """Return the squared error of log2(1 + mean |y|) for groups of channels of a cell, predicted from features."""
        mean = F.avg_pool2d(q.abs(), CELL).unflatten(1, (self.config.coded.groups, -1)).mean(2)
        told = self.activity(F.avg_pool2d(features, CELL).movedim(1, -1)).movedim(-1, 1)
        return (told - torch.log2(1 + mean)).square().mean()


def new_model(name: str, config: LossyConfig) -> EntropyModel:
    """Return an arm's model, freshly initialised."""
    arm, width = ARMS[name], WIDTH
    if arm.twin and not arm.latents:
        other = EntropyModel(ARMS[arm.twin], config)
        inputs = other.likelihood.hidden1.in_features - other.config.features
        wider = (replace(other.config, width=w) for w in count(WIDTH))
        width = next(c.width for c in wider if c.multiply_adds(inputs) >= 64 * other.multiply_adds())
    torch.manual_seed(SEED)
    return EntropyModel(arm, config, width).to(memory_format=torch.channels_last)


def cost(
    model: EntropyModel, base: Lossy, given: tuple[Tensor, Tensor], step: int, fall: float, bits: SoftFreeBits
) -> Tensor:
    """Return the loss, given quantised y (B, C, H, W) and qualities (B,).

    Parameters
    ----------
    fall : float
        Share of the learning rate that is left. While it is 1, the price of ``bits`` moves.
    """
    q, quality = given
    arm, noise = model.arm, Noise(step)
    shown = noise.uniform(len(q)) >= arm.drop if arm.drop else None
    terms = model(q, base.level(quality), noise, shown)
    if arm.latents and fall == 1:
        bits.step(float((terms.kl / terms.bits).mean().detach()))
        if step % 200 == 0:
            log.info("step %d, price of z %.3f, KL %.2f %%", step, bits.price, 100 * bits.share)
    price = fall * bits.price + 1 - fall
    lost = ((terms.bits + price * terms.kl) / (64 * q[0, 0].numel()) / (0.3 + 3 * quality)).mean()
    if arm.activity:
        lost = lost + fall * ACTIVITY * model.activity_error(q, terms.features)
    return lost


@torch.no_grad()
def judged(model: EntropyModel, base: Lossy, folder: Path) -> list[list[float]]:
    """Return for each of `QUALITIES` the mean bits a pixel, with KL, and the KL alone, of images' square centres."""
    quality, noise, rows = torch.tensor(QUALITIES), Noise(), []
    for image in load_images(folder)[::EVERY]:
        piece = centre(image, min(SIDE, *image.shape[:2]), 8 * CELL)
        images = to_images(piece[None]).expand(len(QUALITIES), -1, -1, -1)
        terms = model(quantised(base, images, quality), base.level(quality), noise)
        rows.append(torch.stack([terms.bits + terms.kl, terms.kl], 1) / piece[..., 0].size)
    found: list[list[float]] = torch.stack(rows).mean(0).tolist()
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the table of the arms' figures. Differences are averaged over the qualities."""
    head = ["arm", "steps", "kMAC a pixel"]
    for folder in FOLDERS:
        head += [f"{folder}: bits a pixel at quality " + ", ".join(f"{quality:g}" for quality in QUALITIES)]
        head += ["of it KL", "to plain", "to twin"]
    rows = [head]
    for name, own in found.items():
        row = [ARMS[name].title, str(own["steps"]), f"{own['macs'] / 1000:.2f}"]
        for folder in FOLDERS:
            bits, kl = np.array(own["figures"][folder]).T
            row += [", ".join(f"{value:.4f}" for value in bits), f"{100 * (kl / bits).mean():.2f} %"]
            for other in ("plain", ARMS[name].twin):
                change = ""
                if other in found:
                    theirs, _ = np.array(found[other]["figures"][folder]).T
                    change = f"{100 * (bits / theirs - 1).mean():+.2f} %"
                row.append(change)
        rows.append(row)
    return markdown_table(rows)


@click.command()
@arm_options(minutes=15.0)
def main(data: Path, runs: Path, minutes: float, only: str) -> None:
    """Train all arms and print a table."""
    begin(runs)
    base = shipped()
    pool = load_pool(base, data, runs)
    numbers, qualities = pool.numbers, torch.from_numpy(pool.qualities)
    del pool

    def batch(step: int) -> tuple[Tensor, Tensor]:
        at = step * BATCH % len(numbers)
        q = torch.from_numpy(numbers[at : at + BATCH]).float()
        return q.contiguous(memory_format=torch.channels_last), qualities[at : at + BATCH]

    for name in ARMS:
        figures = runs / f"{name}.json"
        if only not in name or figures.exists():
            continue
        model, bits = new_model(name, base.config), SoftFreeBits(TARGET)
        log.info("%s: width %d", name, model.config.width)
        model.set_bfloat16(True)

        def lost(given: tuple[Tensor, Tensor], step: int, fall: float, model=model, bits=bits) -> Tensor:
            return cost(model, base, given, step, fall, bits)

        steps = train_for(60 * minutes, model, batch, lost, RATE, runs / f"{name}.safetensors")
        model.set_bfloat16(False)
        rows = {folder: judged(model, base, data / folder) for folder in FOLDERS}
        values = {"steps": steps, "macs": model.multiply_adds(), "figures": rows}
        figures.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    found = {name: runs / f"{name}.json" for name in ARMS}
    click.echo(table({name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}))


if __name__ == "__main__":
    main()
