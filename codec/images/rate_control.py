"""Finding the quality that meets a target, in few encodings."""

from __future__ import annotations

from collections.abc import Callable

BISECT_EVERY = 3
"""Each so many-th trial halves what is left, should interpolation creep."""


def last_below(measure: Callable[[int], float], most: int, target: float, slope: float) -> int:
    """Return the largest of 1..``most`` that measures at most ``target``, or 0.

    Parameters
    ----------
    measure : callable
        Grows with its argument, about linearly; called few times: six to nine of a hundred at most.
    slope : float
        How fast it grows, about: for a guess while only one side is known.
    """
    low, high = 0, most + 1
    values: dict[int, float] = {}
    while high - low > 1:
        guess = (low + high) // 2
        if values and (len(values) + 1) % BISECT_EVERY:
            if low in values and high in values:
                share = (target - values[low]) / max(values[high] - values[low], 1e-9)
                guess = low + int(share * (high - low))
            else:
                known = low if low in values else high
                guess = known + round((target - values[known]) / slope)
            guess = min(max(guess, low + 1), high - 1)
        values[guess] = measure(guess)
        if values[guess] <= target:
            low = guess
        else:
            high = guess
    return low
