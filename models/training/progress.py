"""What is known of a run besides its weights: it stands in checkpoints and in the model card."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

import torch

Start = dict[str, str | float]
"""What a run began from: the hash of a file, and the steps and hours that made it, as far as they are known."""


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    step, seconds : int, float
        Steps and time of this run alone, without what it began from.
    machine : str
        What computes.
    history : list of dict
        Figures of every evaluation.
    start : dict or None
        What the run began from, see `models.training.start.start_entry`; None if from random weights.
    """

    step: int = 0
    seconds: float = 0.0
    machine: str = field(default_factory=_machine)
    history: list[dict[str, float]] = field(default_factory=list)
    start: Start | None = None
