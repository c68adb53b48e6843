"""Archives of small images, made without any option but ``lossless``, and of photographs among them.

    python -m benchmarks.archives --data DIR

All images are PNG files. Their archive is decoded and compared.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.common import REFERENCE, RIVALS, find_files, markdown_table, sample_count, without_metadata
from benchmarks.paper.digits import pillow, static_test, tiny_test
from codec.archive.reader import Archive
from codec.archive.writer import create_archive

THUMBNAIL_PX, THUMBNAILS = 64, 500
PHOTOS = ("photos_valid", "photos_past_valid")
Images = dict[str, Image.Image]


def digits(data: Path, count: int) -> Images:
    """Return the first static test digits, black and white."""
    return {f"{number:05d}.png": pillow(values) for number, values in enumerate(static_test(data)[:count])}


def grey_digits(data: Path, count: int) -> Images:
    """Return the first static test digits as grey images."""
    return {name: image.convert("L") for name, image in digits(data, count).items()}


def tiny(data: Path, count: int) -> Images:
    """Return the first test images of CIFAR-10."""
    return {f"{number:05d}.png": pillow(values) for number, values in enumerate(tiny_test(data)[:count])}


def thumbnails(data: Path, count: int) -> Images:
    """Return thumbnails of the validation photographs, in turn.

    Each is a square of the photograph's largest centred square, at random at least half as wide, which is shrunk.
    """
    rng = np.random.default_rng(0)
    photos = [_square(file) for folder in PHOTOS for file in find_files(data / folder)]
    found = {}
    for number in range(count):
        photo = photos[number % len(photos)]
        side = int(rng.integers(max(THUMBNAIL_PX, photo.width // 2), photo.width + 1))
        x, y = (int(value) for value in rng.integers(photo.width - side + 1, size=2))
        shrunk = photo.crop((x, y, x + side, y + side)).resize((THUMBNAIL_PX,) * 2, Image.Resampling.LANCZOS)
        found[f"{number:05d}.png"] = shrunk
    return found


def _square(file: Path) -> Image.Image:
    with Image.open(file) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return without_metadata(image.convert("RGB").crop((left, top, left + side, top + side)))


def mixed(data: Path, count: int) -> Images:
    """Return images of all kinds in turn: digits, thumbnails, and a photograph for every eight of each."""
    small = zip(digits(data, count).items(), thumbnails(data, count).items(), strict=True)
    photos = iter([file for folder in PHOTOS for file in find_files(data / folder)])
    found: Images = {}
    for number, ((digit, one), (thumbnail, two)) in enumerate(small):
        found |= {f"digit-{digit}": one, f"thumbnail-{thumbnail}": two}
        if number % 8 == 0 and (file := next(photos, None)) is not None:
            with Image.open(file) as photo:
                found[f"photo-{file.stem}.png"] = without_metadata(photo.convert("RGB"))
    return found


SUBJECTS: dict[str, tuple[Callable[[Path, int], Images], int]] = {
    "static digits, black and white": (digits, 2000),
    "static digits, grey": (grey_digits, 2000),
    "CIFAR-10": (tiny, 1017),
    "thumbnails": (thumbnails, THUMBNAILS),
    "mixed": (mixed, 64),
}
"""What is archived: a function that returns the images, and their number."""


@dataclass(frozen=True)
class Figures:
    """The figures of an archive.

    Attributes
    ----------
    images, samples : int
    file_bits : int
        Of the whole file.
    content_bits : int
        Of messages, stored images, metadata, adaptations and alpha: all but index, trailer and the first bytes.
    create_s, one_s : float
        Seconds of processors to make the archive, with all processes, and to get the image in the middle of the
        first block, whose models and index are loaded before.
    reference_bits : int
        Of single files of the other codec.
    """

    images: int
    samples: int
    file_bits: int
    content_bits: int
    create_s: float
    one_s: float
    reference_bits: int

    def row(self) -> list[str]:
        """Return the cells of a table's row."""
        nats = math.log(2) / self.images
        index_bits = self.file_bits - self.content_bits
        return [
            f"{self.images}",
            *(f"{bits * nats:.2f}" for bits in (self.content_bits, index_bits, self.file_bits)),
            *(f"{bits / self.samples:.4f}" for bits in (self.content_bits, self.file_bits, self.reference_bits)),
            f"{100 * (self.file_bits / self.reference_bits - 1):+.1f} %",
            f"{self.create_s:.1f}",
            f"{self.one_s:.2f}",
        ]


HEAD = ["images", "number", "content, nats an image", "index", "whole file", "content, bits/dim", "whole file"]
HEAD += [RIVALS[REFERENCE].name, "whole file against it", "create, CPU s", "one image, CPU s"]


def worked_s() -> float:
    """Return the seconds that processors have worked for this process and for its ended children."""
    return sum(os.times()[:4])


def measure(images: Images) -> Figures:
    """Return the figures of an archive of PNG files that is made with ``lossless`` alone.

    Raises
    ------
    ValueError
        A decoded image differs from the original.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in images}
        for name, image in images.items():
            image.save(files[name])
        path = Path(folder) / "images.vlar"
        begin = worked_s()
        create_archive(path, files, lossless=True)
        create_s = worked_s() - begin
        with Archive(path) as archive:
            for name, image in archive.items():
                if image.mode != images[name].mode or not np.array_equal(np.asarray(image), np.asarray(images[name])):
                    raise ValueError(f"{name}: was not decoded as it was")
            if list(archive) != list(images):
                raise ValueError("the images are in another order")
            parts = archive.part_bits()
            first = next(archive.blocks())[1].images
            middle = first[len(first) // 2].name
        with Archive(path) as archive:
            begin = worked_s()
            archive[middle]
            one_s = worked_s() - begin
        content = ("message_bits", "stored_bits", "metadata_bits", "adaptation_bits", "alpha_bits")
        return Figures(
            len(images),
            sum(sample_count(image) for image in images.values()),
            8 * path.stat().st_size,
            sum(parts[part] for part in content),
            create_s,
            one_s,
            sum(8 * len(RIVALS[REFERENCE].encode(image, 1)) for image in images.values()),
        )


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--subject", "subjects", type=click.Choice(list(SUBJECTS)), multiple=True, help="By default all.")
@click.option("--images", type=int, help="Number of images, in place of the subjects' own.")
def main(data: Path, subjects: tuple[str, ...], images: int | None) -> None:
    """Archive the images of each subject, and print a table."""
    rows = [HEAD]
    for name in subjects or SUBJECTS:
        load, count = SUBJECTS[name]
        rows.append([name, *measure(load(data, images or count)).row()])
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
