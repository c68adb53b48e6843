"""Images to measure, and the other codecs with which ours is compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import ImageError
from codec.image_files import loading

PLAIN_MODES = ("L", "LA", "RGB", "RGBA")


@dataclass(frozen=True)
class Rival:
    """Another codec, used losslessly.

    Attributes
    ----------
    name : str
        Name in tables, with the settings.
    encode : callable
        Maps an image and a number of threads to the bytes of a file.
    decode : callable
        Maps the bytes of a file and a number of threads to the loaded image.
    """

    name: str
    encode: Callable[[Image.Image, int], bytes]
    decode: Callable[[bytes, int], Image.Image]


def _encode_png(image: Image.Image, threads: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _encode_webp(image: Image.Image, threads: int) -> bytes:
    buffer = BytesIO()
    with_alpha = "A" in image.mode or "transparency" in image.info
    # "exact" keeps the colour of transparent pixels, as all other codecs here do.
    image.convert("RGBA" if with_alpha else "RGB").save(buffer, "WEBP", lossless=True, method=4, quality=80, exact=True)
    return buffer.getvalue()


def _decode(data: bytes, threads: int) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image


def _jxl(effort: int) -> Rival:
    def encode(image: Image.Image, threads: int) -> bytes:
        import pillow_jxl  # noqa: F401  (registers the format)

        if image.mode not in PLAIN_MODES or "transparency" in image.info:
            image = image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB")
        buffer = BytesIO()
        image.save(buffer, "JXL", lossless=True, effort=effort, num_threads=threads)
        return buffer.getvalue()

    def decode(data: bytes, threads: int) -> Image.Image:
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = threads
        return _decode(data, threads)

    return Rival(f"JPEG XL effort {effort}", encode, decode)


RIVALS = {
    "png": Rival("PNG optimised", _encode_png, _decode),
    "webp": Rival("WebP lossless (method 4, quality 80)", _encode_webp, _decode),
    "jxl7": _jxl(7),
    "jxl9": _jxl(9),
}
OURS = "vlae"
REFERENCE = "jxl9"
"""The codec with which percentages compare."""


def find_files(path: Path) -> list[Path]:
    """Return the file, or the files of a folder (at any depth) whose suffix is that of an image format."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder")
    known = Image.registered_extensions()
    return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in known)


def load_images(path: Path) -> Iterator[tuple[Path, Image.Image]]:
    """Yield the images of a file or folder, without metadata. Images that we refuse are named on stderr."""
    for file in find_files(path):
        image = _load(file)
        if image is not None:
            yield file, without_metadata(image)


def _load(file: Path) -> Image.Image | None:
    try:
        return loading.load_image(file)
    except ImageError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None


def without_metadata(image: Image.Image) -> Image.Image:
    """Return the image with only its samples, palette and transparent colour, for a fair comparison."""
    bare = image.copy()
    bare.info = {k: v for k, v in image.info.items() if k == "transparency"}
    bare.getexif().clear()
    return bare


def is_coded(image: Image.Image) -> bool:
    """Return whether an image's samples are intensities, so that it can be coded near-losslessly."""
    return image.mode in PLAIN_MODES and "transparency" not in image.info


def quantise(image: Image.Image, max_error: int) -> Image.Image:
    """Return the image quantised with the step 2 d + 1. No sample changes by more than d, and alpha is kept."""
    if max_error == 0 or not is_coded(image):
        return image
    step = 2 * max_error + 1
    samples = np.asarray(image)
    quantised = np.minimum((samples.astype(np.int16) + max_error) // step * step, 255).astype(np.uint8)
    if "A" in image.mode:
        quantised[..., -1] = samples[..., -1]
    return Image.fromarray(quantised)


def sample_count(image: Image.Image) -> int:
    """Return width times height times channels."""
    return image.width * image.height * len(image.getbands())


def largest_error(a: Image.Image, b: Image.Image) -> int:
    """Return the largest difference of a sample, with alpha. It is 255 if the images have different kinds."""
    if a.size != b.size:
        return 255
    if a.mode == b.mode and is_coded(a):
        pair = [_signed(image) for image in (a, b)]
    else:
        # Other codecs may turn a palette or bits into colours.
        pair = [_signed(image.convert("RGBA")) for image in (a, b)]
    return int(np.abs(pair[0] - pair[1]).max())


def _signed(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def markdown_table(rows: list[list[str]]) -> str:
    """Return a Markdown table. The first row is its head. All columns but the first are right-aligned."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (len(rows[0]) - 1) + "|")
    return "\n".join(lines)
