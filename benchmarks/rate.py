"""Sizes of whole files, of our codec and of others, over folders of images.

    python -m benchmarks.rate FOLDER... [--lossless] [--max-error D ...] [--effort E ...]
                              [--rivals png,webp,jxl7,jxl9] [--json FILE] [--markdown FILE] [--readme]

All files are decoded and compared with their source. For near-lossless comparisons, other codecs code the pixels
quantised with the step 2 d + 1. All images are coded without metadata. Figures are the bits of the whole file for each
sample of the image (bpsp), averaged over the images.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

import codec
from benchmarks.common import (
    OURS,
    REFERENCE,
    RIVALS,
    find_files,
    largest_error,
    load_images,
    markdown_table,
    quantise,
    sample_count,
)
from codec.images.goals import DEFAULT_EFFORT, EFFORTS

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- rate:begin -->", "<!-- rate:end -->"


@dataclass
class Result:
    """The result of one folder at one fidelity and effort.

    Attributes
    ----------
    folder : str
    max_error : int
    effort : int
    rows : list of dict
        A row for each image: file, samples, bytes by codec, whether it was stored, largest error, seconds.
    """

    folder: str
    max_error: int
    effort: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fidelity(self) -> str:
        """Fidelity and effort, for people."""
        fidelity = f"within ±{self.max_error}" if self.max_error else "lossless"
        return fidelity if self.effort == DEFAULT_EFFORT else f"{fidelity}, effort {self.effort}"

    @property
    def codecs(self) -> list[str]:
        """Names of the codecs that were run, ours first."""
        return list(self.rows[0]["bytes"])

    def total_bytes(self, name: str) -> int:
        """Return the sum of the lengths of a codec's files in bytes."""
        return sum(row["bytes"][name] for row in self.rows)

    def bpsp(self, name: str) -> float:
        """Return a codec's bits per sample, averaged over images."""
        return float(np.mean([8 * row["bytes"][name] / row["samples"] for row in self.rows]))

    def percent(self, name: str = OURS) -> float | None:
        """Return by how many percent a codec's mean bpsp is above (+) or below (-) the reference's."""
        if REFERENCE not in self.codecs:
            return None
        return 100 * (self.bpsp(name) / self.bpsp(REFERENCE) - 1)

    def summary(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {
            "folder": self.folder,
            "max_error": self.max_error,
            "effort": self.effort,
            "images": len(self.rows),
            "mean_bpsp": {name: self.bpsp(name) for name in self.codecs},
            "total_bytes": {name: self.total_bytes(name) for name in self.codecs},
            "percent_of_bpsp_against_jpeg_xl_9": self.percent(),
            "stored": sum(row["stored"] for row in self.rows),
            "exact": sum(row["error"] == 0 for row in self.rows),
            "largest_error": max(row["error"] for row in self.rows),
            "encode_s": sum(row["encode_s"] for row in self.rows),
            "decode_s": sum(row["decode_s"] for row in self.rows),
            "files": self.rows,
        }


@cache
def rival_bytes(names: tuple[str, ...], file: Path, max_error: int) -> dict[str, int]:
    """Return the lengths of other codecs' files of an image, quantised for near-lossless comparisons. All are checked.

    Raises
    ------
    RuntimeError
        A codec's decoded image differs.
    """
    ((_, image),) = load_images(file)
    source = quantise(image, max_error)
    sizes = {}
    for name in names:
        coded = RIVALS[name].encode(source, -1)
        if largest_error(source, RIVALS[name].decode(coded, -1)):
            raise RuntimeError(f"{file.name}: {RIVALS[name].name} is not lossless")
        sizes[name] = len(coded)
    return sizes


def measure_folder(folder: Path, max_error: int, effort: int, rivals: tuple[str, ...]) -> Result:
    """Return the sizes of a folder's images at one fidelity and effort. Each file is decoded and checked.

    Raises
    ------
    RuntimeError
        A codec's decoded image is further from the original than it may be.
    """
    result = Result(folder.name, max_error, effort)
    count = len(find_files(folder))
    for file, image in load_images(folder):
        begin = time.perf_counter()
        data = codec.compress(image, max_error=max_error, effort=effort)
        middle = time.perf_counter()
        decoded = codec.decompress(data)
        end = time.perf_counter()
        error = largest_error(image, decoded)
        if error > max_error or decoded.mode != image.mode:
            raise RuntimeError(f"{file.name}: {OURS} is off by {error}, the limit is {max_error}")
        sizes = {OURS: len(data)} | rival_bytes(rivals, file, max_error)
        samples = sample_count(image)
        result.rows.append(
            {
                "file": file.name,
                "samples": samples,
                "bytes": sizes,
                "stored": codec.info(data).fidelity == "stored",
                "error": error,
                "encode_s": middle - begin,
                "decode_s": end - middle,
            }
        )
        figures = ", ".join(f"{name} {8 * size / samples:.3f}" for name, size in sizes.items())
        print(f"{folder.name} {result.fidelity} {len(result.rows)}/{count} {file.name}: {figures}", file=sys.stderr)
    return result


def _title(name: str) -> str:
    return f"**{OURS}**" if name == OURS else RIVALS[name].name


def rate_table(results: list[Result]) -> str:
    """Return the Markdown table of mean bpsp, with the results of the checks."""
    codecs = results[0].codecs
    rows = [["images", "fidelity", *map(_title, codecs)]]
    if REFERENCE in codecs:
        rows[0].append("against JPEG XL effort 9")
    rows[0] += ["stored", "bit-exact", "largest error"]
    for result in results:
        facts = result.summary()
        row = [f"{result.folder} ({facts['images']})", result.fidelity]
        row += [f"**{result.bpsp(n):.3f}**" if n == OURS else f"{result.bpsp(n):.3f}" for n in codecs]
        percent = result.percent()
        if percent is not None:
            row.append(f"{percent:+.1f} %")
        row += [str(facts["stored"]), f"{facts['exact']}/{facts['images']}", str(facts["largest_error"])]
        rows.append(row)
    return markdown_table(rows)


def size_table(results: list[Result]) -> str:
    """Return the Markdown table of total bytes."""
    rows = [["images", "fidelity", *map(_title, results[0].codecs)]]
    rows += [[r.folder, r.fidelity, *(f"{r.total_bytes(name):,}" for name in r.codecs)] for r in results]
    return markdown_table(rows)


def report(results: list[Result]) -> str:
    """Return both tables, with their explanation."""
    return (
        "Mean over images of bits per sample of the whole file:\n\n"
        f"{rate_table(results)}\n\nBytes of all files:\n\n{size_table(results)}\n"
    )


def fill_readme(text: str, table: str) -> str:
    """Return the README with the table between its two marks.

    Raises
    ------
    ValueError
        The marks are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md: expected the marks {BEGIN} and {END}")
    return f"{text.split(BEGIN)[0]}{BEGIN}\n{table}\n{END}{text.split(END)[1]}"


def _rivals(names: str) -> tuple[str, ...]:
    chosen = tuple(name for name in names.split(",") if name and name != "none")
    unknown = [name for name in chosen if name not in RIVALS]
    if unknown:
        raise click.BadParameter(f"expected some of {','.join(RIVALS)} or none, got {','.join(unknown)}")
    return chosen


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--lossless", is_flag=True, help="Measure lossless files; the default if no --max-error is given.")
@click.option("--max-error", "max_errors", multiple=True, type=click.IntRange(1, 10), help="May be repeated.")
@click.option(
    "--effort",
    "efforts",
    multiple=True,
    type=click.IntRange(EFFORTS[0], EFFORTS[-1]),
    default=[DEFAULT_EFFORT],
    show_default=True,
    help="May be repeated.",
)
@click.option("--rivals", default=",".join(RIVALS), show_default=True, help="Other codecs, or none.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures, by file too.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables.")
@click.option("--readme", is_flag=True, help="Write the table of rates into README.md.")
def main(
    folders: tuple[Path, ...],
    lossless: bool,
    max_errors: tuple[int, ...],
    efforts: tuple[int, ...],
    rivals: str,
    json_file: Path | None,
    markdown: Path | None,
    readme: bool,
) -> None:
    """Print the lengths of our files and of other codecs' files."""
    names = _rivals(rivals)
    errors = [0] * (lossless or not max_errors) + list(max_errors)
    cases = product(folders, errors, efforts)
    results = [measure_folder(folder, error, effort, names) for folder, error, effort in cases]
    results = [result for result in results if result.rows]
    if not results:
        raise click.ClickException("no image found")
    print(report(results))
    if json_file:
        json_file.write_text(json.dumps([r.summary() for r in results], indent=1) + "\n", encoding="utf-8")
    if markdown:
        markdown.write_text(report(results), encoding="utf-8")
    if readme:
        README.write_text(fill_readme(README.read_text(encoding="utf-8"), rate_table(results)), encoding="utf-8")


if __name__ == "__main__":
    main()
