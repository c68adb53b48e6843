"""The task "samples": models that code the samples of photographs. The loss is minus the ELBO in bits a sub-pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.frozen import contexts
from codec.frozen.model import Model
from models.data.crops import Crops
from models.data.rounding import Rounder
from models.freezing.freeze import freeze_coder, weights_file
from models.freezing.peaks import Peaks, watch_coder
from models.freezing.quantise import F64
from models.freezing.thaw import thaw_samples
from models.nets.inputs import Inputs
from models.nets.objective import Batch, crop_terms, make_batch, neg_elbo_bits
from models.nets.vlae import VLAE, Config
from models.noise import CPU, Noise
from models.recipes.tables import Recipe
from models.tasks.compare import photo_percent
from models.tasks.evaluate import folder_bpsp

U8 = NDArray[np.uint8]


class SamplesTask:
    """The task of photographs' samples, lossless and near-lossless; see `models.tasks.interface.Task`."""

    condition = "d"

    def __init__(self, recipe: Recipe, config: Config, device: torch.device = CPU) -> None:
        self.recipe = recipe
        self.config = config
        self.device = device
        self.crop = 2 * config.tile + 2 * config.radius
        self.gather = Inputs(contexts.offsets(config.radius), device=device)
        self.rounder = Rounder(recipe.rounding)

    def material(self, data: Path, seed: int) -> Crops:
        """Return random crops of the recipe's photographs."""
        return Crops(data, self.recipe.data, self.crop, seed)

    def new_model(self) -> VLAE:
        """Return a freshly initialised model."""
        torch.manual_seed(self.recipe.train.seed)
        return VLAE(self.config, len(contexts.offsets(self.config.radius))).to(self.device)

    def thaw(self, data: bytes, model: VLAE) -> None:
        """Fill a fresh model with frozen weights."""
        thaw_samples(data, model)

    def set_bfloat16(self, model: VLAE, on: bool) -> None:
        """Let the likelihood's hidden layers multiply in bfloat16, or not."""
        model.likelihood.in_bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Batch:
        """Return the crops, a largest error for each, and the crops as contexts show them."""
        return make_batch(crops, self.recipe.train.errors, rng, self.rounder)

    def loss(self, model: VLAE, batch: Batch, noise: Noise, step: int) -> Tensor:
        """Return minus the ELBO."""
        train = self.recipe.train
        terms = crop_terms(model, self.gather, batch, train.pixels, noise, drop=train.drop_latents)
        return neg_elbo_bits(terms, self.config.tile, train.latent_price(step))

    def evaluate(self, model: VLAE, folder: Path) -> dict[str, float]:
        """Return minus the ELBO, the latents' part of it, and minus the ELBO without latents."""
        row: dict[str, float] = {}
        count = self.recipe.validation_pixels
        for error in self.recipe.validation_conditions:
            total, latent, off = folder_bpsp(model, folder, count, self.rounder, int(error))
            row |= {f"d={error}": total, f"d={error} latents": latent, f"d={error} off": off}
        return row

    def watch(self, model: VLAE, peaks: Peaks) -> None:
        """Record the largest activations of all layers."""
        watch_coder(model, peaks)

    def freeze(self, model: VLAE, peaks: dict[str, F64], crops: U8) -> bytes:
        """Return the weights file; it needs no crops."""
        return weights_file(self.recipe, freeze_coder(model, peaks))

    def compare(self, model: VLAE, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return minus the ELBO in bits per sub-pixel, with latents and without, and the cost of freezing."""
        error = int(condition)
        total, latent, off = folder_bpsp(model, folder, self.recipe.validation_pixels, self.rounder, error)
        return {
            "elbo_bpsp": total,
            "latents_bpsp": latent,
            "latents_off_bpsp": off,
            "freezing_percent": photo_percent(model, frozen, folder, error, self.rounder),
        }

    def multiply_adds(self, model: VLAE) -> int:
        """Return the likelihood's multiply-adds for each pixel."""
        return self.config.multiply_adds(model.likelihood.hidden1.in_features)
