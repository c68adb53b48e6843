"""The picture at the head of README.md: an image, the decoded images of its files, and maps of the files' bits.

`python -m benchmarks.readme_picture docs/readme.png` draws it from the image of ``vlae demo``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

import codec
from codec.commands.demo import PICTURE
from codec.format import container
from codec.images.decoder import opened
from codec.report.pictures import pictures

QUALITIES = (80, 50, 20)
COLUMNS = 3
ZOOM = 2
"""Factor by which the image, of 160x120 pixels, is enlarged. Single pixels can still be seen."""
MARGIN, LABEL, TEXT = 12, 26, 15
"""Space around a panel, height of its label, and height of the label's letters, in pixels."""
INK, PAPER = "#222222", "#ffffff"


def _heat(image: Image.Image, data: bytes, name: str, *, exact: bool) -> tuple[str, Image.Image]:
    """Return the label and the map of a file's bits. Dark pixels have few bits, light pixels many."""
    heat = pictures(image, opened(container.unpack(data)), exact=exact).heat
    if heat is None:
        raise ValueError(f"{name}: the file is stored, so its bits belong to no pixel")
    shown = Image.open(BytesIO(base64.b64decode(heat.picture.uri.split(",", 1)[1]))).convert("RGB")
    return f"bits a pixel of {name}: 0 to {heat.top:g}", shown


def panels(image: Image.Image, original_bytes: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield the label and the picture of each panel, row by row.

    Parameters
    ----------
    image : Image
        RGB.
    original_bytes : int
        Length of the original file.
    """
    yield f"original: PNG, {original_bytes:,} bytes", image
    files = {quality: codec.compress(image, quality=quality) for quality in QUALITIES}
    for quality, data in files.items():
        yield f"quality {quality}: {len(data):,} bytes", codec.decompress(data)
    exact = codec.compress(image, lossless=True)
    yield _heat(image, exact, f"lossless ({len(exact):,} bytes)", exact=True)
    middle = QUALITIES[len(QUALITIES) // 2]
    yield _heat(image, files[middle], f"quality {middle}", exact=False)


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def main(output: Path) -> None:
    """Draw the picture into OUTPUT, a PNG."""
    with Image.open(PICTURE) as picture:
        image = picture.convert("RGB")
    drawn = list(panels(image, PICTURE.stat().st_size))
    width, height = image.width * ZOOM + MARGIN, image.height * ZOOM + MARGIN + LABEL
    sheet = Image.new("RGB", (COLUMNS * width + MARGIN, -(-len(drawn) // COLUMNS) * height + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for number, (label, picture) in enumerate(drawn):
        left, top = number % COLUMNS * width + MARGIN, number // COLUMNS * height + MARGIN
        pen.text((left, top), label, INK, font)
        size = (image.width * ZOOM, image.height * ZOOM)
        sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top + LABEL))
        click.echo(label)
    sheet.save(output, "PNG", optimize=True)


if __name__ == "__main__":
    main()
