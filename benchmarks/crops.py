"""docs/CROPS.md: crops of our lossy files beside AVIF's and JPEG XL's of the same size, for an eye to compare.

    python -m benchmarks.crops --data DIR --out docs    # everything anew
    python -m benchmarks.crops --out docs               # the text anew; sheets and figures are kept

For each subject and rate our file is the best of at most so many bits a pixel. Each rival's quality is searched so that
its file has the length nearest to ours. The figures are those of whole files and whole images, of which the sheets show
a box. `benchmarks/crop_subjects.py` holds the subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import codec
from benchmarks.common import OURS, markdown_table
from benchmarks.crop_subjects import CROP_PX, SUBJECTS, Subject
from benchmarks.lossy import CODECS
from benchmarks.quality import ms_ssim, ssimulacra2
from codec.images.metrics import psnr

RATES_BPP = (0.15, 0.5)
RIVALS = {"avif": (0, 100), "jxl": (0, 99)}
"""Rivals, and their least and largest quality. JPEG XL's quality 100 is lossless, and its plugin refuses it here."""
EXCESS = 0.02
"""By how much of its length a rival's file may be longer than ours."""
NEIGHBOURS = 2
"""Qualities on both sides of the one that was found that are tried, too. Files do not always grow with quality."""
ZOOM = 2
"""Factor by which crops are enlarged. Single pixels can be seen."""
MARGIN, LABEL, TEXT = 10, 42, 15
"""Space around a crop, height of its label of two lines, and height of the label's letters, in pixels."""
INK, PAPER = "#222222", "#ffffff"


@dataclass(frozen=True)
class Shown:
    """A coded image.

    Attributes
    ----------
    codec : str
        Name in tables.
    setting : str
        Our quality or the rival's, or what else our file is.
    bytes : int
        Length of the file.
    bpp, psnr_db, ms_ssim, ssimulacra2 : float
        Figures of the whole file and the whole image. ``psnr_db`` is inf if the image came back exactly.
    image : Image
        The decoded image, RGB.
    """

    codec: str
    setting: str
    bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    ssimulacra2: float
    image: Image.Image


def nearest(encode: Callable[[int], bytes], low: int, high: int, size: int) -> tuple[int, bytes]:
    """Return the quality whose file has the length nearest to a size, and the file.

    The file is at most `EXCESS` longer than the size; if none is so short, it is the shortest that was found.

    Parameters
    ----------
    encode : callable
        Maps a quality to a file. Files grow with quality, but for small steps back.
    low, high : int
        The least and the largest quality.
    size : int
        Bytes.
    """
    files: dict[int, bytes] = {}

    def length(quality: int) -> int:
        if quality not in files:
            files[quality] = encode(quality)
        return len(files[quality])

    limit = size * (1 + EXCESS)
    below, above = low, high + 1
    while above - below > 1:
        middle = (below + above) // 2
        if length(middle) <= limit:
            below = middle
        else:
            above = middle
    for quality in range(max(low, below - NEIGHBOURS), min(high, below + NEIGHBOURS) + 1):
        length(quality)
    fitting = [quality for quality in files if length(quality) <= limit]
    if not fitting:
        quality = min(files, key=lambda quality: (length(quality), quality))
    else:
        # Neighbouring qualities may lead to the same file. The least that was tried is named.
        quality = min(fitting, key=lambda quality: (abs(length(quality) - size), quality))
    return quality, files[quality]


def _shown(original: Image.Image, key: str, setting: str, data: bytes) -> Shown:
    decoded = CODECS[key].decode(data)
    pair = np.asarray(original), np.asarray(decoded.convert("RGB"))
    bpp = 8 * len(data) / (original.width * original.height)
    figures = psnr(*pair), ms_ssim(*pair), ssimulacra2(*pair)
    return Shown(CODECS[key].name, setting, len(data), bpp, *figures, Image.fromarray(pair[1]))


def coded(image: Image.Image, rate_bpp: float) -> Iterator[Shown]:
    """Yield our file of an RGB image at a rate, then the rivals' of the nearest length.

    Parameters
    ----------
    image : Image
        RGB.
    rate_bpp : float
        Largest rate of our file in bits per pixel.
    """
    ours = codec.compress(image, target_bpp=rate_bpp)
    info = codec.info(ours)
    yield _shown(image, OURS, info.fidelity if info.quality is None else f"quality {info.quality}", ours)
    for key, (low, high) in RIVALS.items():
        quality, data = nearest(lambda quality, key=key: CODECS[key].encode(image, quality), low, high, len(ours))
        name = f"quality {quality}" + (", its shortest file" if len(data) > len(ours) * (1 + EXCESS) else "")
        yield _shown(image, key, name, data)


