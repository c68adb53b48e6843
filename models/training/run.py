"""A training run by a recipe. It resumes from its checkpoint, and stops cleanly at a time limit or when told to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.errors import TrainingError
from models.recipes.tables import Recipe
from models.tasks.interface import AnyBatch, task_of
from models.training import checkpoints
from models.training.device import PLAIN, Machine, device_name, fast_memory
from models.training.learner import Learner
from models.training.loader import Batches, Numbers, Ordered, Pool, make_batches
from models.training.progress import Progress
from models.training.start import fill, start_entry
from models.training.stopping import Stop

log = logging.getLogger(__name__)

REPORT_STEPS = 100
"""Steps between two reports of the loss. To read the loss waits for the device."""
AGREE_STEPS = 10
"""Steps after which several processes ask each other whether to stop."""
LOSS_WEIGHT = 0.02
"""Weight of a step's loss in the running mean that is reported."""


def never() -> bool:
    """Return False: a ``stop`` that never asks to stop."""
    return False


def at_once(work: Callable[[], None]) -> None:
    """Do some work at once, without a `models.training.stopping.Stop`."""
    work()


def _report(step: int, loss: float, batches: Batches[AnyBatch], share: int, seconds: float) -> None:
    made, waited = batches.made * share / seconds, 100 * batches.waited / seconds
    log.info("step %d, loss %.4f, %.0f s, %.0f crops/s, %.1f %% waited", step, loss, seconds, made, waited)


class Run:
    """A training run. It is kept in a folder (see `models.training.checkpoints`), and writes nowhere else.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        The folder that holds the recipe's folders.
    folder : Path
        The folder of the run.
    start : Path or None
        Weights from which a new run begins, see `models.training.start.fill`. None begins from random weights.
    machine : Machine
        The device and the processes.

    Raises
    ------
    RecipeError
        A folder of the recipe is missing, or the checkpoint belongs to another recipe.
    CorruptDataError
        The checkpoint is damaged.
    """

    def __init__(
        self, recipe: Recipe, data: Path, folder: Path, start: Path | None = None, *, machine: Machine = PLAIN
    ) -> None:
        recipe.check_data(data)
        self.recipe = recipe
        self.task = task_of(recipe, machine.device)
        self.data = data
        self.folder = folder
        self.machine = machine
        self.ranks = machine.ranks
        self.share = self.ranks.share(recipe.train.batch)
        self.progress = Progress()
        if machine.device.type != "cpu":
            self.progress.machine += f", {device_name(machine.device)}"
        found = self.ranks.shared(lambda: checkpoints.load(folder))
        model = self.task.new_model()
        if found is None and start is not None:
            fill(self.task, model, start)
            self.progress.start = start_entry(start)
        self.learner = Learner(self.task, model, self.ranks, bfloat16=machine.bfloat16)
        self.model, self.average = self.learner.model, self.learner.average
        if found is not None:
            checkpoints.check_shape(found, recipe, model, folder)
            self.progress = found.progress
            self.learner.load(found.tensors, self.progress.step)

    def save(self) -> None:
        """Write a checkpoint in place of the last one.

        Raises
        ------
        TrainingError
            It cannot be written. The last one stays.
        """
        if not self.ranks.first:
            return
        checkpoints.save(self.folder, self.learner.state(), self.progress, checkpoints.shape_of(self.recipe))

    def batches(self) -> Batches[AnyBatch]:
        """Return the source of the batches for all further steps. The caller must close it."""
        train, device = self.recipe.train, self.task.device
        material = self.task.material(self.data, train.seed)
        if device.type == "cpu":
            first, last = self.progress.step // train.uses, -(-train.steps // train.uses)
            numbers = Numbers(first, last, train.batch, self.ranks)
            return Ordered(make_batches(self.task, material, numbers, self.machine.workers), train.uses)
        numbers = Numbers(self.progress.step, 1 << 40, train.batch, self.ranks)
        return Pool(make_batches(self.task, material, numbers, self.machine.workers), train.uses, device)

    def train(
        self,
        limit_s: float,
        every_s: float = 600.0,
        evaluate_s: float = 1800.0,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Train until the recipe's last step, until a time limit, or until told to stop. Return whether it is finished.

        Parameters
        ----------
        limit_s : float
            Time limit in seconds.
        every_s : float
            Seconds between checkpoints. One is also written at the end.
        evaluate_s : float
            Seconds between evaluations. One is also made at the end; a signal breaks it off.
        stop : callable
            Asked after each step. If it returns True, the run is saved, and training stops.

        Raises
        ------
        TrainingError
            An image or a checkpoint cannot be read or written, or the loss is not finite. The last checkpoint stays.
        """
        fast_memory()
        steps = self.recipe.train.steps
        batches = self.batches()
        begin = saved = evaluated = time.monotonic()
        recent: Tensor | None = None
        told = False
        attempt = stop.attempt if isinstance(stop, Stop) else at_once

        def keep() -> None:
            nonlocal saved
            if recent is not None and not torch.isfinite(recent):
                step = self.progress.step
                raise TrainingError(f"step {step}: the loss is {float(recent)}; the last checkpoint stays")
            self.progress.seconds += time.monotonic() - saved
            self.save()
            saved = time.monotonic()

        try:
            while self.progress.step < steps and not told:
                if self._agree(time.monotonic() - begin >= limit_s):
                    break
                loss = self.step(batches.batch(self.progress.step))
                recent = loss.clone() if recent is None else recent.lerp_(loss, LOSS_WEIGHT)
                if self.progress.step % REPORT_STEPS == 0:
                    _report(self.progress.step, float(recent), batches, self.share, time.monotonic() - begin)
                told = self._agree(stop())
                if time.monotonic() - saved > every_s and not told:
                    keep()
                    if time.monotonic() - evaluated > evaluate_s:
                        attempt(self.evaluate)
                        evaluated = time.monotonic()
        finally:
            batches.close()
        keep()
        if not told:
            attempt(self.evaluate)
            keep()
        return self.progress.step >= steps

    def _agree(self, flag: bool) -> bool:
        """Return whether a flag is set in any of the processes, so that all stop at the same step."""
        asked = self.ranks.count == 1 or self.progress.step % AGREE_STEPS == 0
        return asked and self.ranks.any(flag)

    def step(self, batch: AnyBatch) -> Tensor:
        """Take a step, and return its loss, a scalar tensor. The device may still be computing it."""
        loss = self.learner.step(batch, self.progress.step)
        self.progress.step += 1
        return loss

    def evaluate(self) -> None:
        """Evaluate the averaged weights on the validation folders. Log the figures, and add them to the history."""
        if not self.ranks.first:
            return
        row = {"step": float(self.progress.step)}
        for folder in self.recipe.validation_folders:
            figures = self.task.evaluate(self.average, self.data / folder)
            row |= {f"{folder} {key}": value for key, value in figures.items()}
        self.progress.history.append(row)
        log.info("%s", ", ".join(f"{k} {v:.4f}" for k, v in row.items()))
