"""Time and memory of our codec, compared with JPEG XL effort 9 and constriction in the same run.

    python -m benchmarks.speed FILE|FOLDER... [--quality Q] [--effort E] [--rounds 3] [--threads 2] [--no-large]

- Encoders and decoders take turns (ours, theirs, ours, theirs, ...) on each image, warm, in memory, with the same
  number of threads. The table has the ratio of the medians, and the median of the pairs' ratios. Our files are
  lossless, or lossy with ``--quality``; then both times are compared with those of JPEG XL's lossless encoder.
- Peak memory is the largest resident set of a fresh process that compresses, or decompresses, one file:
  the first image resized to 768x512 and, with grain, to 6000x4000.
- Start-up is the time of ``vlae info FILE``. Compilation is the time by which the first process, with an empty cache of
  kernels, takes longer than the second.
- Nanoseconds per symbol are those of single-threaded push and pop of 8-bit symbols, see `symbol_times`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import codec
from benchmarks.common import REFERENCE, RIVALS, load_images, markdown_table
from codec.entropy.bits_back import Codec, mixture, uniform
from codec.entropy.mixtures import sample_grid
from codec.entropy.rans import empty_message
from codec.images.goals import DEFAULT_EFFORT

SYMBOLS = 1_000_000
REPEATS = 5
CHILD = """
import json, resource, sys
import codec
action, source, target, threads, fidelity = sys.argv[1:]
if action == "compress":
    from codec.image_files import loading
    data = codec.compress(loading.load_image(source), threads=int(threads), **json.loads(fidelity))
    open(target, "wb").write(data)
else:
    codec.decompress(open(source, "rb").read(), threads=int(threads))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call took, and its result."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def pair_times(image: Image.Image, fidelity: dict[str, Any], threads: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of our encoder, their encoder, our decoder and their decoder, which take turns."""
    rival = RIVALS[REFERENCE]
    names = ("encode", "rival_encode", "decode", "rival_decode")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        seconds, ours = timed(lambda: codec.compress(image, threads=threads, **fidelity))
        times["encode"].append(seconds)
        seconds, theirs = timed(lambda: rival.encode(image, threads))
        times["rival_encode"].append(seconds)
    for _ in range(rounds):
        times["decode"].append(timed(lambda: codec.decompress(ours, threads=threads))[0])
        times["rival_decode"].append(timed(lambda: rival.decode(theirs, threads))[0])
    return times


def codec_rows(images: list[Image.Image], fidelity: dict[str, Any], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Return medians and ratios of encoding and decoding over all images and rounds."""
    warm = images[0].crop((0, 0, min(images[0].width, 96), min(images[0].height, 160)))
    pair_times(warm, fidelity, threads, 1)
    times: dict[str, list[float]] = {}
    for number, image in enumerate(images):
        for name, values in pair_times(image, fidelity, threads, rounds).items():
            times.setdefault(name, []).extend(values)
        print(f"{number + 1}/{len(images)} images", file=sys.stderr)
    rows = []
    for name in ("encode", "decode"):
        rival = "encode" if "quality" in fidelity else name
        ours, theirs = times[name], times[f"rival_{rival}"]
        rows.append(
            {
                "what": name if rival == name else f"{name}, beside its encoder",
                "ours_s": median(ours),
                "jpeg_xl_9_s": median(theirs),
                "ratio_of_medians": median(ours) / median(theirs),
                "median_of_ratios": median(a / b for a, b in zip(ours, theirs, strict=True)),
            }
        )
    return rows


def _python(arguments: list[str], **environment: str) -> tuple[float, str]:
    """Return the seconds that a fresh interpreter took, and what it printed."""
    begin = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    return time.perf_counter() - begin, done.stdout


def enlarged(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the photograph at another size, with grain. Without it, repetitions or blur would be stored as PNG."""
    array = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    grain = np.random.default_rng(0).normal(0, 3, array.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(array + grain), 0, 255).astype(np.uint8))


