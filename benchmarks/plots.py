"""Plots of rate against quality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.quality import Curve

LIMIT_BPP = 3.0
"""Largest rate in plots. Photographs look like their originals far below it."""


def plot_curves(
    path: Path, label: str, curves: Mapping[str, Curve], bold: str, published: Mapping[str, Curve]
) -> list[Path]:
    """Draw curves up to `LIMIT_BPP` and return the files, PNG and SVG.

    Parameters
    ----------
    path : Path
        The files' path without suffix.
    label : str
        Label of the quality's axis, with its unit.
    curves : mapping of names to points (bpp, quality)
    bold : str
        The curve that is drawn wider, if it is there.
    published : mapping of names to points
        Drawn dashed.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(*_drawn(curve), marker="o", markersize=4, linewidth=3 if name == bold else 1.5, label=name)
    for name, curve in published.items():
        axes.plot(*_drawn(curve), marker="x", markersize=5, linewidth=1, linestyle="--", label=name)
    axes.set_xlim(0, LIMIT_BPP)
    axes.set_xlabel("rate, bits per pixel")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    files = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        figure.savefig(file, dpi=150)
    return files


def _drawn(curve: Curve) -> tuple[list[float], list[float]]:
    """Return the rates and qualities up to the first beyond the limit, so that the line runs to the frame."""
    points = sorted(curve)
    count = 1 + sum(rate <= LIMIT_BPP for rate, _ in points)
    return [rate for rate, _ in points[:count]], [quality for _, quality in points[:count]]
