"""Training by a recipe: resumes from its checkpoint and stops cleanly at a time limit."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import json
import logging
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from codec.headers import HASH_BYTES
from models.optimizer import Optimizer
from models.recipe import Recipe, Training
from models.tasks import task_of

log = logging.getLogger(__name__)


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


@dataclass
class Progress:
    """What is known of a run besides its weights; stands in the checkpoint and in the model card.

    Attributes
    ----------
    step, seconds : of this run alone
    machine : str
    history : list of dict
        Figures of every evaluation.
    start : dict or None
        What it began from, see `start_entry`; None if from random weights.
    """

    step: int = 0
    seconds: float = 0.0
    machine: str = field(default_factory=_machine)
    history: list[dict[str, float]] = field(default_factory=list)
    start: dict[str, Any] | None = None


def learning_rate(train: Training, step: int) -> float:
    """Return the learning rate of a step: warm-up, constant, linear decay to zero."""
    warm = min(1.0, (step + 1) / train.warmup_steps)
    return train.learning_rate * warm * train.fall(step)


def start_entry(path: Path) -> dict[str, Any]:
    """Return what is known of frozen weights, or of a checkpoint: its hash, and the steps and hours that made it.

    Of frozen weights steps and hours stand in the model card beside them, if there is one; those of what the
    weights themselves began from are included.
    """
    entry: dict[str, Any] = {"hash": hashlib.sha256(path.read_bytes()).digest()[:HASH_BYTES].hex()}
    card = path.with_suffix(".json")
    with safe_open(path, "np") as file:
        progress = (file.metadata() or {}).get("progress")
    values: dict[str, Any] = {}
    if progress is not None:
        found = json.loads(progress)
        values = {"steps": found["step"], "hours": found["seconds"] / 3600, "start": found["start"]}
    elif card.exists():
        values = json.loads(card.read_text(encoding="utf-8"))
    if values:
        before = values.get("start") or {}
        for key in ("steps", "hours"):
            if key in values:
                entry[key] = round(values[key] + before.get(key, 0), 2)
    return entry


def keep_memory() -> None:
    """Let the C library keep freed memory for the next step: a third of a step went into new pages.

    Only glibc has this switch; others are left as they are.
    """
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 25)  # the most that it takes
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 1 << 28)


class Run:
    """A training run, kept in a folder as ``checkpoint.safetensors``.

    A new one begins from ``start``, frozen weights or a checkpoint as its task takes them, else from random weights.
    With ``bfloat16`` the likelihood's hidden layers are multiplied in it.
    """

    def __init__(
        self, recipe: Recipe, data: Path, folder: Path, start: Path | None = None, *, bfloat16: bool = False
    ) -> None:
        self.recipe = recipe
        self.task = task_of(recipe)
        self.data = data
        self.checkpoint = folder / "checkpoint.safetensors"
        self.model = self.task.new_model()
        self.progress = Progress()
        if start is not None and not self.checkpoint.exists():
            self.task.thaw(start.read_bytes(), self.model)
            self.progress.start = start_entry(start)
        self.average = copy.deepcopy(self.model)
        self.task.set_bfloat16(self.model, bfloat16)
        self.optimizer = Optimizer(self.model)
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._load()

    def _save(self) -> None:
        tensors = self.optimizer.state()
        for name, p in self.model.named_parameters():
            tensors[f"model.{name}"] = p.detach()
        for name, p in self.average.named_parameters():
            tensors[f"average.{name}"] = p.detach()
        temporary = self.checkpoint.with_suffix(".part")
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(tensors, temporary, {"progress": json.dumps(asdict(self.progress))})
        temporary.replace(self.checkpoint)

    def _load(self) -> None:
        with safe_open(self.checkpoint, "pt") as file:
            self.progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.optimizer.load(tensors, self.progress.step)
        for part, model in (("model", self.model), ("average", self.average)):
            for name, p in model.named_parameters():
                p.data.copy_(tensors[f"{part}.{name}"])

    def train(self, limit_s: float, every_s: float = 600.0, evaluate_s: float = 1800.0) -> bool:
        """Train until the recipe's last step or ``limit_s`` seconds; return whether it is finished.

        A checkpoint is written every ``every_s`` seconds, the model evaluated every ``evaluate_s``.
        """
        # Units that die leave denormal numbers in the momentum, on which processors are twenty times slower.
        torch.set_flush_denormal(True)
        keep_memory()
        train = self.recipe.train
        crops = self.task.material(self.data, train.seed)
        begin = saved = evaluated = time.monotonic()
        recent = 0.0
        batch: Any = None
        with ThreadPoolExecutor(1) as loader:
            coming = loader.submit(self._batch, crops, self.progress.step)
            while self.progress.step < train.steps and time.monotonic() - begin < limit_s:
                step = self.progress.step
                if batch is None or step % train.uses == 0:
                    batch = coming.result()
                    coming = loader.submit(self._batch, crops, step + train.uses)
                loss = self._step(batch)
                recent += 0.02 * (loss - recent) if recent else loss
                if step % 100 == 0:
                    log.info("step %d, loss %.4f, %.0f s", step, recent, time.monotonic() - begin)
                if time.monotonic() - saved > every_s:
                    if time.monotonic() - evaluated > evaluate_s:
                        self.evaluate()
                        evaluated = time.monotonic()
                    self.progress.seconds += time.monotonic() - saved
                    self._save()
                    saved = time.monotonic()
        self.evaluate()
        self.progress.seconds += time.monotonic() - saved
        self._save()
        return self.progress.step >= train.steps

    def _batch(self, crops: Any, step: int) -> Any:
        """Return the batch of a step; ``uses`` steps see the same crops."""
        train = self.recipe.train
        index = step // train.uses
        rng = np.random.default_rng((train.seed, index, 2))
        return self.task.batch(crops.batch(index, train.batch), rng)

    def _step(self, batch: Any) -> float:
        train = self.recipe.train
        step = self.progress.step
        # torch.manual_seed would record a stack trace for every device at every call.
        torch.default_generator.manual_seed(train.seed * 1_000_003 + step)
        loss = self.task.loss(self.model, batch, np.random.default_rng((train.seed, step, 1)), step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(learning_rate(train, step))
        weight = 1 - min(train.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(p, weight)
        self.progress.step += 1
        return float(loss.detach())

    def evaluate(self) -> dict[str, float]:
        """Evaluate the averaged weights on the validation folders, log the figures and keep them."""
        row = {"step": float(self.progress.step)}
        for folder in self.recipe.validation_folders:
            figures = self.task.evaluate(self.average, self.data / folder)
            row |= {f"{folder} {key}": value for key, value in figures.items()}
        self.progress.history.append(row)
        log.info("%s", ", ".join(f"{k} {v:.4f}" for k, v in row.items()))
        return row
