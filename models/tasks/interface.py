"""The interface of a task, and the task of each recipe.

A task knows its model, its batches, the loss, the figures, and how the model is frozen. So the training loop
(`models.training`) need not know any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.frozen.model import Model
from models.freezing.peaks import Peaks
from models.freezing.quantise import F64
from models.noise import CPU, Noise
from models.recipes.tables import Recipe
from models.tasks.lossy import LossyTask
from models.tasks.maps import MapsTask
from models.tasks.samples import SamplesTask

U8 = NDArray[np.uint8]

AnyBatch = Tensor | tuple[Tensor, ...]
"""What a step learns from: a tensor, or a named tuple of tensors, each with an entry for each crop."""
BatchT = TypeVar("BatchT", bound=AnyBatch)
ModelT = TypeVar("ModelT", bound=nn.Module)


class Material(Protocol):
    """Images from which crops are drawn.

    Attributes
    ----------
    seed : int
    images : sequence
        The images of each of the recipe's sources.
    """

    seed: int

    @property
    def images(self) -> Sequence[Sized]:
        """The images of each source."""

    def crop(self, number: int) -> U8:
        """Return a crop, uint8 array (S, S, C), which depends on the seed and the number alone."""

    def batch(self, step: int, count: int) -> U8:
        """Return the ``count`` crops of a step: uint8 array (count, S, S, C)."""


class Task(Protocol[ModelT, BatchT]):
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

    def material(self, data: Path, seed: int) -> Material:
        """Return the material from which crops are drawn."""

    def new_model(self) -> ModelT:
        """Return a freshly initialised model."""

    def thaw(self, data: bytes, model: ModelT) -> None:
        """Fill a fresh model with frozen weights."""

    def set_bfloat16(self, model: ModelT, on: bool) -> None:
        """Let a model multiply in bfloat16, or not."""

    def batch(self, crops: U8, rng: np.random.Generator) -> BatchT:
        """Return the batch that a step learns from, made of crops, uint8 array (B, S, S, C)."""

    def loss(self, model: ModelT, batch: BatchT, noise: Noise, step: int) -> Tensor:
        """Return the loss of a step, a scalar.

        `models.recipes.tables.Training.latent_price` says how much the bits of latents count at this step.
        """

    def evaluate(self, model: ModelT, folder: Path) -> dict[str, float]:
        """Return the figures of a folder's images."""

    def watch(self, model: ModelT, peaks: Peaks) -> None:
        """Record the largest activations that freezing needs."""

    def freeze(self, model: ModelT, peaks: dict[str, F64], crops: U8) -> bytes:
        """Return the weights file of a model, given the largest activations and some more crops (B, S, S, 3)."""

    def compare(self, model: ModelT, frozen: Model, folder: Path, condition: float) -> dict[str, float]:
        """Return the model card's figures of a folder's images, for one condition."""

    def multiply_adds(self, model: ModelT) -> int | dict[str, int]:
        """Return the multiply-adds for each pixel, of all or of each part."""


AnyTask = Task[Any, Any]
"""A task of which is not known what its models and batches are: it is given no others than those it made."""


TASKS: dict[str, Callable[[Recipe, Any, torch.device], AnyTask]] = {
    "samples": SamplesTask,
    "lossy": LossyTask,
    "maps": MapsTask,
}
"""What makes a task of a recipe, the shape of its model and a device, by the recipe's word for it.

How recipes of each are read, `models.recipes.forms.TASKS` says.
"""


def task_of(recipe: Recipe, device: torch.device = CPU) -> AnyTask:
    """Return the task of a recipe."""
    return TASKS[recipe.task](recipe, recipe.model, device)
