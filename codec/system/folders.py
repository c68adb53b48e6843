"""The images of folders: by what files hold, and a word for what is left out."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

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
"""Formats whose first bytes no other kind of file has by chance: a file that begins so is an image under any name."""

NO_IMAGES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")
"""Formats that Pillow knows by name and cannot, or not by itself, decode: documents, data, films."""

NAMES_SAID = 3
"""Of files that are left out."""


@dataclass
class Found:
    """The images of a folder, and its other files.

    Attributes
    ----------
    images : list of Path
        In the order of their names.
    others : list of Path
        Files that are no images.
    unreadable : list of Path
        Files and folders that cannot be opened, links that lead nowhere, and files that have an image's suffix but
        do not begin as images do.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def left_out(self, folder: Path) -> str:
        """Return one line that says what was left out, empty if nothing was."""
        parts = []
        for paths, singular, plural in (
            (self.others, "file that is no image", "files that are no images"),
            (self.unreadable, "that cannot be read", "that cannot be read"),
        ):
            if paths:
                names = ", ".join(str(path.relative_to(folder)) for path in paths[:NAMES_SAID])
                more = ", ..." if len(paths) > NAMES_SAID else ""
                parts.append(f"{len(paths)} {singular if len(paths) == 1 else plural} ({names}{more})")
        return " ".join(f"{folder}: left out {' and '.join(parts)}".split()) if parts else ""


def find_images(folder: Path, *, below: bool) -> Found:
    """Return the images of a folder; ``below`` says whether also those of the folders in it.

    Linked files and folders are followed, except to a folder that they lie in.
    """
    Image.init()
    known = tuple(kind for kind in KNOWN_BY_CONTENT if kind in Image.OPEN)
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if _decodes(kind)}
    found = Found()
    for path in sorted(_files(folder, below, found, ())):
        named = path.suffix.lower() in suffixes
        opens = _opens(path, None if named else known)
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


def _files(folder: Path, below: bool, found: Found, within: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield what is in a folder and is no folder; ``within`` are the numbers of the folders that it lies in."""
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
        elif below:
            yield from _files(Path(entry.path), below, found, (*within, number))


def _opens(path: Path, formats: tuple[str, ...] | None) -> bool | None:
    """Return whether a file begins as an image of one of the formats, or of any; None if it cannot be opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # to open a pipe would wait for who writes into it
        file = path.open("rb")
    except OSError:
        return None
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=formats) as image:
                return image.format not in NO_IMAGES
        except Image.DecompressionBombError:
            return True
        except Exception:
            # A file of another kind leads Pillow's plugins to any exception.
            return False
