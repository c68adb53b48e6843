"""Comparison of frozen models with the float models from which they were made, on the centres of a folder's images."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from codec.frozen.model import Model
from codec.images.metrics import ms_ssim
from codec.networks.quantisation import dequantise, quantise
from codec.networks.transform import analyse, synthesise
from codec.vlae.image import Image
from codec.vlae.latents import mode, posterior_intervals, prior_intervals
from codec.vlae.pixels import intervals
from models.data.crops import centre, load_images
from models.data.rounding import Rounder
from models.freezing.freeze_transforms import CONDITIONS
from models.nets.lossy import Lossy, coder_bits, price
from models.nets.vlae import VLAE
from models.noise import Noise
from models.tasks.evaluate import image_bits

PHOTO_SIDE = 256
"""Side in pixels of the centre crops, of which all pixels are coded."""


class Coded(NamedTuple):
    """The cost and the result of coding an image.

    Attributes
    ----------
    bits, latent_bits : float
        All bits, and those of the latents among them.
    error : float
        Mean squared error of the samples.
    samples : uint8 array (H, W, 3)
        The decoded samples.
    """

    bits: float
    latent_bits: float
    error: float
    samples: NDArray[np.uint8]

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB."""
        return 10 * math.log10(255**2 / max(self.error, 1e-6))


def frozen_bits(image: Image) -> tuple[float, float]:
    """Return all bits of an image, with latents at the posterior's mode, and the bits of the latents among them."""
    pixels = latent = 0.0
    for band in range(image.bands):
        z = mode(image, band) if image.model.latents else None
        pixels += intervals(image, band, z, ideal=True).ideal_bits
        if z is not None:
            latent += prior_intervals(image, z).ideal_bits - posterior_intervals(image, band, z).ideal_bits
    return pixels + latent, latent


def photo_percent(model: VLAE, frozen: Model, folder: Path, error: int, rounder: Rounder) -> float:
    """Return by how many percent the frozen model's code is longer than the float model's.

    Both code every pixel of the centre crop of each image within ``error``, latents at the posterior's mode.
    """
    before = after = 0.0
    for image in load_images(folder):
        crop = centre(image, PHOTO_SIDE, 64)
        decoded = rounder(crop, error)
        before += sum(image_bits(model, crop, None, error, sample=False, decoded=decoded))
        after += frozen_bits(replace(Image.of(frozen, crop, error), raster=decoded))[0]
    return 100 * (after / before - 1)


@torch.no_grad()
def float_code(model: Lossy, samples: NDArray[np.uint8], quality: float, *, sample: bool) -> Coded:
    """Return the code by a float model of samples, uint8 array (H, W, 3), whose sides are multiples of 8.

    Parameters
    ----------
    sample : bool
        Whether latents are sampled from the posterior; if not, they are its mode.
    """
    device = model.log_steps.device
    level = model.level(torch.tensor([quality], device=device))
    steps, limit = model.steps(level), model.config.limit
    x = torch.tensor(samples, device=device).permute(2, 0, 1)[None].float() - 128
    y = (model.analyse(x, level) / steps).round().clamp(-limit, limit)
    on = torch.ones(1, dtype=torch.bool, device=device)
    bits, kl = coder_bits(model, y, None, level, on, Noise(device=device) if sample else None)
    decoded = model.synthesise(y * steps, level).round().clamp(-128, 127)
    back = (decoded[0].permute(1, 2, 0) + 128).to(torch.uint8).cpu().numpy()
    return Coded(float(bits + kl), float(kl), float((decoded - x).square().mean()), back)


def frozen_code(frozen: Model, samples: NDArray[np.uint8], condition: int) -> Coded:
    """Return the code by a frozen model of samples, uint8 array (H, W, 3). y is rounded to the nearest steps."""
    transforms = frozen.transforms
    if transforms is None:
        raise ValueError(f"model {frozen.number} has no transforms")
    steps = transforms.steps[condition]
    height, width = samples.shape[:2]
    with ThreadPoolExecutor(1) as pool:
        y = analyse(samples, transforms, condition, pool, 1)
        q = quantise(y, steps, frozen.layout.high)
        decoded = synthesise(dequantise(q, steps), transforms, condition, height, width, pool, 1)
    error = float(np.square(decoded.astype(np.float64) - samples).mean())
    return Coded(*frozen_bits(Image.of(frozen, q, condition)), error, decoded)


def lossy_figures(model: Lossy, frozen: Model, folder: Path, quality: float, side: int) -> dict[str, float]:
    """Return bits per pixel, PSNR and MS-SSIM of a float model, averaged over images, and the cost of freezing it.

    If an image is too small for MS-SSIM, there is none.

    The cost counts bits, and squared error at the quality's price of distortion, in percent of the float model's bits.
    So it says how much longer the file would be if both models had the same error.
    """
    condition = round(quality * (CONDITIONS - 1))
    quality = condition / (CONDITIONS - 1)
    worth = float(price(torch.tensor(quality)))
    rows, lost, whole = [], 0.0, 0.0
    alike: list[float] = []
    for image in load_images(folder):
        crop = centre(image, side, 8)
        pixels = crop.shape[0] * crop.shape[1]
        before, after = float_code(model, crop, quality, sample=False), frozen_code(frozen, crop, condition)
        rows.append((before.bits / pixels, before.latent_bits / pixels, before.psnr))
        similarity = ms_ssim(crop, before.samples)
        alike += [] if similarity is None else [similarity]
        lost += after.bits - before.bits + pixels * worth * (after.error - before.error)
        whole += before.bits
    bpp, latents, psnr = (float(mean) for mean in np.mean(rows, axis=0))
    figures = {"bpp": bpp, "latents_bpp": latents, "psnr_db": psnr}
    if len(alike) == len(rows):
        figures["ms_ssim"] = float(np.mean(alike))
    return figures | {"freezing_percent": 100 * lost / whole}