def sheet(image: Image.Image, box: tuple[int, int, int, int], rows: list[list[Shown]]) -> Image.Image:
    """Return the enlarged crops: a row for each rate, with the original first."""
    width, height = ((box[k + 2] - box[k]) * ZOOM for k in (0, 1))
    across, down = width + MARGIN, height + LABEL + MARGIN
    page = Image.new("RGB", ((1 + len(rows[0])) * across + MARGIN, len(rows) * down + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    for row, files in enumerate(rows):
        panels = [("original", image), *((label(file), file.image) for file in files)]
        for column, (text, picture) in enumerate(panels):
            left, top = MARGIN + column * across, MARGIN + row * down
            pen.multiline_text((left, top), text, INK, font, spacing=2)
            crop = picture.crop(box).resize((width, height), Image.Resampling.NEAREST)
            page.paste(crop, (left, top + LABEL))
    return page


def label(file: Shown) -> str:
    """Return the two lines above a crop."""
    figures = f"{file.psnr_db:.1f} dB, MS-SSIM {file.ms_ssim:.4f}, SSIMULACRA2 {round(file.ssimulacra2)}"
    return f"{file.codec}: {file.bytes:,} bytes, {file.bpp:.3f} bpp\n{figures}"


def table(rows: list[list[Shown]]) -> str:
    """Return the Markdown table of a subject's files."""
    lines = [["codec", "setting", "bytes", "bpp", "PSNR, dB", "MS-SSIM", "SSIMULACRA2"]]
    for files in rows:
        for file in files:
            name = f"**{OURS}**" if file.codec == OURS else file.codec
            figures = f"{file.bpp:.3f}", f"{file.psnr_db:.2f}", f"{file.ms_ssim:.4f}", f"{file.ssimulacra2:.1f}"
            lines.append([name, file.setting, f"{file.bytes:,}", *figures])
    return markdown_table(lines)


def section(subject: Subject, figures: str) -> str:
    """Return a subject's part of the page, with the table of its files."""
    left, top = subject.corner
    remarks = "\n".join(f"- {rate:g} bpp: {text}" for rate, text in zip(RATES_BPP, subject.remarks, strict=True))
    return (
        f"## {subject.title}\n\n![{subject.title}]({sheet_name(subject)})\n\n{remarks}\n\n{figures}\n\n"
        f"{subject.source}; the box is {CROP_PX}x{CROP_PX} pixels at ({left}, {top}).\n"
    )


def sheet_name(subject: Subject) -> str:
    """Return where a subject's sheet lies beside the page."""
    return f"crops/{subject.name}.webp"


def kept(text: str) -> dict[str, str]:
    """Return the tables of a page, by the titles of their subjects."""
    sections = (part.splitlines() for part in f"\n{text}".split("\n## ")[1:])
    return {lines[0]: "\n".join(line for line in lines if line.startswith("|")) for lines in sections}


def page(figures: dict[str, str]) -> str:
    """Return the whole page, of the tables by title."""
    sections = "\n".join(section(subject, figures[subject.title]) for subject in SUBJECTS)
    rates = " and ".join(f"{rate:g}" for rate in RATES_BPP)
    return f"""# Crops

What do files of the same length look like? Each sheet shows a box of the original, then of the decoded files of `vlae`, AVIF and JPEG XL, enlarged {ZOOM} times without smoothing. Open a sheet by itself to see its pixels.

- The rows are rates of {rates} bits a pixel. `vlae`'s file is the best that is not above the rate, at the default effort.
- Each rival has the settings of [benchmarks/README.md](../benchmarks/README.md#rate-and-distortion). Its quality is the one whose file has the length nearest to `vlae`'s, and is at most {100 * EXCESS:g} % above it. If no file of it is so short, its shortest is shown.
- The figures are those of the whole file and the whole image. The remarks are an eye's, and say what is worse than in the original.
- No image here was seen in training.

`python -m benchmarks.crops --data DIR --out docs` makes this page. The remarks stand in `benchmarks/crop_subjects.py`.

{sections}"""  # noqa: E501


def draw(subject: Subject, data: Path, out: Path) -> str:
    """Write a subject's sheet and return the table of its files."""
    image = subject.load(data)
    rows = [list(coded(image, rate)) for rate in RATES_BPP]
    # Lossless: a lossy sheet would add flaws of its own.
    sheet(image, subject.box, rows).save(out / sheet_name(subject), "WEBP", lossless=True, quality=100, method=6)
    return table(rows)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with photos_valid and graphics_valid. Without it, sheets and figures are kept.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of CROPS.md.")
def main(data: Path | None, out: Path) -> None:
    """Write CROPS.md and its sheets, and print the figures."""
    path = out / "CROPS.md"
    if data is None:
        figures = kept(path.read_text(encoding="utf-8"))
    else:
        (out / "crops").mkdir(parents=True, exist_ok=True)
        figures = {}
        for subject in SUBJECTS:
            figures[subject.title] = draw(subject, data, out)
            click.echo(f"{subject.title}\n\n{figures[subject.title]}\n")
    path.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
