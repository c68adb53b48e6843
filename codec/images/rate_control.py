"""Rate control: the search for the quality that meets a target, with few encodings."""

from __future__ import annotations

from collections.abc import Callable

BISECT_EVERY = 3
"""Each third trial halves the range that is left, because interpolation alone may be slow."""


def last_below(measure: Callable[[int], float], most: int, target: float, slope: float) -> int:
    """Return the largest number in 1..``most`` whose ``measure`` is at most ``target``, or 0 if there is none.

    Parameters
    ----------
    measure : callable
        Maps an int to a float. It should grow about linearly. With ``most`` = 100 it is called at most nine times.
    most : int
    target : float
    slope : float
        About how much ``measure`` grows for each step. It serves guesses while only one bound is known.
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
