"""The progress of a run, which stands in checkpoints and in the model card."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

import torch

Start = dict[str, str | float]
"""The origin of a run: the hash of a file, and the steps and hours that made it, if they are known."""


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    step, seconds : int, float
        Steps and seconds of this run, without those of its origin.
    machine : str
        Description of the machine.
    history : list of dict
        Figures of each evaluation.
    start : dict or None
        The origin of the run, see `models.training.start.start_entry`. None if it began from random weights.
    """

    step: int = 0
    seconds: float = 0.0
    machine: str = field(default_factory=_machine)
    history: list[dict[str, float]] = field(default_factory=list)
    start: Start | None = None
