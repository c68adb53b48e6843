"""The task "lossy": a transform and the coder of its latents. The loss is bits a pixel plus lambda times distortion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.frozen.model import Model
from codec.networks.transform import PATCH
from models.data.crops import Crops, centre, load_images
from models.freezing.freeze import freeze_coder, weights_file
from models.freezing.freeze_transforms import freeze_transforms, gains, structure_shares, watch_transforms
from models.freezing.peaks import Peaks, watch_coder
from models.freezing.quantise import F64
from models.freezing.thaw_lossy import thaw_lossy
from models.nets.latents import rounded
from models.nets.lossy import Lossy, LossyConfig, coder_bits, price
from models.nets.transforms import multiply_adds
from models.noise import CPU, Noise
from models.recipes.tables import Recipe
from models.tasks.compare import float_code, lossy_figures
from models.tasks.distortion import distortion

U8 = NDArray[np.uint8]
ENDS = 0.15
"""Share of crops that are coded at the lowest or the highest quality. Otherwise the ends would be trained least."""


class LossyTask:
    """The task of the lossy mode; see `models.tasks.interface.Task`."""

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
            network.in_bfloat16 = on

    def batch(self, crops: U8, rng: np.random.Generator) -> Tensor:
        """Return the crops."""
        return torch.tensor(crops)

    def loss(self, model: Lossy, batch: Tensor, noise: Noise, step: int) -> Tensor:
        """Return rate plus lambda times distortion, weighted so that all qualities count about the same."""
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
        """Return bits per pixel, the latents' part and PSNR (dB) at some qualities, averaged over images' centres."""
        row: dict[str, float] = {}
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
        """Return the weights file. On the crops it is measured how much an error of y changes samples."""
        rng = np.random.default_rng(self.recipe.train.seed)
        images = centred(self.batch(crops, rng))
        gain, shares = gains(model, images, rng), structure_shares(model, images, rng)
        transforms = freeze_transforms(model, peaks, gain, shares)
        return weights_file(self.recipe, freeze_coder(model.coder, peaks), transforms)

    def compare(self, model: Lossy, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return bits per pixel, PSNR, MS-SSIM and the cost of freezing."""
        return lossy_figures(model, frozen, folder, condition, self.recipe.validation_pixels)

    def multiply_adds(self, model: Lossy) -> dict[str, int]:
        """Return the multiply-adds of each part for each pixel."""
        level = torch.zeros(1, self.config.levels)
        image, y = torch.zeros(1, 3, PATCH, PATCH), torch.zeros(1, self.config.channels, 1, 1)
        likelihood = model.coder.config.multiply_adds(model.coder.likelihood.hidden1.in_features)
        return {
            "analysis": round(multiply_adds(model.analysis, image, level, PATCH**2)),
            "synthesis": round(multiply_adds(model.synthesis, y, level, PATCH**2)),
            "likelihood": round(likelihood / PATCH**2),
        }


def centred(crops: Tensor) -> Tensor:
    """Return samples minus 128, a float tensor (B, 3, S, S), of uint8 crops (B, S, S, 3)."""
    return crops.permute(0, 3, 1, 2).float() - 128