def memory_rows(
    photo: Image.Image, fidelity: dict[str, Any], sizes: list[tuple[int, int]], threads: int, folder: Path
) -> list[dict[str, Any]]:
    """Return peak memory and time of fresh processes that compress and decompress one file."""
    rows = []
    for width, height in sizes:
        source, coded = str(folder / "image.png"), str(folder / "image.vlae")
        enlarged(photo, width, height).save(source, compress_level=1)
        row: dict[str, Any] = {"size": f"{width}x{height}"}
        for action, (a, b) in {"compress": (source, coded), "decompress": (coded, "-")}.items():
            seconds, printed = _python(["-c", CHILD, action, a, b, str(threads), json.dumps(fidelity)])
            # Linux counts kibibytes, macOS bytes.
            unit = 1 if sys.platform == "darwin" else 1024
            row |= {f"{action}_bytes": int(printed) * unit, f"{action}_process_s": seconds}
            print(f"{width}x{height} {action}: {seconds:.1f} s", file=sys.stderr)
        rows.append(row)
    return rows


def start_times(photo: Image.Image, fidelity: dict[str, Any], folder: Path) -> dict[str, float]:
    """Return the seconds of ``vlae info FILE``, and of compiling the kernels at their first use."""
    source, coded = folder / "small.png", folder / "small.vlae"
    enlarged(photo, 64, 130).save(source)
    cache = {"NUMBA_CACHE_DIR": str(folder / "cache")}
    script = (
        "import codec, json, sys; from PIL import Image; image = Image.open(sys.argv[1]); "
        "data = codec.compress(image, **json.loads(sys.argv[3])); codec.decompress(data); "
        "open(sys.argv[2], 'wb').write(data)"
    )
    command = ["-c", script, str(source), str(coded), json.dumps(fidelity)]
    first = _python(command, **cache)[0]
    second = _python(command, **cache)[0]
    info = [_python(["-m", "codec", "info", str(coded)])[0] for _ in range(REPEATS)]
    return {"info_s": median(info), "first_process_s": first, "second_process_s": second, "compile_s": first - second}


