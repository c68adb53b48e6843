"""The end of a training run: calibrate, freeze, compare with the float model, write the model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch

from codec.image import Image
from codec.model import WEIGHTS, Model, parse_model
from models.data import Crops, image_files, load_images
from models.evaluate import folder_bpsp, image_bits
from models.freeze import Peaks, freeze
from models.networks import VLAE
from models.objective import Inputs, crop_terms, decoded_samples, make_batch
from models.recipe import Recipe
from models.train import Run

CALIBRATION_BATCHES = 48
FREEZING_SIDE = 256
"""Side of the centre crops on which frozen and float model are compared, every pixel of them."""


def calibrate(recipe: Recipe, model: VLAE, data: Path) -> dict[str, Any]:
    """Return the largest activations of a model on crops that training did not see in this order."""
    config = recipe.model
    crops = Crops(data, recipe.data, 2 * config.tile + 2 * config.radius, recipe.train.seed + 1)
    gather = Inputs(config.radius)
    peaks = Peaks()
    handles = peaks.watch(model)
    rng = np.random.default_rng(recipe.train.seed)
    torch.default_generator.manual_seed(recipe.train.seed)
    with torch.no_grad():
        for step in range(CALIBRATION_BATCHES):
            batch = make_batch(crops.batch(step, 16), recipe.train.errors, rng)
            crop_terms(model, gather, batch, 256, rng, drop=0.15)
    for handle in handles:
        handle.remove()
    return peaks.values


def freezing_percent(model: VLAE, frozen: Model, folder: Path, error: int) -> float:
    """Return by how many percent the frozen model's code is longer than the float model's.

    Both code every pixel of the centre crop of each image within ``error``, latents at the posterior's mode.
    """
    float_bits = frozen_bits = 0.0
    for image in load_images(folder):
        h, w = (min(s, FREEZING_SIDE) // 64 * 64 for s in image.shape[:2])
        y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
        crop = np.ascontiguousarray(image[y : y + h, x : x + w])
        decoded = decoded_samples(crop, error)
        pixels, latent = image_bits(model, crop, None, error, sample=False, decoded=decoded)
        float_bits += pixels + latent
        coded = Image(frozen, decoded, crop, 3, error)
        with threadpoolctl.threadpool_limits(1, "blas"):
            for band in range(coded.bands):
                z = coded.mode(band)
                frozen_bits += coded.pixel_intervals(band, z, ideal=True).ideal_bits
                frozen_bits += coded.prior_intervals(z).ideal_bits - coded.posterior_intervals(band, z).ideal_bits
    return 100 * (frozen_bits / float_bits - 1)


def finish(run: Run, out: Path = WEIGHTS) -> dict[str, Any]:
    """Freeze a run's averaged weights into ``out`` and return its card, which is written beside them."""
    recipe, model = run.recipe, run.average
    peaks = calibrate(recipe, model, run.data)
    data = freeze(recipe, model, peaks)
    frozen = parse_model(data)
    figures = {}
    for name, error in product(recipe.validation_folders, recipe.validation_conditions):
        folder = run.data / name
        total, latent, off = folder_bpsp(model, folder, recipe.validation_pixels, error)
        figures[f"{name} d={error}"] = {
            "elbo_bpsp": total,
            "latents_bpsp": latent,
            "latents_off_bpsp": off,
            "freezing_percent": freezing_percent(model, frozen, folder, error),
        }
    card = {
        "name": recipe.name,
        "number": recipe.number,
        "hash": frozen.hash.hex(),
        "weights_bytes": len(data),
        "multiply_adds_per_pixel": recipe.model.multiply_adds(model.likelihood.hidden1.in_features),
        "data": [asdict(s) | {"images": len(image_files(run.data / s.folder))} for s in recipe.data],
        "steps": run.progress.step,
        "hours": round(run.progress.seconds / 3600, 2),
        "machine": run.progress.machine,
        "start": run.progress.start,
        "validation": figures,
    }
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"{recipe.name}-{recipe.number}"
    stem.with_suffix(".safetensors").write_bytes(data)
    stem.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card
