"""What recipes train: photographs' samples, or the lossy mode. Each task has its model, batches, loss and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec import contexts
from models.data import load_images
from models.evaluate import folder_bpsp
from models.lossy import Lossy, LossyConfig, coder_bits, price, rounded
from models.networks import VLAE, Config
from models.objective import Batch, Inputs, crop_terms, make_batch, neg_elbo_bits
from models.recipe import Recipe
from models.thaw import thaw

U8 = NDArray[np.uint8]
ENDS = 0.15
"""Share of crops that are coded at the lowest or the highest quality: else the ends would be seen least."""


class Task(Protocol):
    """What a training run needs to know of what it trains.

    Attributes
    ----------
    crop : int
        Side of the crops, pixels.
    """

    crop: int

    def new_model(self) -> Any:
        """Return a freshly initialised model."""

    def thaw(self, data: bytes, model: Any) -> None:
        """Fill a fresh model with frozen weights."""

    def set_bfloat16(self, model: Any, on: bool) -> None:
        """Let a model multiply in bfloat16, or not."""

    def batch(self, crops: U8, rng: np.random.Generator) -> Any:
        """Return what a step learns from, of crops (B, S, S, 3)."""

    def loss(self, model: Any, batch: Any, rng: np.random.Generator, latent_price: float) -> Tensor:
        """Return what a step makes smaller, a scalar; the bits of latents count ``latent_price`` times, 0 to 1."""

    def evaluate(self, model: Any, folder: Path) -> dict[str, float]:
        """Return the figures of a folder's images."""


class Photo:
    """Samples, lossless and near-lossless: minus the ELBO in bits per sub-pixel."""

    def __init__(self, recipe: Recipe, config: Config) -> None:
        self.recipe = recipe
        self.config = config
        self.crop = 2 * config.tile + 2 * config.radius
        self.gather = Inputs(config.radius)

    def new_model(self) -> VLAE:
        """Return a freshly initialised model."""
        torch.manual_seed(self.recipe.train.seed)
        return VLAE(self.config, len(contexts.offsets(self.config.radius)))

    def thaw(self, data: bytes, model: VLAE) -> None:
        """Fill a fresh model with frozen weights."""
        thaw(data, model)

    def set_bfloat16(self, model: VLAE, on: bool) -> None:
        """Let the likelihood's hidden layers multiply in bfloat16, or not."""
        model.likelihood.bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Batch:
        """Return crops with a largest error for each, and what contexts hold of them."""
        return make_batch(crops, self.recipe.train.errors, rng)

    def loss(self, model: VLAE, batch: Batch, rng: np.random.Generator, latent_price: float) -> Tensor:
        """Return minus the ELBO."""
        train = self.recipe.train
        terms = crop_terms(model, self.gather, batch, train.pixels, rng, drop=train.drop_latents)
        return neg_elbo_bits(terms, self.config.tile, latent_price)

    def evaluate(self, model: VLAE, folder: Path) -> dict[str, float]:
        """Return minus the ELBO, the latents' share of it, and what it is without latents."""
        row = {}
        count = self.recipe.validation_pixels
        for error in self.recipe.validation_conditions:
            total, latent, off = folder_bpsp(model, folder, count, int(error))
            row |= {f"d={error}": total, f"d={error} latents": latent, f"d={error} off": off}
        return row


class Transformed:
    """The lossy mode: bits per pixel plus lambda times squared error."""

    def __init__(self, recipe: Recipe, config: LossyConfig) -> None:
        self.recipe = recipe
        self.config = config
        self.crop = recipe.train.pixels

    def new_model(self) -> Lossy:
        """Return a freshly initialised model."""
        torch.manual_seed(self.recipe.train.seed)
        return Lossy(self.config)

    def thaw(self, data: bytes, model: Lossy) -> None:
        """Refuse: there is no inverse of its freezing."""
        raise ValueError(f"recipe {self.recipe.name} begins from random weights")

    def set_bfloat16(self, model: Lossy, on: bool) -> None:
        """Let transforms and hidden layers multiply in bfloat16, or not."""
        model.bfloat16 = model.coder.likelihood.bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Tensor:
        """Return samples minus 128, a float tensor (B, 3, S, S)."""
        return torch.tensor(crops).permute(0, 3, 1, 2).float() - 128

    def loss(self, model: Lossy, batch: Tensor, rng: np.random.Generator, latent_price: float) -> Tensor:
        """Return rate plus priced error, weighted so that all qualities count about alike."""
        b, _, height, width = batch.shape
        drawn = rng.random(b)
        quality = torch.from_numpy(np.where(rng.random(b) < ENDS, np.round(drawn), drawn)).float()
        level = model.level(quality)
        steps = model.steps(level)
        y = model.analyse(batch, level) / steps
        quantised = rounded(y.clamp(-self.config.limit, self.config.limit))
        noisy = y + torch.rand_like(y) - 0.5
        on = torch.from_numpy(rng.random(b) >= self.recipe.train.drop_latents)
        bits, kl = coder_bits(model, quantised, noisy, level, on)
        error = (model.synthesise(quantised * steps, level) - batch).square().mean((1, 2, 3))
        cost = (bits + latent_price * kl) / (height * width) + price(quality) * error
        return (cost / (0.3 + 3 * quality)).mean()

    @torch.no_grad()
    def evaluate(self, model: Lossy, folder: Path) -> dict[str, float]:
        """Return bits per pixel, the latents' share and PSNR (dB) at some qualities, means over centres of images."""
        row = {}
        for value in self.recipe.validation_conditions:
            level = model.level(torch.tensor([float(value)]))
            steps = model.steps(level)
            figures = []
            for image in load_images(folder):
                h, w = (min(side, self.recipe.validation_pixels) // 8 * 8 for side in image.shape[:2])
                y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
                samples = self.batch(image[None, y : y + h, x : x + w], np.random.default_rng(0))
                coded = (model.analyse(samples, level) / steps).round().clamp(-self.config.limit, self.config.limit)
                bits, kl = coder_bits(model, coded, coded, level, torch.ones(1, dtype=torch.bool))
                decoded = model.synthesise(coded * steps, level).round().clamp(-128, 127)
                psnr = 10 * math.log10(255**2 / float((decoded - samples).square().mean()))
                figures.append((float(bits + kl) / (h * w), float(kl) / (h * w), psnr))
            bpp, latents, psnr = (float(mean) for mean in np.mean(figures, axis=0))
            row |= {f"q={value}": bpp, f"q={value} latents": latents, f"q={value} PSNR": psnr}
        return row


def task_of(recipe: Recipe) -> Task:
    """Return the task of a recipe."""
    if isinstance(recipe.model, LossyConfig):
        return Transformed(recipe, recipe.model)
    return Photo(recipe, recipe.model)
