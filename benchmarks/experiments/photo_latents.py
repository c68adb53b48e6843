"""What latents are worth to photographs, with the adaptation of biases in training and in files.

    python -m benchmarks.experiments.photo_latents --data DIR --runs DIR [--minutes 10]

An arm is a likelihood at one of several sizes with latents on cells of some side, which become a map of features
beside every pixel, or without; the twin without latents spends as many multiply-adds on its likelihood. All arms
train for the same processor time. Training sees pieces of photographs: several windows of each are coded, under an
offset of the biases that a network finds in all of them and that costs nothing. It stands in for what an encoder
searches for the whole image, so that z learns what varies within the image. Bits are minus the ELBO: KL counted.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.experiments.training import train_for
from codec import contexts
from models.data import Crops, centre, load_images
from models.networks import Likelihood
from models.objective import Inputs, Pixels, pixel_bits
from models.recipe import load_recipe
from models.spatial import (
    INPUT_UNIT,
    Latent,
    SpatialConfig,
    SpatialDecoder,
    SpatialPosterior,
    SpatialPrior,
    normal_bits,
)

U8 = NDArray[np.uint8]
WINDOW = 64
"""Side of what is coded at once: a band of the codec, cut."""
PIECE = 256
"""Side of the piece of a photograph that shares its past and its offset."""
PIECES, WINDOWS, SEEN = 4, 6, 640
"""Of a step: pieces, windows of each, pixels of each that are learned from."""
RATE = 0.0015
DROP_OFFSET, DROP_LATENTS = 0.2, 0.15
FREE_BITS = 0.02
"""Of each latent; they fall with the learning rate."""
SEARCH_STEPS, SEARCH_PIXELS, SEARCH_RATE = 160, 512, 0.012
"""Of an encoder's search for the biases of its image, after `codec.search`."""
FOLDERS, EVERY = ("photos_valid", "photos_past_valid"), 2
"""Validation folders, and every which image of them."""


@dataclass(frozen=True)
class PhotoConfig(SpatialConfig):
    """An arm: contexts lie in a disc; without latents there are no features."""

    radius: int = 4

    @property
    def inputs(self) -> int:
        """Inputs of the likelihood's network."""
        return 3 * len(contexts.offsets(self.radius)) + 3 + self.features


@dataclass(frozen=True)
class Arm:
    """What is trained: a shape, and whether training has the offset."""

    config: PhotoConfig
    offset: bool


