"""The end of a training run: it is calibrated, frozen, compared with the float model, and gets a model card.

All files go to the run's own folder. `models.training.ship` gives the weights a number of their own.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from itertools import product

import numpy as np
import torch

from codec.frozen.weights import parse_model
from codec.system.outputs import write_file
from models.freezing.peaks import Peaks
from models.noise import Noise
from models.tasks.interface import BatchT, Material, ModelT, Task, task_of
from models.training.run import Run

FROZEN, CARD = "weights.safetensors", "weights.json"
"""Names of the frozen weights and of their card in a run's folder."""
Card = dict[str, object]
"""A model card, as JSON has it."""
CALIBRATION_BATCHES, CALIBRATION_CROPS = 48, 16


def freeze(task: Task[ModelT, BatchT], model: ModelT, material: Material) -> bytes:
    """Return the weights file of a model. Its activations are calibrated on random crops.

    Parameters
    ----------
    task : Task
        The model's task, on the CPU.
    model : nn.Module
        A model on the CPU.
    material : Material
        The task's material, with another seed than in training, so that the crops are others.
    """
    train = task.recipe.train
    peaks = Peaks()
    task.watch(model, peaks)
    rng, noise = np.random.default_rng(train.seed), Noise(train.seed)
    with torch.no_grad():
        for step in range(CALIBRATION_BATCHES):
            task.loss(model, task.batch(material.batch(step, CALIBRATION_CROPS), rng), noise, train.steps)
    peaks.stop()
    return task.freeze(model, peaks.values, material.batch(CALIBRATION_BATCHES, CALIBRATION_CROPS))


def finish(run: Run) -> Card:
    """Freeze a run's averaged weights into its folder. Write their card beside them, and return it."""
    recipe = run.recipe
    task, model = task_of(recipe), copy.deepcopy(run.average).cpu()
    material = task.material(run.data, recipe.train.seed + 1)
    data = freeze(task, model, material)
    frozen = parse_model(data)
    figures = {
        f"{name} {task.condition}={condition}": task.compare(model, frozen, run.data / name, condition)
        for name, condition in product(recipe.validation_folders, recipe.validation_conditions)
    }
    card: Card = {
        "name": recipe.name,
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
    write_file(run.folder / FROZEN, data, force=True)
    write_file(run.folder / CARD, (json.dumps(card, indent=2) + "\n").encode(), force=True)
    return card
