"""The value of latents for photographs, with the adaptation of biases in training and in files.

    python -m benchmarks.experiments.photo_latents --data DIR --runs DIR [--minutes 5]

An arm is a likelihood at one of several sizes, with some latents for each tile, which set its biases, or without; the
twin without latents spends as many multiply-adds on its likelihood. All arms train for the same processor time.
Training sees pieces of photographs: several windows of each are coded, and in some arms under an offset of the biases
that a network finds in all of them and that costs nothing. It stands in for what an encoder searches for the whole
image, so that z learns what varies within the image. Bits are minus the ELBO: KL counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.experiments.training import arm_options, begin, train_for
from codec.frozen import contexts
from models.data.crops import Crops, centre, load_images
from models.nets.inputs import Inputs, Places
from models.nets.objective import Batch, pixel_bits, tiles_of
from models.nets.vlae import VLAE, Config, sample_planes
from models.noise import Noise
from models.recipes.reading import load_recipe

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
WINDOW = 64
"""Side in pixels of a window, which is coded at once. It is a piece of a band of the codec."""
PIECE = 256
"""Side in pixels of a piece of a photograph, in which all windows share their past and their offset."""
PIECES, WINDOWS, SEEN = 4, 6, 640
"""Pieces of a step, windows of each piece, and pixels of each window from which a step learns."""
RATE = 0.0015
DROP_OFFSET, DROP_LATENTS = 0.2, 0.15
SEARCH_STEPS, SEARCH_PIXELS, SEARCH_RATE = 160, 512, 0.012
"""Steps, pixels of a step, and learning rate of an encoder's search for biases, as in `codec.encoder.search`."""
JUDGED_PIXELS = 16_000
"""Pixels of an image from which its bits are estimated."""
FOLDERS, EVERY = ("photos_valid", "photos_past_valid"), 2
"""Validation folders, of which each second image is used."""


@dataclass(frozen=True)
class Arm:
    """An arm of the experiment: a shape, and whether training has the offset."""

    config: Config
    offset: bool


SIZES = {"fast": (96, 98, 24, 2), "small default": (128, 129, 32, 4)}
"""For each size the width of arms with latents, the width of arms without, the heads' width and the radius."""
LATENTS = ((32, 4), (16, 2))
"""Sides of tiles in pixels, and latents of a tile."""


def arms() -> dict[str, Arm]:
    """Return all arms by their names."""
    found = {}
    for size, (width, alone, head, radius) in SIZES.items():
        for offset in (False, True) if size == "fast" else (True,):
            name = f"{size}, {'offset' if offset else 'plain'}"
            shape = {"head": head, "radius": radius, "posterior": (16, 24, 32), "prior": 32}
            found[f"{name}, no latents"] = Arm(Config(**shape, width=alone, tile=32, latents=0), offset)
            for tile, latents in LATENTS if size == "fast" and offset else LATENTS[:1]:
                config = Config(**shape, width=width, tile=tile, latents=latents)
                found[f"{name}, {latents} a tile of {tile}"] = Arm(config, offset)
    return found


class Offset(nn.Module):
    """A network that finds one offset of the likelihood's biases for all windows of a piece, from all of them."""

    def __init__(self, biases: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(48, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU()
        )
        self.dense = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, biases))
        nn.init.zeros_(self.dense[2].weight)
        nn.init.zeros_(self.dense[2].bias)

    def forward(self, windows: Tensor) -> Tensor:
        """Return offsets (B, biases) of uint8 windows (B, T, 3, S, S)."""
        inputs = windows.float() / 64 - 2
        h = self.convolutions(F.pixel_unshuffle(inputs.flatten(0, 1), 4)).unflatten(0, inputs.shape[:2])
        return self.dense(torch.cat([h.mean((1, 3, 4)), h.amax((1, 3, 4))], 1))


class Photo(nn.Module):
    """A VLAE of photographs, with an offset of all biases if the arm has one."""

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        offsets = contexts.offsets(arm.config.radius)
        self.gather = Inputs(offsets)
        self.coder = VLAE(arm.config, len(offsets))
        self.coder.likelihood.in_bfloat16 = True
        if arm.offset:
            self.offset = Offset(arm.config.bias_count)

    def multiply_adds(self) -> int:
        """Return the multiply-adds of likelihood and posterior for each pixel."""
        c = self.coder.config
        of_posterior = sum(
            parameter.numel() / 4 ** (1 + place)
            for place in range(3 if c.latents else 0)
            for parameter in [getattr(self.coder.posterior, f"conv{place + 1}").weight]
        )
        return round(c.multiply_adds(self.coder.likelihood.hidden1.in_features) + of_posterior)


@dataclass
class Material:
    """Pieces of photographs, and their windows that are coded.

    Attributes
    ----------
    pieces : uint8 tensor (B, S, S, 3)
    top, left : int64 arrays (B, T)
        Places of the windows.
    windows : uint8 tensor (B, T, 3, WINDOW, WINDOW)
    """

    pieces: Tensor
    top: I64
    left: I64
    windows: Tensor


def material(pieces: U8, top: I64, left: I64) -> Material:
    """Return pieces with their windows."""
    cut = [
        [piece[y : y + WINDOW, x : x + WINDOW] for y, x in zip(*corners, strict=True)]
        for piece, *corners in zip(pieces, top, left, strict=True)
    ]
    return Material(torch.from_numpy(pieces), top, left, torch.from_numpy(np.array(cut)).permute(0, 1, 4, 2, 3))


