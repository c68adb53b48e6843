"""What recipes train: photographs' samples, or the lossy mode. Each task has its model, batches, loss and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.frozen import contexts
from codec.frozen.model import Model
from models.data.crops import Crops, centre, load_images
from models.data.rounding import Rounder
from models.errors import TrainingError
from models.freezing.freeze import F64, Peaks, freeze_coder, watch_coder, weights_file
from models.freezing.freeze_transforms import freeze_transforms, gains, watch_transforms
from models.freezing.thaw import thaw
from models.freezing.thaw_lossy import thaw_lossy
from models.nets.inputs import Inputs
from models.nets.lossy import Lossy, LossyConfig, coder_bits, price, rounded
from models.nets.objective import Batch, crop_terms, make_batch, neg_elbo_bits
from models.nets.spatial import SpatialConfig
from models.nets.transforms import PATCH
from models.nets.vlae import VLAE, Config
from models.noise import CPU, Noise
from models.recipes.recipe import Recipe
from models.tasks.compare import float_code, lossy_figures, photo_percent
from models.tasks.distortion import distortion
from models.tasks.evaluate import folder_bpsp
from models.tasks.spatial_task import SpatialTask

U8 = NDArray[np.uint8]
ENDS = 0.15
"""Share of crops that are coded at the lowest or the highest quality: else the ends would be seen least."""


class Task(Protocol):
    """What a training run needs to know of what it trains.

    Attributes
    ----------
    recipe : Recipe
    device : torch.device
        Where models are, and batches that losses are computed of.
    crop : int
        Side of the crops, pixels.
    condition : str
        Letter for what is judged: largest errors, or qualities.
    """

    recipe: Recipe
    device: torch.device
    crop: int
    condition: str

    def material(self, data: Path, seed: int) -> Any:
        """Return what has ``crop(number)``, a uint8 array (S, S, C), and ``batch(step, count)`` of as many."""

    def new_model(self) -> Any:
        """Return a freshly initialised model."""

    def thaw(self, data: bytes, model: Any) -> None:
        """Fill a fresh model with frozen weights."""

    def set_bfloat16(self, model: Any, on: bool) -> None:
        """Let a model multiply in bfloat16, or not."""

    def batch(self, crops: U8, rng: np.random.Generator) -> Any:
        """Return what a step learns from, of crops (B, S, S, 3): a tensor, or a named tuple of tensors (B, ...)."""

    def loss(self, model: Any, batch: Any, noise: Noise, step: int) -> Tensor:
        """Return what a step makes smaller, a scalar; `Training` says what the bits of latents count by then."""

    def evaluate(self, model: Any, folder: Path) -> dict[str, float]:
        """Return the figures of a folder's images."""

    def watch(self, model: Any, peaks: Peaks) -> None:
        """Record the largest activations that freezing needs."""

    def freeze(self, model: Any, peaks: dict[str, F64], crops: U8) -> bytes:
        """Return the weights file of a model, given the largest activations and some more crops (B, S, S, 3)."""

    def compare(self, model: Any, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return the model card's figures of a folder's images, for one condition."""

    def multiply_adds(self, model: Any) -> int | dict[str, int]:
        """Return the multiply-adds for each pixel, of all or of each part."""


class Photo:
    """Samples, lossless and near-lossless: minus the ELBO in bits per sub-pixel."""

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
        thaw(data, model)

    def set_bfloat16(self, model: VLAE, on: bool) -> None:
        """Let the likelihood's hidden layers multiply in bfloat16, or not."""
        model.likelihood.bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Batch:
        """Return crops with a largest error for each, and what contexts hold of them."""
        return make_batch(crops, self.recipe.train.errors, rng, self.rounder)

    def loss(self, model: VLAE, batch: Batch, noise: Noise, step: int) -> Tensor:
        """Return minus the ELBO."""
        train = self.recipe.train
        terms = crop_terms(model, self.gather, batch, train.pixels, noise, drop=train.drop_latents)
        return neg_elbo_bits(terms, self.config.tile, train.latent_price(step))

    def evaluate(self, model: VLAE, folder: Path) -> dict[str, float]:
        """Return minus the ELBO, the latents' share of it, and what it is without latents."""
        row = {}
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
        """Return minus the ELBO in bits per sub-pixel, with latents and without, and what freezing costs."""
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


class Transformed:
    """The lossy mode: bits per pixel plus lambda times distortion."""

    condition = "q"

    def __init__(self, recipe: Recipe, config: LossyConfig, device: torch.device = CPU) -> None:
        self.recipe = recipe
        self.config = config
        self.device = device
        self.crop = recipe.train.pixels

    def material(self, data: Path, seed: int) -> Crops:
        """Return random crops of the recipe's photographs."""
        return Crops(data, self.recipe.data, self.crop, seed)

    def new_model(self) -> Lossy:
        """Return a freshly initialised model."""
        torch.manual_seed(self.recipe.train.seed)
        return Lossy(self.config).to(self.device)

    def thaw(self, data: bytes, model: Lossy) -> None:
        """Fill a fresh model with frozen weights."""
        thaw_lossy(data, model)

    def set_bfloat16(self, model: Lossy, on: bool) -> None:
        """Let transforms and hidden layers multiply in bfloat16, or not."""
        for network in (model.analysis, model.synthesis, model.coder.likelihood):
            network.bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Tensor:
        """Return the crops."""
        return torch.tensor(crops)

    def loss(self, model: Lossy, batch: Tensor, noise: Noise, step: int) -> Tensor:
        """Return rate plus priced distortion, weighted so that all qualities count about alike."""
        samples = centred(batch)
        b, _, height, width = samples.shape
        drawn = noise.uniform(b)
        quality = torch.where(noise.uniform(b) < ENDS, drawn.round(), drawn)
        level = model.level(quality)
        steps = model.steps(level)
        y = model.analyse(samples, level) / steps
        quantised = rounded(y.clamp(-self.config.limit, self.config.limit))
        noisy = y + noise.uniform(*y.shape) - 0.5
        on = noise.uniform(b) >= self.recipe.train.drop_latents
        bits, kl = coder_bits(model, quantised, noisy, level, on, noise)
        lost = distortion(model.synthesise(quantised * steps, level), samples, self.recipe.train)
        cost = (bits + self.recipe.train.latent_price(step) * kl) / (height * width) + price(quality) * lost
        return (cost / (0.3 + 3 * quality)).mean()

    @torch.no_grad()
    def evaluate(self, model: Lossy, folder: Path) -> dict[str, float]:
        """Return bits per pixel, the latents' share and PSNR (dB) at some qualities, means over centres of images."""
        row = {}
        for value in self.recipe.validation_conditions:
            figures = []
            for image in load_images(folder):
                crop = centre(image, self.recipe.validation_pixels, 8)
                coded = float_code(model, crop, float(value), sample=True)
                pixels = crop.shape[0] * crop.shape[1]
                figures.append((coded.bits / pixels, coded.latent_bits / pixels, coded.psnr))
            bpp, latents, psnr = (float(mean) for mean in np.mean(figures, axis=0))
            row |= {f"q={value}": bpp, f"q={value} latents": latents, f"q={value} PSNR": psnr}
        return row

    def watch(self, model: Lossy, peaks: Peaks) -> None:
        """Record the largest activations of transforms and coder."""
        watch_transforms(model, peaks)
        watch_coder(model.coder, peaks)

    def freeze(self, model: Lossy, peaks: dict[str, F64], crops: U8) -> bytes:
        """Return the weights file; the crops tell what errors of y do."""
        if self.config.expansion:
            raise TrainingError("depthwise transforms cannot be frozen yet: vlae averages keeps what was trained")
        rng = np.random.default_rng(self.recipe.train.seed)
        gain = gains(model, centred(self.batch(crops, rng)), rng)
        return weights_file(self.recipe, freeze_coder(model.coder, peaks), freeze_transforms(model, peaks, gain))

    def compare(self, model: Lossy, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return bits per pixel, PSNR, MS-SSIM and what freezing costs."""
        return lossy_figures(model, frozen, folder, condition, self.recipe.validation_pixels)

    def multiply_adds(self, model: Lossy) -> dict[str, int]:
        """Return the multiply-adds of each part for each pixel, of which a position has 64."""
        parts = {
            "analysis": model.analysis.multiply_adds,
            "synthesis": model.synthesis.multiply_adds,
            "likelihood": model.coder.config.multiply_adds(model.coder.likelihood.hidden1.in_features),
        }
        return {name: round(count / PATCH**2) for name, count in parts.items()}


def centred(crops: Tensor) -> Tensor:
    """Return samples minus 128, a float tensor (B, 3, S, S), of uint8 crops (B, S, S, 3)."""
    return crops.permute(0, 3, 1, 2).float() - 128


def task_of(recipe: Recipe, device: torch.device = CPU) -> Task:
    """Return the task of a recipe."""
    if isinstance(recipe.model, LossyConfig):
        return Transformed(recipe, recipe.model, device)
    if isinstance(recipe.model, SpatialConfig):
        return SpatialTask(recipe, recipe.model, device)
    return Photo(recipe, recipe.model, device)
