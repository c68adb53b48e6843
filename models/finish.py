"""The end of a training run: calibrate, freeze, compare with the float model, write the model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codec.model_weights import parse_model
from codec.shipped import WEIGHTS
from models.freeze import Peaks
from models.tasks import Task
from models.train import Run

CALIBRATION_BATCHES, CALIBRATION_CROPS = 48, 16


def freeze(task: Task, model: Any, material: Any) -> bytes:
    """Return the weights file of a model, whose activations are seen on crops that training did not see in this order.

    Parameters
    ----------
    material
        Of the task, with another seed than in training.
    """
    train = task.recipe.train
    peaks = Peaks()
    task.watch(model, peaks)
    rng = np.random.default_rng(train.seed)
    torch.default_generator.manual_seed(train.seed)
    with torch.no_grad():
        for step in range(CALIBRATION_BATCHES):
            task.loss(model, task.batch(material.batch(step, CALIBRATION_CROPS), rng), rng, train.steps)
    peaks.stop()
    return task.freeze(model, peaks.values, material.batch(CALIBRATION_BATCHES, CALIBRATION_CROPS))


def finish(run: Run, out: Path = WEIGHTS) -> dict[str, Any]:
    """Freeze a run's averaged weights into ``out`` and return its card, which is written beside them."""
    recipe, task, model = run.recipe, run.task, run.average
    material = task.material(run.data, recipe.train.seed + 1)
    data = freeze(task, model, material)
    frozen = parse_model(data)
    figures = {
        f"{name} {task.condition}={condition}": task.compare(model, frozen, run.data / name, condition)
        for name, condition in product(recipe.validation_folders, recipe.validation_conditions)
    }
    card = {
        "name": recipe.name,
        "number": recipe.number,
        "hash": frozen.hash.hex(),
        "weights_bytes": len(data),
        "multiply_adds_per_pixel": task.multiply_adds(model),
        "data": [asdict(s) | {"images": len(images)} for s, images in zip(recipe.data, material.images, strict=True)],
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