def bits_of(model: Photo, given: Material, biases: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return -log2 p(x|z) of some random pixels of all windows' tiles, (B, tiles, N, 3).

    ``biases`` is (B, 1 or tiles, bias_count). ``count`` pixels of each window are taken.
    """
    tile = model.coder.config.tile
    side = WINDOW // tile
    row, column = np.mgrid[0:side, 0:side].reshape(2, 1, 1, -1) * tile
    top, left = ((a[..., None] + b).reshape(len(a), -1, 1) for a, b in ((given.top, row), (given.left, column)))
    y, x = rng.integers(0, tile, (2, *top.shape[:2], count // side**2))
    places = Places(torch.from_numpy(y + top), torch.from_numpy(x + left))
    return pixel_bits(model.coder.likelihood, model.gather, Batch.lossless(given.pieces), places, biases)


def style(model: Photo, given: Material, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return the biases (B, tiles, bias_count) that latents set, and the KL divergence in bits of each piece (B,)."""
    config = model.coder.config
    b, t = given.windows.shape[:2]
    side = WINDOW // config.tile
    tiles = tiles_of(given.windows.flatten(0, 1), config.tile)
    none = torch.zeros(b * t, dtype=torch.int64)
    posterior = model.coder.infer(sample_planes(tiles, model.gather.table), side, side, none)
    latent = model.coder.draw(posterior, none, noise)
    biases = model.coder.biases(latent.z, none)
    return biases.reshape(b, -1, config.bias_count), latent.tile_bits.view(b, -1).sum(1)


def loss(model: Photo, given: Material, rng: np.random.Generator, noise: Noise) -> Tensor:
    """Return minus the ELBO in bits a sub-pixel."""
    b, t = given.top.shape
    biases, kl = model.coder.biases_off(torch.zeros(b, dtype=torch.int64))[:, None], torch.zeros(b)
    if model.coder.config.latents:
        on = torch.from_numpy(rng.random((b, 1, 1)) >= DROP_LATENTS)
        own, bits = style(model, given, noise)
        biases, kl = torch.where(on, own, biases), bits * on.flatten()
    if hasattr(model, "offset"):
        biases = biases + (model.offset(given.windows) * torch.from_numpy(rng.random((b, 1)) >= DROP_OFFSET))[:, None]
    return bits_of(model, given, biases, SEEN, rng).mean() + kl.mean() / (3 * t * WINDOW**2)


def train(arm: Arm, data: Path, path: Path, seconds: float) -> tuple[Photo, int]:
    """Train an arm for some processor time. Return the model with averaged weights, and the number of steps.

    If the file of the weights exists, it is loaded instead.
    """
    torch.manual_seed(1)
    model = Photo(arm)
    crops = Crops(data, load_recipe("photo").data, PIECE, seed=1)

    def batch(step: int) -> Material:
        rng = np.random.default_rng((1, step, 2))
        return material(crops.batch(step, PIECES), *rng.integers(0, PIECE - WINDOW + 1, (2, PIECES, WINDOWS)))

    def lost(given: Material, step: int, fall: float) -> Tensor:
        return loss(model, given, np.random.default_rng((1, step, 1)), Noise(step))

    return model, train_for(seconds, model, batch, lost, RATE, path)


def judged(model: Photo, image: U8) -> dict[str, float]:
    """Return the bits a sub-pixel of an image's centre, with the search for biases and without, latents on and off."""
    piece = centre(image, PIECE, WINDOW)[None]
    corners = np.mgrid[0 : piece.shape[1] : WINDOW, 0 : piece.shape[2] : WINDOW].reshape(2, 1, -1)
    given = material(np.ascontiguousarray(piece), *corners)
    windows = corners.shape[2]
    row: dict[str, float] = {}
    for key in ("on", "off") if model.coder.config.latents else ("off",):
        with torch.no_grad():
            biases, kl = model.coder.biases_off(torch.zeros(1, dtype=torch.int64))[:, None], 0.0
            if key == "on":
                biases, bits = style(model, given, Noise())
                kl = float(bits) / piece.size
        moved = torch.zeros(1, 1, model.coder.config.bias_count, requires_grad=True)

        def judge(biases: Tensor, kl: float = kl) -> float:
            with torch.no_grad():
                found = bits_of(model, given, biases, JUDGED_PIXELS // windows, np.random.default_rng(9))
            return float(found.mean()) + kl

        row[f"{key}, plain"] = judge(biases)
        adam = torch.optim.Adam([moved], lr=SEARCH_RATE, betas=(0.8, 0.95))
        rng = np.random.default_rng(3)
        for step in range(SEARCH_STEPS):
            adam.param_groups[0]["lr"] = SEARCH_RATE * (1 - step / SEARCH_STEPS)
            lost = bits_of(model, given, biases + moved, SEARCH_PIXELS // windows, rng).mean()
            (moved.grad,) = torch.autograd.grad(lost, [moved])
            adam.step()
        row[f"{key}, searched"] = judge(biases + moved.detach())
        row[f"{key}, KL"] = kl
    return row


@click.command()
@arm_options(minutes=5.0)
def main(data: Path, runs: Path, minutes: float, only: str) -> None:
    """Train all arms and print a table."""
    begin(runs)
    click.echo("| arm | steps | MAC a pixel | " + " | ".join(
        f"{folder}: plain, off | plain, on | searched, off | searched, on | of it KL" for folder in FOLDERS
    ) + " |")  # fmt: skip
    click.echo("|---" * 13 + "|")
    for name, arm in arms().items():
        if only not in name:
            continue
        stem = runs / name.replace(",", "").replace(" ", "-")
        model, steps = train(arm, data, stem.with_suffix(".safetensors"), 60 * minutes)
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
        click.echo(f"| {name} | {steps} | {model.multiply_adds():,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
