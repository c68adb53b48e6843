"""The geometry of a report's drawings: stacked bars that may go back, and a histogram.

Templates draw them as inline SVG. Colours of rows are classes of `page.css`, which has them for light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BAR_UNITS = 1000
"""Width of a bar in units of its drawing, which is stretched to the width of the page."""
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 480, 220
HISTOGRAM_LEFT, HISTOGRAM_RIGHT = 20, HISTOGRAM_WIDTH - 20
HISTOGRAM_TOP, HISTOGRAM_BOTTOM = 26, HISTOGRAM_HEIGHT - 50
MOST_BINS = 12
MOST_TICKS = 6


def signed(value: float, digits: int = 1) -> str:
    """Return a number with separators of thousands and a proper minus; nothing is negative that shows as zero."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}" if any(digit in text for digit in "123456789") else "")


@dataclass(frozen=True)
class Part:
    """A row of the ledger in a bar: ``row`` is the class of its colour, ``x`` and ``width`` are in `BAR_UNITS`."""

    row: str
    name: str
    bits: float
    x: float
    width: float


@dataclass(frozen=True)
class Bar:
    """A bar: ``kind`` is "paid", "returned" or "remains", ``bits`` the sum of its parts."""

    kind: str
    label: str
    bits: float
    parts: list[Part]


@dataclass(frozen=True)
class Bars:
    """Bars on one axis, which goes from ``low`` to ``high`` bits."""

    bars: list[Bar]
    low: float
    high: float
    width: int = BAR_UNITS


def bars(rows: Mapping[str, float], names: Mapping[str, str]) -> Bars:
    """Return bars on one axis: what is paid, what is returned of it, and what remains.

    What is paid is stacked from zero on. What is negative is stacked from the end of that back, so it ends
    where the third bar does: at the sum of all rows. Without negative rows there is one bar.

    Parameters
    ----------
    rows : mapping of str to float
        Bits of each row.
    names : mapping of str to str
        What a row is called.
    """
    paid = {key: value for key, value in rows.items() if value > 0}
    back = {key: value for key, value in rows.items() if value < 0}
    most, total = sum(paid.values()), sum(rows.values())
    low = min(0.0, total)
    unit = BAR_UNITS / ((most - low) or 1)

    def bar(label: str, kind: str, parts: Mapping[str, float], start: float) -> Bar:
        drawn, position = [], start
        for key, value in parts.items():
            begin = min(position, position + value)
            drawn.append(Part(key, names.get(key, key), value, (begin - low) * unit, abs(value) * unit))
            position += value
        return Bar(kind, label, sum(parts.values()), drawn)

    drawn = [bar("paid" if back else "file", "paid", paid, 0)]
    if back:
        drawn.append(bar("returned", "returned", back, most))
        drawn.append(bar("remains", "remains", {"file": total}, 0))
    return Bars(drawn, low, most)


@dataclass(frozen=True)
class Bin:
    """An interval of a histogram: ``low`` and ``high`` are texts, its box begins at (x, y) and ends at the axis."""

    low: str
    high: str
    count: int
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Tick:
    """A number at the axis of a histogram."""

    x: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """Bins and ticks of ``count`` values from ``low`` to ``high``."""

    bins: list[Bin]
    ticks: list[Tick]
    count: int
    low: float
    high: float
    width: int = HISTOGRAM_WIDTH
    height: int = HISTOGRAM_HEIGHT
    left: int = HISTOGRAM_LEFT
    right: int = HISTOGRAM_RIGHT
    bottom: int = HISTOGRAM_BOTTOM


def histogram(values: Sequence[float]) -> Histogram:
    """Return the numbers of values in intervals of round width."""
    step = _bin_width(values)
    indices = np.floor(np.array(values) / step).astype(np.int64)
    first = int(indices.min())
    counts = np.bincount(indices - first)
    decimals = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    edges = [f"{(first + number) * step:.{decimals}f}" for number in range(len(counts) + 1)]
    width = (HISTOGRAM_RIGHT - HISTOGRAM_LEFT) / len(counts)
    height = (HISTOGRAM_BOTTOM - HISTOGRAM_TOP) / max(int(counts.max()), 1)
    x = [HISTOGRAM_LEFT + number * width for number in range(len(edges))]
    bins = [
        Bin(edges[number], edges[number + 1], count, x[number], HISTOGRAM_BOTTOM - count * height, width)
        for number, count in enumerate(counts.tolist())
    ]
    every = -(-len(edges) // MOST_TICKS)
    ticks = [Tick(x[number], edges[number]) for number in range(0, len(edges), every)]
    return Histogram(bins, ticks, len(values), min(values), max(values))


def _bin_width(values: Sequence[float]) -> float:
    """Return a round width of intervals of which about `MOST_BINS` at most hold all values."""
    span = max(max(values) - min(values), 0.01 * max(values))
    rough = span / (MOST_BINS - 2)
    unit = 10.0 ** np.floor(np.log10(rough))
    return next(float(factor * unit) for factor in (1, 2, 5, 10) if factor * unit >= rough)
