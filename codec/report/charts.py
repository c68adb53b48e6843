"""The drawings of a report, as inline SVG: stacked bars that may go back, and a histogram.

Colours of rows are classes of `report.css`, which has them for light and for dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

BAR_UNITS = 1000
"""Width of a bar in units of its drawing, which is stretched to the width of the page."""
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 480, 220
MOST_BINS = 12


def signed(value: float, digits: int = 1) -> str:
    """Return a number with separators of thousands and a proper minus; nothing is negative that shows as zero."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}" if any(digit in text for digit in "123456789") else "")


def bars(rows: Mapping[str, float], names: Mapping[str, str]) -> str:
    """Return bars on one axis: what is paid, what is returned of it, and what remains.

    What is paid is stacked from zero on. What is negative is stacked from the end of that back, so it ends
    where the third bar does: at the sum of all rows. Without negative rows there is one bar.

    Parameters
    ----------
    rows : mapping of str to float
        Bits of each row; its key is the class of its colour.
    names : mapping of str to str
        What a row is called.
    """
    paid = {key: value for key, value in rows.items() if value > 0}
    back = {key: value for key, value in rows.items() if value < 0}
    most, total = sum(paid.values()), sum(rows.values())
    left = min(0.0, total)
    unit = BAR_UNITS / ((most - left) or 1)

    def bar(label: str, kind: str, parts: Mapping[str, float], start: float) -> str:
        drawn, position = [], start
        for key, value in parts.items():
            begin = min(position, position + value)
            text = f"{names.get(key, key)}: {signed(value)} bits"
            drawn.append(
                f'<rect class="row-{key}" data-bits="{value!r}" x="{(begin - left) * unit:.3f}" y="0" '
                f'width="{abs(value) * unit:.3f}" height="20"><title>{escape(text)}</title></rect>'
            )
            position += value
        said = escape(f"{label}: {signed(sum(parts.values()))} bits")
        return (
            f'<span class="bar-label">{label}</span>'
            f'<svg class="bar" data-bar="{kind}" viewBox="0 0 {BAR_UNITS} 20" preserveAspectRatio="none" '
            f'role="img" aria-label="{said}">{"".join(drawn)}</svg>'
        )

    drawn = [bar("paid" if back else "file", "paid", paid, 0)]
    if back:
        drawn.append(bar("returned", "returned", back, most))
        drawn.append(bar("remains", "remains", {"file": total}, 0))
    axis = f"<span>{signed(left, 0)}</span><span>{signed(most, 0)} bits</span>"
    return f'<div class="bars">{"".join(drawn)}<div class="axis">{axis}</div></div>'


def histogram(values: Sequence[float], unit: str) -> str:
    """Return the numbers of images, of those with the ``values``, in intervals of round width."""
    step = _bin_width(values)
    bins = np.floor(np.array(values) / step).astype(np.int64)
    first = int(bins.min())
    counts = np.bincount(bins - first)
    edges = [(first + number) * step for number in range(len(counts) + 1)]
    left, right, top, bottom = 20, HISTOGRAM_WIDTH - 20, 26, HISTOGRAM_HEIGHT - 50
    width = (right - left) / len(counts)
    height = (bottom - top) / max(int(counts.max()), 1)
    decimals = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    drawn = []
    for number, count in enumerate(counts.tolist()):
        x, y = left + number * width, bottom - count * height
        text = f"{edges[number]:.{decimals}f} to {edges[number + 1]:.{decimals}f} {unit}: {count}"
        drawn.append(
            f'<rect class="bin" x="{x + 1:.2f}" y="{y:.2f}" width="{width - 2:.2f}" height="{bottom - y:.2f}">'
            f"<title>{escape(text)}</title></rect>"
        )
        if count:
            drawn.append(f'<text x="{x + width / 2:.2f}" y="{y - 6:.2f}" text-anchor="middle">{count}</text>')
    every = -(-len(edges) // 6)
    for number in range(0, len(edges), every):
        x = left + number * width
        text = f"{edges[number]:.{decimals}f}"
        drawn.append(f'<text x="{x:.2f}" y="{bottom + 20}" text-anchor="middle">{text}</text>')
    axis = f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    label = f'<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">{escape(unit)}</text>'
    said = escape(f"Histogram of {len(values)} images by {unit}, from {min(values):.4f} to {max(values):.4f}")
    return (
        f'<svg class="histogram" viewBox="0 0 {HISTOGRAM_WIDTH} {HISTOGRAM_HEIGHT}" role="img" '
        f'aria-label="{said}">{"".join(drawn)}{axis}{label}</svg>'
    )


def _bin_width(values: Sequence[float]) -> float:
    """Return a round width of intervals of which about `MOST_BINS` at most hold all values."""
    span = max(max(values) - min(values), 0.01 * max(values))
    rough = span / (MOST_BINS - 2)
    unit = 10.0 ** np.floor(np.log10(rough))
    return next(float(factor * unit) for factor in (1, 2, 5, 10) if factor * unit >= rough)
