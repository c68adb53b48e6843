"""The tables of a recipe, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from models.data.crops import Source
from models.data.rounding import Rounding
from models.errors import RecipeError
from models.recipes.forms import TASKS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True)
class Training:
    """How a model is trained; a recipe's [train] table.

    Attributes
    ----------
    uses : int
        Number of steps that use each batch of crops. Where crops are drawn from a pool on the device, each is drawn at
        most this often on average.
    pixels : int
        The part of a crop that a step learns from: the number of pixels of each tile (task "samples"), or the side of
        the crop in pixels ("lossy"). The task "maps" learns from whole images.
    errors : tuple of float
        Shares of the crops that are coded within d = 0, 1, ... Only the task "samples" has them.
    latent_steps : int
        Number of first steps in which the price of the latents' bits rises from 0 to 1. Otherwise the latents could
        collapse before the likelihood uses them. With 0 the price is 1 from the first step on.
    squared_error, structure : float
        Weights of the distortion of a lossy model: of the mean squared error of samples, and of 1 - MS-SSIM.
    free_bits : float
        Least bits that each latent of a map costs in the loss. They fall with the learning rate.
    """

    steps: Count
    decay_steps: Count
    warmup_steps: Count
    learning_rate: Positive
    average: Share
    batch: Count
    uses: Count
    pixels: Count
    drop_latents: Share
    latent_steps: Annotated[int, Meta(ge=0)]
    seed: Annotated[int, Meta(ge=0)]
    errors: tuple[Share, ...] = ()
    squared_error: NotNegative = 1.0
    structure: NotNegative = 0.0
    free_bits: NotNegative = 0.0

    def fall(self, step: int) -> float:
        """Return the learning rate as a share of its constant value: 1 until it falls, and then less."""
        return min(1.0, (self.steps - step) / self.decay_steps)

    def latent_price(self, step: int) -> float:
        """Return the factor with which the bits of latents count at a step, 0 to 1."""
        return min(1.0, step / self.latent_steps) if self.latent_steps else 1.0


@dataclass(frozen=True)
class Validation:
    """How models are evaluated; a recipe's [validation] table.

    Attributes
    ----------
    folders : tuple of str
        Folders of images, below the folder of the data.
    conditions : tuple of float
        Largest errors, or qualities 0..1.
    pixels : int
        The part that is evaluated: pixels of each tile ("samples"), the side of an image's centre ("lossy"), or the
        number of images ("maps").
    """

    folders: tuple[str, ...]
    conditions: tuple[Annotated[int, Meta(ge=0)] | NotNegative, ...]
    pixels: Count


@dataclass(frozen=True)
class Recipe:
    """A recipe file, checked.

    Attributes
    ----------
    task : str
        A key of `models.recipes.forms.TASKS`.
    model : dataclass
        The shape that the task's form reads.
    validation_folders, validation_conditions, validation_pixels
        See `Validation`.
    """

    name: str
    task: str
    model: DataclassInstance
    train: Training
    data: tuple[Source, ...]
    validation_folders: tuple[str, ...]
    validation_conditions: tuple[float, ...]
    validation_pixels: int
    rounding: Rounding | None = None

    def check_data(self, root: Path) -> None:
        """Refuse a folder of data that lacks one that the recipe names.

        Raises
        ------
        RecipeError
            A folder is missing. The message names it.
        """
        for name in (*(source.folder for source in self.data), *self.validation_folders):
            path = root / name
            if not path.is_dir() and not (TASKS[self.task].takes_arrays and path.parent.is_file()):
                raise RecipeError(f"recipe {self.name}: no folder {name} in {root}")
