"""A model in training: its steps, the running mean of its weights, and its state in checkpoints."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.noise import Noise
from models.ranks import Ranks
from models.recipes.tables import Training
from models.tasks.interface import AnyBatch, AnyTask
from models.training.optimizer import Optimizer


def learning_rate(train: Training, step: int) -> float:
    """Return the learning rate of a step. It warms up, is constant, and falls linearly to zero."""
    warm = min(1.0, (step + 1) / train.warmup_steps)
    return train.learning_rate * warm * train.fall(step)


class Learner:
    """A model in training, with everything that a step changes.

    Attributes
    ----------
    model : nn.Module
        The model that learns.
    average : nn.Module
        The running mean of its weights, which is kept in the end.
    optimizer : Optimizer
    """

    def __init__(self, task: AnyTask, model: nn.Module, ranks: Ranks, *, bfloat16: bool) -> None:
        self.task = task
        self.model = model
        self.average = copy.deepcopy(model)
        task.set_bfloat16(model, bfloat16)
        self.optimizer = Optimizer(model)
        self.noise = Noise(0, task.device, ranks)

    def step(self, batch: AnyBatch, step: int) -> Tensor:
        """Take a step, and return its loss, a scalar tensor. The device may still be computing it."""
        train = self.task.recipe.train
        self.noise.begin(train.seed * 1_000_003 + step)
        loss = self.task.loss(self.model, batch, self.noise, step)
        loss.backward()
        self.noise.ranks.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(learning_rate(train, step))
        weight = 1 - min(train.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint by name: the optimiser's moments, the weights, and their means."""
        tensors = self.optimizer.state()
        for part, model in self._parts():
            tensors |= {f"{part}.{name}": p for name, p in model.named_parameters()}
        return tensors

    def load(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Set the state to tensors that `state` returned after ``steps`` steps."""
        self.optimizer.load(tensors, steps)
        for part, model in self._parts():
            for name, p in model.named_parameters():
                p.data.copy_(tensors[f"{part}.{name}"])

    def _parts(self) -> list[tuple[str, nn.Module]]:
        return [("model", self.model), ("average", self.average)]