def _nanoseconds(round_trip: Callable[[], tuple[float, float, Any]], symbols: NDArray[np.int64]) -> tuple[float, float]:
    """Return the median nanoseconds of push and pop for a symbol, after one round to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        push, pop, back = round_trip()
        if not np.array_equal(back, symbols):
            raise RuntimeError("the symbols did not come back")
        times.append((push, pop))
    push, pop = (1e9 * float(t) / len(symbols) for t in np.median(times[1:], axis=0))
    return push, pop


def _ours_ns(coder: Codec, symbols: NDArray[np.int64]) -> tuple[float, float]:
    def round_trip() -> tuple[float, float, Any]:
        empty = empty_message(len(symbols))
        push, message = timed(lambda: coder.push(empty, symbols))
        pop, (_, back) = timed(lambda: coder.pop(message))
        return push, pop, back

    return _nanoseconds(round_trip, symbols)


def _theirs_ns(model: Any, symbols: NDArray[np.int64], parameters: tuple[Any, ...]) -> tuple[float, float]:
    import constriction

    narrow = symbols.astype(np.int32)
    # Without parameters, all symbols have the same model, and the decoder needs their number.
    arguments = parameters or (len(symbols),)

    def round_trip() -> tuple[float, float, Any]:
        coder = constriction.stream.stack.AnsCoder()
        push, _ = timed(lambda: coder.encode_reverse(narrow, model, *parameters))
        pop, back = timed(lambda: coder.decode(model, *arguments))
        return push, pop, back

    return _nanoseconds(round_trip, symbols)


def symbol_times() -> list[dict[str, Any]]:
    """Return the nanoseconds of a push and of a pop, of our coder and constriction's, for the same million symbols.

    Notes
    -----
    Uniform: 256 equally likely symbols, which tests the bare coders. One component: each symbol has a distribution of
    its own. Both coders compute its cumulative function when they encode, and invert it when they decode: ours is a
    logistic in integers, theirs a quantised Gaussian of similar width in floating point. Four components: only ours, as
    pixels are coded; constriction has no mixtures.
    """
    import constriction

    rng = np.random.default_rng(0)
    flat = rng.integers(0, 256, SYMBOLS)
    rows: list[dict[str, Any]] = [
        {
            "model": "uniform, 256 symbols",
            "ours": _ours_ns(uniform(SYMBOLS, 8), flat),
            "constriction": _theirs_ns(constriction.stream.model.Uniform(256), flat, ()),
        }
    ]
    means = rng.uniform(20, 235, SYMBOLS)
    # A logistic of scale s is about as wide as a Gaussian of deviation 1.8 s. Scales are in 1/32 octave.
    octaves = rng.uniform(0, 4, SYMBOLS)
    deviations = 1.8 * 2.0**octaves
    symbols = np.clip(np.rint(rng.normal(means, deviations)), 0, 255).astype(np.int64)
    one = np.stack([np.zeros(SYMBOLS), 256 * means, 32 * octaves], 1).astype(np.int64)
    family = constriction.stream.model.QuantizedGaussian(0, 255)
    rows.append(
        {
            "model": "one component for each symbol, 256 symbols",
            "ours": _ours_ns(mixture(one, sample_grid(0, 0)), symbols),
            "constriction": _theirs_ns(family, symbols, (means, deviations)),
        }
    )
    four = np.repeat(one, 4, axis=1)
    four[:, 4:8] += np.array([0, -512, 512, 1024])
    rows.append(
        {
            "model": "mixture of four for each symbol, 256 symbols",
            "ours": _ours_ns(mixture(four, sample_grid(0, 0)), symbols),
            "constriction": None,
        }
    )
    return rows


def report(results: dict[str, Any]) -> str:
    """Return the Markdown tables of all results."""
    tables = []
    rows = [["warm, median", "vlae s", "JPEG XL effort 9 s", "ratio of medians", "median of pairs' ratios"]]
    rows += [
        [r["what"], *(f"{r[k]:.3f}" for k in ("ours_s", "jpeg_xl_9_s", "ratio_of_medians", "median_of_ratios"))]
        for r in results["codec"]
    ]
    tables.append(rows)
    rows = [["fresh process", "compress MB", "compress s", "decompress MB", "decompress s"]]
    for r in results["memory"]:
        row = [r["size"]]
        for action in ("compress", "decompress"):
            row += [f"{r[f'{action}_bytes'] / 1e6:.0f}", f"{r[f'{action}_process_s']:.1f}"]
        rows.append(row)
    tables.append(rows)
    start = results["start"]
    tables.append(
        [
            ["start", "s"],
            ["`vlae info FILE`", f"{start['info_s']:.2f}"],
            ["compiling the kernels at first use", f"{start['compile_s']:.1f}"],
        ]
    )
    rows = [["ns a symbol", "push", "constriction's", "pop", "constriction's"]]
    for r in results["symbols"]:
        theirs = [f"{ns:.1f}" for ns in r["constriction"]] if r["constriction"] else ["", ""]
        rows.append([r["model"], f"{r['ours'][0]:.1f}", theirs[0], f"{r['ours'][1]:.1f}", theirs[1]])
    tables.append(rows)
    return "\n\n".join(map(markdown_table, tables)) + "\n"


@click.command()
@click.argument(
    "paths", metavar="FILE|FOLDER...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--quality", type=click.IntRange(1, 100), metavar="Q", help="Lossy files; else lossless ones.")
@click.option("--effort", default=DEFAULT_EFFORT, show_default=True, type=click.IntRange(1, 3), help="Our effort.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Turns on every image.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1), help="Threads of both codecs.")
@click.option("--no-large", is_flag=True, help="Leave the image of 24 megapixels out.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
def main(
    paths: tuple[Path, ...],
    quality: int | None,
    effort: int,
    rounds: int,
    threads: int,
    no_large: bool,
    json_file: Path | None,
) -> None:
    """Print time and memory of our codec and of others."""
    images = [image for path in paths for _, image in load_images(path)]
    if not images:
        raise click.ClickException("no image found")
    fidelity: dict[str, Any] = {"quality": quality} if quality else {"lossless": True}
    fidelity["effort"] = effort
    sizes = [(768, 512)] + [(6000, 4000)] * (not no_large)
    results: dict[str, Any] = {"fidelity": fidelity, "threads": threads, "rounds": rounds, "images": len(images)}
    results["codec"] = codec_rows(images, fidelity, threads, rounds)
    with tempfile.TemporaryDirectory() as name:
        results["memory"] = memory_rows(images[0], fidelity, sizes, threads, Path(name))
        results["start"] = start_times(images[0], fidelity, Path(name))
    results["symbols"] = symbol_times()
    print(report(results))
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
