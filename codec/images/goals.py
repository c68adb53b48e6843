"""Goals: a caller asks for a lossless file, a largest error, a quality, a largest length, or a least PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from codec.errors import RequestError
from codec.format.headers import MAX_ERROR, MAX_QUALITY
from codec.system.sources import number, whole

DEFAULT_QUALITY = 65
EFFORTS = (1, 2, 3)
"""The efforts; 2 is the default. In lossy files 1 rounds y to the nearest integers, 2 rounds it to those that cost
least and refines y, and 3 searches long for a better y. In exact and near-lossless files 1 adapts no model, and exact
ones have a fast model; 3 searches longer than 2 for an adaptation."""
DEFAULT_EFFORT = 2


class Kind(Enum):
    """The kinds of goals, with the names of their parameters in `codec.compress`."""

    MAX_ERROR = "max_error"
    QUALITY = "quality"
    BPP = "target_bpp"
    SIZE = "target_size"
    PSNR = "min_psnr"


@dataclass(frozen=True)
class Goal:
    """What a caller asks of a file.

    Attributes
    ----------
    kind : Kind
    value : float
        The largest error (0 is lossless), the quality, bits a pixel, bytes, or dB, by the kind.
    """

    kind: Kind
    value: float


LOSSLESS = Goal(Kind.MAX_ERROR, 0)

_WHOLE = {Kind.MAX_ERROR: (0, MAX_ERROR), Kind.QUALITY: (1, MAX_QUALITY)}


def goal_of(*, lossless: bool = False, **given: float | None) -> Goal:
    """Return the goal that parameters of `codec.compress` name. Without any it is the default quality.

    Raises
    ------
    ValueError
        There are two goals, or the value is out of range.
    TypeError
        The value has a wrong type.
    """
    goals = [_checked(Kind(name), value) for name, value in given.items() if value is not None]
    if lossless:
        goals.append(LOSSLESS)
    if len(goals) > 1:
        raise RequestError("fidelity: expected one of lossless, " + ", ".join(kind.value for kind in Kind))
    return goals[0] if goals else Goal(Kind.QUALITY, DEFAULT_QUALITY)


def checked_effort(effort: int) -> int:
    """Return an effort as int; ValueError or TypeError if it is not one of `EFFORTS`."""
    if whole("effort", effort) not in EFFORTS:
        raise RequestError(f"effort: expected {EFFORTS[0]} to {EFFORTS[-1]}, got {effort}")
    return int(effort)


def _checked(kind: Kind, value: float) -> Goal:
    value = whole(kind.value, value) if kind in _WHOLE or kind == Kind.SIZE else number(kind.value, value)
    if kind in _WHOLE:
        low, high = _WHOLE[kind]
        if not low <= value <= high:
            raise RequestError(f"{kind.value}: expected {low} to {high}, got {value}")
    elif not (value > 0 and math.isfinite(value)):
        raise RequestError(f"{kind.value}: expected a number above 0, got {value}")
    return Goal(kind, value)
