"""Training of an experiment's arms, all for the same processor time. Other work of the machine does not count."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import click
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.training.device import fast_memory
from models.training.optimizer import MATRICES, NEWTON_SCHULZ, Optimizer

WARMUP_STEPS = 150
AVERAGE = 0.998
FALL = 0.5
"""Share of the time in which the learning rate falls to zero."""
Batch = TypeVar("Batch")

log = logging.getLogger(__name__)


def arm_options(minutes: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of experiments with arms; ``minutes`` is the default of one of them."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--only", default="", help="Train only arms whose names contain this."),
            click.option("--minutes", default=minutes, help="Processor time of an arm's training."),
            click.option("--runs", type=click.Path(path_type=Path), required=True, help="Folder for weights, figures."),
            click.option("--data", type=click.Path(path_type=Path, exists=True), required=True),
        ):
            command = option(command)
        return command

    return add


def begin(runs: Path) -> None:
    """Make the folder of an experiment, and give torch one thread, because only this thread's time is measured."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    fast_memory()
    runs.mkdir(parents=True, exist_ok=True)


def orthogonal_bfloat16(matrices: Tensor) -> Tensor:
    """Return about the result of `models.training.optimizer.orthogonal`, in half its time where bfloat16 is faster.

    Here each round multiplies the matrices themselves. In bfloat16 a product of several polynomials would lose too
    many bits.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = (x.mT if tall else x).bfloat16()
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def train_for(
    seconds: float,
    model: nn.Module,
    batch: Callable[[int], Batch],
    loss: Callable[[Batch, int, float], Tensor],
    rate: float,
    path: Path,
    matrices: re.Pattern[str] = MATRICES,
) -> int:
    """Train a model for some processor time of this thread, leave its averaged weights in it, and return the steps.

    Parameters
    ----------
    seconds : float
        Processor time.
    batch : callable
        Called with a step; returns its batch. It runs in another thread, whose time does not count.
    loss : callable
        Called with a batch, a step, and the share of the learning rate that is left.
    rate : float
        Learning rate.
    path : Path
        File of the weights. If it exists, it is loaded, and nothing is trained.
    matrices : re.Pattern
        Names of the parameters that Muon steps.
    """
    if path.exists():
        model.load_state_dict(load_file(path))
        with safe_open(path, "pt") as file:
            return int(file.metadata()["steps"])
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(model, matrices=matrices)
    begin, step, recent = time.thread_time(), 0, 0.0
    with ThreadPoolExecutor(1) as loader:
        coming = loader.submit(batch, 0)
        while (used := (time.thread_time() - begin) / seconds) < 1:
            given = coming.result()
            coming = loader.submit(batch, step + 1)
            fall = min(1.0, (1 - used) / FALL)
            lost = loss(given, step, fall)
            lost.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step(rate * min(1.0, (step + 1) / WARMUP_STEPS) * fall)
            weight = 1 - min(AVERAGE, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, p in model.named_parameters():
                    mean[name].lerp_(p, weight)
            recent += 0.02 * (float(lost.detach()) - recent) if recent else float(lost.detach())
            step += 1
            if step % 200 == 0:
                log.info("step %d, %.0f %%, loss %.4f", step, 100 * used, recent)
    model.load_state_dict(mean)
    save_file({name: p.contiguous() for name, p in mean.items()}, path, {"steps": str(step)})
    return step


class SoftFreeBits:
    """The price of a bit of latents. It moves so that their KL divergence stays near a share of the other bits.

    After Chen et al. (2017), "Variational Lossy Autoencoder", appendix C: the price moves by 10 % whenever the share
    leaves its target by more than 5 %.

    Attributes
    ----------
    price : float
    share : float
        Running mean of the shares that were given to `step`.
    """

    TOLERANCE = 0.05
    FIRST, LOW, FACTOR = 0.05, 0.02, 1.1
    """First and least price, and factor of a change. At a price of 1, z would die before the features are of use."""
    PERIOD, WEIGHT = 8, 0.1
    """Steps between changes of the price, and weight of a step in the running mean. It follows in about ten steps."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.price, self.share, self.steps = self.FIRST, 0.0, 0

    def step(self, share: float) -> None:
        """Take the share of a step into account, and move the price."""
        self.share += self.WEIGHT * (share - self.share) if self.steps else share
        self.steps += 1
        if self.steps % self.PERIOD == 0:
            away = self.share / self.target - 1
            factor = self.FACTOR ** (int(away > self.TOLERANCE) - int(away < -self.TOLERANCE))
            self.price = min(1.0, max(self.LOW, self.price * factor))
