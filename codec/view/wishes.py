"""What a page asks for: a file of a picture, of a quality or within an error, at an effort."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codec.errors import RequestError
from codec.images.goals import DEFAULT_EFFORT, LOSSLESS, Goal, Kind, checked_effort, goal_of

_KINDS = (Kind.QUALITY, Kind.MAX_ERROR)
"""The goals that a page offers."""


@dataclass(frozen=True)
class Wish:
    """What a file is to be.

    Attributes
    ----------
    goal : Goal
        A quality, or a largest error.
    effort : int
    """

    goal: Goal
    effort: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of `codec.compress`."""
        return {self.goal.kind.value: int(self.goal.value), "effort": self.effort}

    def command(self, name: str) -> str:
        """Return the command line that makes the file of an image, whose name is given."""
        goal = ["--lossless"] if self.goal == LOSSLESS else [_option(self.goal.kind), str(int(self.goal.value))]
        effort = [] if self.effort == DEFAULT_EFFORT else ["--effort", str(self.effort)]
        return shlex.join(["vlae", "compress", name, *goal, *effort])


def _option(kind: Kind) -> str:
    return f"--{kind.value.replace('_', '-')}"


def wish_of(arguments: Mapping[str, str]) -> Wish | None:
    """Return the wish that the arguments of an address stand for; None if they name no goal.

    Raises
    ------
    RequestError
        There are two goals, or a value is no whole number, or out of range.
    """
    given: dict[str, Any] = {
        kind.value: _whole(kind.value, arguments[kind.value]) for kind in _KINDS if kind.value in arguments
    }
    if not given:
        return None
    effort = arguments.get("effort", str(DEFAULT_EFFORT))
    return Wish(goal_of(**given), checked_effort(_whole("effort", effort)))


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RequestError(f"{name}: expected a whole number, got {text!r}")
    return int(text)
