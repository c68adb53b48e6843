"""The smallest training runs, which take hardly a second: recipes and images."""

import numpy as np
from PIL import Image

TINY = {
    "model.radius": 2,
    "model.width": 8,
    "model.head": 4,
    "model.mixtures": 1,
    "model.tile": 16,
    "model.latents": 2,
    "model.modulation": 4,
    "model.posterior": [4, 4, 4],
    "model.prior": 4,
    "train.steps": 6,
    "train.warmup_steps": 1,
    "train.batch": 2,
    "train.pixels": 8,
    "train.errors": [1.0],
    "data": [{"folder": "some", "share": 1.0, "past": 0.0}],
    "validation.folders": ["some"],
    "validation.conditions": [0],
    "validation.pixels": 8,
}
"""Changes of the recipe ``photo``."""
LOSSY = {
    "model.channels": 12,
    "model.width": 8,
    "model.analysis_blocks": 1,
    "model.synthesis_blocks": 1,
    "model.fine_width": 4,
    "model.levels": 3,
    "model.groups": 2,
    "model.planes": 4,
    "model.coder.width": 16,
    "model.coder.head": 8,
    "model.coder.posterior": [4, 4, 4],
    "train.steps": 6,
    "train.warmup_steps": 1,
    "train.batch": 2,
    "train.pixels": 64,
    "train.structure": 0.0,  # the crops are too small for it
    "data": [{"folder": "some", "share": 1.0, "past": 0.0}],
    "validation.folders": ["some"],
    "validation.conditions": [0.5],
    "validation.pixels": 48,
}
"""Changes of the recipe ``lossy``."""
MAPS = {
    "model.window": [3, 2],
    "model.size": 8,
    "model.patch": 2,
    "model.cell": 2,
    "model.latents": 3,
    "model.stream": 4,
    "model.blocks": [1, 1],
    "model.features": 2,
    "model.prior": 0,
    "model.width": 8,
    "model.head": 4,
    "model.mixtures": 1,
    "train.steps": 6,
    "train.warmup_steps": 1,
    "train.batch": 4,
}
"""Changes of the recipes whose task is "maps"."""


def draw_images(folder, count=1):
    """Draw images into a new folder."""
    folder.mkdir()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:64, 0:72] / (9.0 + seed)
        waves = np.stack([np.sin(y + c) * np.cos(x) for c in range(3)], -1)
        samples = np.clip(128 + 60 * waves + rng.normal(0, 4, waves.shape), 0, 255).astype(np.uint8)
        Image.fromarray(samples).save(folder / f"{seed}.png")
