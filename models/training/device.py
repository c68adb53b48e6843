"""What trains: a device and what it can do, processes, and the memory of this one."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

import torch

from models.errors import RecipeError
from models.noise import CPU
from models.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Machine:
    """What computes a training run.

    Attributes
    ----------
    device : torch.device
    bfloat16 : bool
        Whether most layers multiply in it.
    workers : int
        Processes that make crops; 0: a thread of this one does.
    ranks : Ranks
        The processes that train a run together; the first one writes.
    """

    device: torch.device = CPU
    bfloat16: bool = False
    workers: int = 0
    ranks: Ranks = ALONE


PLAIN = Machine()
"""One process on the CPU, in float32."""


def choose_device(name: str) -> torch.device:
    """Return a device by what ``--device`` says: auto, cpu or cuda. Of several processes each has its own.

    Raises
    ------
    RecipeError
        There is no GPU that torch can use.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RecipeError("--device cuda: torch sees no GPU, expected --device cpu")
    place = int(os.environ.get("LOCAL_RANK", 0))
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies faster in bfloat16, as far as is known without a trial."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def device_name(device: torch.device) -> str:
    """Return what people call a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def fast_memory() -> None:
    """Let numbers and memory be as fast as processors have them.

    Units that die leave denormal numbers in the momentum, on which processors are twenty times slower. The C library
    keeps freed memory for the next step: a third of a step went into new pages. Only glibc has this switch.
    """
    torch.set_flush_denormal(True)
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 25)  # the most that it takes
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 1 << 28)