def _config(width: int, head: int, radius: int, side: int, latents: int, stream: int = 32) -> PhotoConfig:
    """Return a shape whose latents lie on cells of ``side`` pixels; 0: there are none."""
    patch = 4
    return PhotoConfig(
        kind="samples", size=WINDOW, patch=patch, cell=max(side // patch, 1), latents=latents, stream=stream,
        blocks=(2, 1), features=8 if side else 0, prior=4, neighbours=4, width=width, head=head, radius=radius,
    )  # fmt: skip


# Networks around z take about 8,000 multiply-adds a pixel, and features some of the likelihood's.
SIZES = {"fast": ((96, 24, 2), (108, 26, 2)), "small default": ((128, 32, 4), (136, 36, 4))}
"""Width, head and radius of arms with latents, and of the twin without."""
CELLS, LATENTS = (32, 8), 4
"""Sides of cells, pixels, and latents of each."""


def arms() -> dict[str, Arm]:
    """Return all arms by their names."""
    found = {}
    for size, (shape, alone) in SIZES.items():
        for offset in (False, True) if size == "fast" else (True,):
            name = f"{size}, {'offset' if offset else 'plain'}"
            found[f"{name}, no latents"] = Arm(_config(*alone, 0, 0), offset)
            for side in CELLS:
                found[f"{name}, {LATENTS} a cell of {side}"] = Arm(_config(*shape, side, LATENTS), offset)
    return found


class Offset(nn.Module):
    """One offset of the likelihood's biases for all windows of a piece, from means and maxima over them."""

    def __init__(self, biases: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(48, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU()
        )
        self.dense = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, biases))
        nn.init.zeros_(self.dense[2].weight)
        nn.init.zeros_(self.dense[2].bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return offsets (B, biases) of windows (B, T, 3, S, S)."""
        h = self.convolutions(F.pixel_unshuffle(inputs.flatten(0, 1), 4)).unflatten(0, inputs.shape[:2])
        return self.dense(torch.cat([h.mean((1, 3, 4)), h.amax((1, 3, 4))], 1))


class PhotoMaps(nn.Module):
    """A VLAE of photographs whose latents become a map of features, with an offset of all biases."""

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        c = self.config = arm.config
        self.likelihood = Likelihood(c, c.inputs)
        self.likelihood.bfloat16 = True
        if c.latents:
            self.posterior, self.decoder, self.prior = SpatialPosterior(c), SpatialDecoder(c), SpatialPrior(c)
        if arm.offset:
            self.offset = Offset(c.bias_count)
        self.gather = Inputs(contexts.offsets(c.radius))

    def latent(self, inputs: Tensor, *, sample: bool = True) -> Latent:
        """Return latents of windows (B, 3, S, S)."""
        with torch.autocast("cpu", torch.bfloat16):
            means, scales = self.posterior(inputs)
        continuous = means + torch.exp2(scales) * torch.randn_like(means) if sample else means
        z = (continuous + (torch.round(continuous) - continuous).detach()).clamp(-self.config.grid, self.config.grid)
        grid = self.config.grid
        return Latent(z, normal_bits(z, *self.prior(z), grid), normal_bits(z, means, scales, grid))

    def maps(self, z: Tensor) -> Tensor:
        """Return the features (B, F, S, S) of z."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.decoder(z).float()

    def multiply_adds(self) -> dict[str, int]:
        """Return the multiply-adds for each pixel: of the likelihood, and of the networks around z."""

        def of(name: str) -> float:
            if not self.config.latents:
                return 0
            parameters = [*getattr(self, name).parameters()]
            convolved = sum(p.numel() for p in parameters if p.dim() == 4) / self.config.patch**2
            return convolved + sum(p.numel() for p in parameters if p.dim() == 2) / (4 * self.config.cell) ** 2

        around = sum(of(name) for name in ("posterior", "decoder", "prior"))
        return {"likelihood": self.config.multiply_adds(self.config.inputs), "z": round(around)}


@dataclass
class Material:
    """Pieces (B, S, S, 3) of photographs with their windows' corners, int64 arrays (B, T), and network inputs."""

    pieces: Tensor
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    inputs: Tensor


def material(pieces: U8, top: NDArray[np.int64], left: NDArray[np.int64]) -> Material:
    """Return pieces with the inputs (B, T, 3, S, S) of their windows."""
    cut = [
        [piece[y : y + WINDOW, x : x + WINDOW] for y, x in zip(*corners, strict=True)]
        for piece, *corners in zip(pieces, top, left, strict=True)
    ]
    inputs = torch.from_numpy(np.array(cut)).permute(0, 1, 4, 2, 3).float()
    return Material(torch.from_numpy(pieces), top, left, ((inputs - 128) / INPUT_UNIT).contiguous())


def bits_of(
    model: PhotoMaps, given: Material, features: Tensor | None, biases: Tensor, count: int, rng: np.random.Generator
) -> Tensor:
    """Return -log2 p(x|z) of some random pixels of all windows, (B, T, N, 3); biases (B, 1 or T, bias_count)."""
    b, t = given.top.shape
    y, x = rng.integers(0, WINDOW, (2, b, t, count))
    pixels = Pixels(y + given.top[..., None], x + given.left[..., None])
    beside = None
    if features is not None:
        flat = features.flatten(2).transpose(1, 2)  # (B T, S S, F)
        where = torch.from_numpy((y * WINDOW + x).reshape(b * t, count, 1))
        beside = flat.gather(1, where.expand(-1, -1, flat.shape[2])).unflatten(0, (b, t))
    errors = torch.zeros(b, dtype=torch.int64)
    return pixel_bits(model, model.gather, given.pieces, given.pieces, pixels, biases, errors, beside)


def loss(model: PhotoMaps, given: Material, rng: np.random.Generator, fall: float) -> Tensor:
    """Return minus the ELBO, bits a sub-pixel, of which each latent counts for at least some free bits."""
    b, t = given.top.shape
    biases = torch.zeros(b, 1, model.config.bias_count)
    if hasattr(model, "offset"):
        on = torch.from_numpy(rng.random((b, 1)) >= DROP_OFFSET)
        biases = (model.offset(given.inputs) * on)[:, None]
    features, kl = None, torch.zeros(())
    if model.config.latents:
        latent = model.latent(given.inputs.flatten(0, 1))
        on = torch.from_numpy(rng.random((b, 1)) >= DROP_LATENTS).expand(b, t).flatten()
        features = model.maps(latent.z) * on[:, None, None, None]
        own = ((latent.prior_bits - latent.posterior_bits) * on[:, None, None]).mean((0, 1))
        kl = own.clamp(min=FREE_BITS * fall).sum() * model.config.cells**2 / (3 * WINDOW**2)
    return bits_of(model, given, features, biases, SEEN, rng).mean() + kl


def train(arm: Arm, data: Path, path: Path, seconds: float) -> PhotoMaps:
    """Return the averaged weights after so much processor time, from a file if they are there."""
    torch.manual_seed(1)
    model = PhotoMaps(arm)
    crops = Crops(data, load_recipe("photo").data, PIECE, seed=1)

    def batch(step: int) -> Material:
        rng = np.random.default_rng((1, step, 2))
        return material(crops.batch(step, PIECES), *rng.integers(0, PIECE - WINDOW + 1, (2, PIECES, WINDOWS)))

    def lost(given: Material, step: int, fall: float) -> Tensor:
        return loss(model, given, np.random.default_rng((1, step, 1)), fall)

    train_for(seconds, model, batch, lost, RATE, path)
    return model


def judged(model: PhotoMaps, image: U8) -> dict[str, float]:
    """Return bits a sub-pixel of an image's centre: with the search for biases and without, latents on and off."""
    piece = centre(image, PIECE, WINDOW)[None]
    corners = np.mgrid[0 : piece.shape[1] : WINDOW, 0 : piece.shape[2] : WINDOW].reshape(2, 1, -1)
    given = material(np.ascontiguousarray(piece), *corners)
    torch.manual_seed(0)
    row: dict[str, float] = {}
    for on in (True, False) if model.config.latents else (False,):
        features, kl = None, 0.0
        with torch.no_grad():
            if on:
                latent = model.latent(given.inputs[0])
                features = model.maps(latent.z)
                kl = float((latent.prior_bits - latent.posterior_bits).sum()) / piece.size
            elif model.config.latents:
                features = torch.zeros(corners.shape[2], model.config.features, WINDOW, WINDOW)
        biases = torch.zeros(1, 1, model.config.bias_count, requires_grad=True)
        key = "on" if on else "off"

        def judge(biases: Tensor, features: Tensor | None = features, kl: float = kl) -> float:
            with torch.no_grad():
                return float(bits_of(model, given, features, biases, 1000, np.random.default_rng(9)).mean()) + kl

        row[f"{key}, plain"] = judge(biases)
        adam = torch.optim.Adam([biases], lr=SEARCH_RATE, betas=(0.8, 0.95))
        rng = np.random.default_rng(3)
        for step in range(SEARCH_STEPS):
            adam.param_groups[0]["lr"] = SEARCH_RATE * (1 - step / SEARCH_STEPS)
            bits = bits_of(model, given, features, biases, SEARCH_PIXELS // corners.shape[2], rng).mean()
            (biases.grad,) = torch.autograd.grad(bits, [biases])
            adam.step()
        row[f"{key}, searched"] = judge(biases)
        row[f"{key}, KL"] = kl
    return row


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", type=click.Path(path_type=Path), required=True, help="Folder of weights and figures.")
@click.option("--minutes", type=float, default=10.0, help="Processor time of an arm's training.")
@click.option("--only", default="", help="Arms whose names hold this.")
def main(data: Path, runs: Path, minutes: float, only: str) -> None:
    """Train all arms and print a table."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    runs.mkdir(parents=True, exist_ok=True)
    click.echo("| arm | likelihood, z (MAC a pixel) | " + " | ".join(
        f"{folder}: plain, off | plain, on | searched, off | searched, on | of it KL" for folder in FOLDERS
    ) + " |")  # fmt: skip
    click.echo("|---" * 12 + "|")
    for name, arm in arms().items():
        if only not in name:
            continue
        stem = runs / name.replace(",", "").replace(" ", "-")
        model = train(arm, data, stem.with_suffix(".safetensors"), 60 * minutes)
        figures = stem.with_suffix(".json")
        if figures.exists():
            table = json.loads(figures.read_text(encoding="utf-8"))
        else:
            table = {}
            for folder in FOLDERS:
                rows = [judged(model, image) for image in load_images(data / folder)[::EVERY]]
                table[folder] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
            figures.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        cells = []
        for folder in FOLDERS:
            for key in ("off, plain", "on, plain", "off, searched", "on, searched", "on, KL"):
                value = table[folder].get(key)
                cells.append("" if value is None else f"{value:.4f}")
        macs = model.multiply_adds()
        click.echo(f"| {name} | {macs['likelihood']:,}, {macs['z']:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
