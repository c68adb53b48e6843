"""Rate and distortion of lossy files, of our codec and of others, over a folder of images.

    python -m benchmarks.rd FOLDER [--codec NAME ...] [--limit N] [--json FILE] [--markdown FILE]
                            [--plots DIR [--published]]

Every file is written and read back, in memory. Figures are means over all images at each quality setting:

- bpp: bits of the whole file over the image's own width times height;
- PSNR in dB, of RGB: of each image from the mean squared error over its three channels, then the mean of
  the images' decibels. An image that comes back exactly has an infinite PSNR, so the mean is infinite too
  ("inf", null in JSON), and the setting takes no part in the PSNR's plot and BD-rates;
- MS-SSIM of RGB, the mean of the images'; in dB it is -10 log10(1 - that mean);
- SSIMULACRA2, the mean of the images', in points up to 100. BD-rates and plots take the points as they are.

Images are coded without metadata, as RGB. Those with transparency, and those too small for SSIMULACRA2,
are left out and named on stderr. BD-rates are between the mean curves, see `benchmarks.quality.bd_rate`.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.common import OURS, find_files, load_images, markdown_table
from benchmarks.lossy import CODECS, PUBLISHED_PSNR_DB
from benchmarks.plots import plot_curves
from benchmarks.quality import SSIMULACRA2_SIDE_PX, bd_rate, ms_ssim, ms_ssim_db, ssimulacra2
from codec.images.metrics import psnr

BD_RANGE_BPP = (0.15, 2.0)
"""Range of BD-rates. Below it, photographs are hardly worth looking at; above it, they look like their originals."""


@dataclass(frozen=True)
class Coded:
    """The figures of one image at one setting. ``psnr_db`` is inf if it came back exactly."""

    file: str
    bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    ssimulacra2: float

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {**vars(self), "psnr_db": _finite(self.psnr_db)}


@dataclass
class Point:
    """The mean figures of all images at one setting.

    Attributes
    ----------
    codec : str
        Key of `benchmarks.lossy.CODECS`.
    quality : int
        The setting.
    images : list of Coded
    """

    codec: str
    quality: int
    images: list[Coded] = field(default_factory=list)

    @property
    def bpp(self) -> float:
        """Mean rate."""
        return fmean(image.bpp for image in self.images)

    @property
    def psnr_db(self) -> float:
        """Mean of the images' PSNR; inf if one came back exactly."""
        return fmean(image.psnr_db for image in self.images)

    @property
    def ms_ssim(self) -> float:
        """Mean MS-SSIM."""
        return fmean(image.ms_ssim for image in self.images)

    @property
    def ms_ssim_db(self) -> float:
        """The mean MS-SSIM in decibels; inf if it is 1."""
        return ms_ssim_db(self.ms_ssim)

    @property
    def ssimulacra2(self) -> float:
        """Mean SSIMULACRA2."""
        return fmean(image.ssimulacra2 for image in self.images)

    @property
    def exact(self) -> int:
        """Number of images that came back exactly."""
        return sum(math.isinf(image.psnr_db) for image in self.images)

    def summary(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {
            "codec": self.codec,
            "quality": self.quality,
            "bpp": self.bpp,
            "psnr_db": _finite(self.psnr_db),
            "ms_ssim": self.ms_ssim,
            "ms_ssim_db": _finite(self.ms_ssim_db),
            "ssimulacra2": self.ssimulacra2,
            "exact": self.exact,
            "images": [image.as_dict() for image in self.images],
        }


@dataclass(frozen=True)
class Metric:
    """A quality that rises with rate: its name in tables, its axis in plots, its value at a point."""

    name: str
    label: str
    value: Callable[[Point], float]


METRICS = {
    "psnr": Metric("PSNR", "PSNR of RGB, dB", lambda point: point.psnr_db),
    "ms_ssim": Metric("MS-SSIM", "-10 log10(1 - MS-SSIM of RGB), dB", lambda point: point.ms_ssim_db),
    "ssimulacra2": Metric("SSIMULACRA2", "SSIMULACRA2, points", lambda point: point.ssimulacra2),
}


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes
    ----------
    command : str
        The command line that repeats it.
    points : list of Point
        In the order of codecs, then qualities.
    """

    command: str
    points: list[Point]

    @property
    def codecs(self) -> list[str]:
        """The codecs that were run."""
        return list(dict.fromkeys(point.codec for point in self.points))

    def curve(self, codec: str, metric: str) -> list[tuple[float, float]]:
        """Return the rates and qualities of a codec, without settings whose mean is infinite."""
        points = [(point.bpp, METRICS[metric].value(point)) for point in self.points if point.codec == codec]
        return [point for point in points if math.isfinite(point[1])]

    @cached_property
    def bd_rates(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """BD-rates in percent by metric, codec and rival: any other codec but ours.

        If two curves have no BD-rate, the value is None, and the reason is printed on stderr.
        """
        rivals = [codec for codec in self.codecs if codec != OURS]
        return {
            metric: {c: {rival: self._bd_rate(c, rival, metric) for rival in rivals if rival != c} for c in self.codecs}
            for metric in METRICS
        }

    def _bd_rate(self, codec: str, rival: str, metric: str) -> float | None:
        try:
            return bd_rate(self.curve(rival, metric), self.curve(codec, metric), *BD_RANGE_BPP)
        except ValueError as error:
            print(f"no BD-rate of {codec} against {rival}, {METRICS[metric].name}: {error}", file=sys.stderr)
            return None

    def summary(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {
            "command": self.command,
            "codecs": {codec: CODECS[codec].name for codec in self.codecs},
            "points": [point.summary() for point in self.points],
            "bd_range_bpp": BD_RANGE_BPP,
            "bd_rate_percent": self.bd_rates,
        }


def _finite(value: float) -> float | None:
    """Return the value, or None for infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def rgb_images(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield names and RGB images. Images that cannot be measured are named on stderr."""
    for file, image in load_images(folder):
        if image.has_transparency_data:
            print(f"left out: {file.name}: expected an image without transparency", file=sys.stderr)
        elif min(image.size) <= SSIMULACRA2_SIDE_PX:
            print(
                f"left out: {file.name}: expected sides over {SSIMULACRA2_SIDE_PX} pixels for SSIMULACRA2, "
                f"got {image.width}x{image.height}",
                file=sys.stderr,
            )
        else:
            yield file.name, image.convert("RGB")


def measure(name: str, image: Image.Image, codec: str, quality: int) -> Coded:
    """Return a codec's figures for an RGB image at a quality. The file is written and read back.

    Raises
    ------
    RuntimeError
        The decoded image is not RGB, or has another size.
    """
    data = CODECS[codec].encode(image, quality)
    decoded = CODECS[codec].decode(data)
    if (decoded.mode, decoded.size) != (image.mode, image.size):
        raise RuntimeError(f"{name}: {codec} gave back {decoded.mode} {decoded.size} for {image.mode} {image.size}")
    pair = np.asarray(image), np.asarray(decoded)
    bpp = 8 * len(data) / (image.width * image.height)
    return Coded(name, len(data), bpp, psnr(*pair), ms_ssim(*pair), ssimulacra2(*pair))


def measure_folder(folder: Path, codecs: Sequence[str], limit: int | None) -> list[Point]:
    """Return the points of all codecs over a folder's images, or over the first ``limit``. No images give no points."""
    points = [Point(codec, quality) for codec in codecs for quality in CODECS[codec].qualities]
    count = min(len(find_files(folder)), limit or sys.maxsize)
    with tqdm(total=count * len(points), unit="file", file=sys.stderr, leave=False, disable=None) as bar:
        for name, image in islice(rgb_images(folder), limit):
            for point in points:
                bar.set_postfix_str(f"{name} {point.codec} {point.quality}", refresh=False)
                point.images.append(measure(name, image, point.codec, point.quality))
                bar.update()
    return [point for point in points if point.images]


def _title(codec: str) -> str:
    return f"**{OURS}**" if codec == OURS else CODECS[codec].name


def curve_table(result: Result) -> str:
    """Return the Markdown table of all points."""
    rows = [["codec", "quality", "bpp", "PSNR, dB", "MS-SSIM", "MS-SSIM, dB", "SSIMULACRA2", "bit-exact"]]
    for point in result.points:
        row = [_title(point.codec), str(point.quality), f"{point.bpp:.3f}", f"{point.psnr_db:.2f}"]
        row += [f"{point.ms_ssim:.4f}", f"{point.ms_ssim_db:.2f}", f"{point.ssimulacra2:.1f}"]
        rows.append([*row, f"{point.exact}/{len(point.images)}"])
    return markdown_table(rows)


def bd_table(result: Result, metric: str) -> str:
    """Return the Markdown table of BD-rates, with a row for each tested codec and a column for each reference."""
    rivals = [codec for codec in result.codecs if codec != OURS]
    rows = [[f"BD-rate, {METRICS[metric].name}", *(f"against {_title(rival)}" for rival in rivals)]]
    for codec, row in result.bd_rates[metric].items():
        cells = [_percent(row[rival]) if rival in row else "" for rival in rivals]
        rows.append([_title(codec), *cells])
    return markdown_table(rows)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:+.1f} %"


def report(result: Result) -> str:
    """Return all tables, with their explanation."""
    low, high = BD_RANGE_BPP
    images = len(result.points[0].images)
    tables = "\n\n".join(bd_table(result, metric) for metric in METRICS)
    return (
        f"`{result.command}`\n\n"
        f"Bits per pixel of the whole file, PSNR, MS-SSIM and SSIMULACRA2 of RGB, means over the images ({images}):\n\n"
        f"{curve_table(result)}\n\n"
        f"Rate at equal quality between {low:g} and {high:g} bits per pixel:\n\n{tables}\n"
    )


def write_plots(result: Result, folder: Path, published: bool) -> None:
    """Draw quality against rate, a PNG and an SVG for each metric."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, metric in METRICS.items():
        curves = {CODECS[codec].name: result.curve(codec, key) for codec in result.codecs}
        others = PUBLISHED_PSNR_DB if published and key == "psnr" else {}
        plot_curves(folder / key, metric.label, curves, CODECS[OURS].name, others)


def command_line(folder: Path, codecs: Sequence[str], limit: int | None) -> str:
    """Return the command line that repeats the figures. The folder stands in it by its name alone."""
    words = ["python", "-m", "benchmarks.rd", folder.resolve().name]
    if list(codecs) != list(CODECS):
        words += [word for codec in codecs for word in ("--codec", codec)]
    if limit is not None:
        words += ["--limit", str(limit)]
    return shlex.join(words)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--codec", "names", multiple=True, type=click.Choice(list(CODECS)), help="May be repeated; else all.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N images only.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures, by file too.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder for the plots.")
@click.option("--published", is_flag=True, help="Draw published figures too, which are Kodak's.")
def main(
    folder: Path,
    names: tuple[str, ...],
    limit: int | None,
    json_file: Path | None,
    markdown: Path | None,
    plots: Path | None,
    published: bool,
) -> None:
    """Print rate and quality of our lossy files and of other codecs'."""
    if published and not plots:
        raise click.UsageError("--published needs --plots")
    codecs = list(dict.fromkeys(names)) or list(CODECS)
    try:
        result = Result(command_line(folder, codecs, limit), measure_folder(folder, codecs, limit))
        if not result.points:
            raise click.ClickException(f"{folder}: no image found that can be measured")
        print(report(result))
        if json_file:
            json_file.write_text(json.dumps(result.summary(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if markdown:
            markdown.write_text(report(result), encoding="utf-8")
        if plots:
            write_plots(result, plots, published)
    except OSError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
