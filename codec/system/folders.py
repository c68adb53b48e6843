"""The images of folders, and of the folders in them, known by content or suffix, and a message about files left out."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from codec.system.outputs import is_unfinished

KNOWN_BY_CONTENT = (
    "AVIF",
    "BMP",
    "DDS",
    "GIF",
    "ICNS",
    "JPEG",
    "JPEG2000",
    "PNG",
    "PPM",
    "PSD",
    "QOI",
    "SUN",
    "TIFF",
    "WEBP",
)
"""Formats whose first bytes no other file has by chance. A file that begins so is an image, whatever its name is."""

NO_IMAGES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")
"""Formats that Pillow knows but cannot decode by itself: documents, data, films. They do not count as images."""

NAMES_SAID = 3
"""Most names of left-out files in a message."""


@dataclass
class Found:
    """The images of a folder, and its other files.

    Attributes
    ----------
    kind : str
        What the images are called in the message.
    images : list of Path
        The images, in the order of their names.
    others : list of Path
        Files that are no images.
    unreadable : list of Path
        Files and folders that cannot be opened, links that lead nowhere, and files that have an image's suffix but
        do not begin as images do.
    """

    kind: str = "image"
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def left_out(self, folder: Path) -> str:
        """Return one line that says what was left out, empty if nothing was."""
        parts = []
        for paths, singular, plural in (
            (self.others, f"file that is no {self.kind}", f"files that are no {self.kind}s"),
            (self.unreadable, "that cannot be read", "that cannot be read"),
        ):
            if paths:
                names = ", ".join(str(path.relative_to(folder)) for path in paths[:NAMES_SAID])
                more = ", ..." if len(paths) > NAMES_SAID else ""
                parts.append(f"{len(paths)} {singular if len(paths) == 1 else plural} ({names}{more})")
        return " ".join(f"{folder}: left out {' and '.join(parts)}".split()) if parts else ""


def find_images(folder: Path) -> Found:
    """Return the images in a folder and in all folders in it.

    Links are followed, except a link to a folder in which the link itself lies.
    """
    known = _known_by_content()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if _decodes(kind)}
    return _find(folder, Found(), suffixes, lambda file, named: _is_image(file, None if named else known))


def is_image(path: Path) -> bool:
    """Return whether the content of a file is known as that of an image."""
    known = _known_by_content()
    return bool(_opens(path, False, lambda file, named: _is_image(file, known)))


def _known_by_content() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in KNOWN_BY_CONTENT if kind in Image.OPEN)


def find_files(folder: Path, suffix: str, magic: bytes) -> Found:
    """Return the files in a folder, and in all folders in it, that begin with some bytes.

    Files that do not begin so but have the suffix are said to be unreadable. Links are followed as in `find_images`.
    """
    found = Found(f"{suffix} file")
    return _find(folder, found, {suffix}, lambda file, named: file.read(len(magic)) == magic)


def _find(folder: Path, found: Found, suffixes: set[str], begins: Callable[[BinaryIO, bool], bool]) -> Found:
    """Return the files below a folder, sorted out by their suffixes and by whether they begin as they should."""
    for path in sorted(_files(folder, found, ())):
        if is_unfinished(path):
            continue
        named = path.suffix.lower() in suffixes
        opens = _opens(path, named, begins)
        if opens:
            found.images.append(path)
        elif opens is None or named:
            found.unreadable.append(path)
        else:
            found.others.append(path)
    found.unreadable.sort()
    return found


def _decodes(kind: str) -> bool:
    return kind in Image.OPEN and kind not in NO_IMAGES


def _files(folder: Path, found: Found, within: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield the paths below a folder that are not folders. ``within`` has device and inode of the folders around it."""
    try:
        status = os.stat(folder)
        entries = list(os.scandir(folder))
    except OSError:
        found.unreadable.append(folder)
        return
    number = status.st_dev, status.st_ino
    if number in within:
        return
    for entry in entries:
        if not entry.is_dir():
            yield Path(entry.path)
        else:
            yield from _files(Path(entry.path), found, (*within, number))


def _opens(path: Path, named: bool, begins: Callable[[BinaryIO, bool], bool]) -> bool | None:
    """Return whether a file begins as it should. The result is None if the file cannot be opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # to open a pipe would wait until somebody writes into it
        with path.open("rb") as file:
            return begins(file, named)
    except OSError:
        return None


def _is_image(file: BinaryIO, formats: tuple[str, ...] | None) -> bool:
    """Return whether a file begins as an image of one of the formats, or of any format if None is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=formats) as image:
                return image.format not in NO_IMAGES
        except Image.DecompressionBombError:
            return True
        except Exception:
            # A file of another kind can make Pillow's plugins raise any exception.
            return False
