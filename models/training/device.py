"""The device and the processes that train, and settings of this process's memory."""

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
    """The resources that compute a training run.

    Attributes
    ----------
    device : torch.device
    bfloat16 : bool
        Whether most layers multiply in bfloat16.
    workers : int
        Number of processes that make crops. With 0, a thread of this process makes them.
    ranks : Ranks
        The processes that train the run together. The first one writes files.
    """

    device: torch.device = CPU
    bfloat16: bool = False
    workers: int = 0
    ranks: Ranks = ALONE


PLAIN = Machine()
"""A single process on the CPU, in float32."""


def choose_device(name: str) -> torch.device:
    """Return the device that ``--device`` names: auto, cpu or cuda. Each of several processes gets its own GPU.

    GPUs then convolve float32 as such. With the ten bits of a mantissa that they use otherwise, structural similarity,
    which subtracts squares of samples, would be noise.

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
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", place)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device should multiply faster in bfloat16. It is not measured."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def device_name(device: torch.device) -> str:
    """Return the name of a device for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def fast_memory() -> None:
    """Flush denormal numbers to zero, and make the C library keep freed memory.

    Units that die leave denormal numbers in the momentum, with which processors are twenty times slower. Without the
    second setting, a third of the time of a step goes into new pages of memory. Only glibc has it.
    """
    torch.set_flush_denormal(True)
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 25)  # the largest value that it accepts
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 1 << 28)
