"""What a file is asked to be: exact, within an error, of a quality, or within a length or an error in the mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from codec.errors import RequestError
from codec.format.headers import MAX_ERROR, MAX_QUALITY
from codec.system.sources import number, whole

DEFAULT_QUALITY = 65
EFFORTS = (1, 2, 3)
"""Of lossy files: 1 takes the nearest numbers; 2, the default, those that cost least; 3 refines y for them, too."""
DEFAULT_EFFORT = 2


class Kind(Enum):
    """What a goal's value is, by the names that `codec.compress` has for it."""

    MAX_ERROR = "max_error"
    QUALITY = "quality"
    BPP = "target_bpp"
    SIZE = "target_size"
    PSNR = "min_psnr"


@dataclass(frozen=True)
class Goal:
    """What a file is asked to be.

    Attributes
    ----------
    kind : Kind
    value : float
        A largest error (0 is lossless), a quality, bits of the file per pixel, bytes, or dB.
    """

    kind: Kind
    value: float


_WHOLE = {Kind.MAX_ERROR: (0, MAX_ERROR), Kind.QUALITY: (1, MAX_QUALITY)}


def goal_of(*, lossless: bool = False, **given: float | None) -> Goal:
    """Return the goal of `codec.compress`'s parameters; without any it is the default quality.

    Raises
    ------
    ValueError, TypeError
        Two goals, or one out of range.
    """
    goals = [_checked(Kind(name), value) for name, value in given.items() if value is not None]
    if lossless:
        goals.append(Goal(Kind.MAX_ERROR, 0))
    if len(goals) > 1:
        raise RequestError("fidelity: expected one of lossless, " + ", ".join(kind.value for kind in Kind))
    return goals[0] if goals else Goal(Kind.QUALITY, DEFAULT_QUALITY)


def checked_effort(effort: int) -> int:
    """Return an effort as int; ValueError or TypeError if it is none of `EFFORTS`."""
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
