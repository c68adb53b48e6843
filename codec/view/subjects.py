"""What a page can show: images, files of this format, and images of archives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codec import api
from codec.api import fidelity_name
from codec.archive.reader import Archive
from codec.errors import RequestError
from codec.format.archive_sections import is_archive
from codec.format.headers import MAGIC
from codec.image_files import loading
from codec.image_files.wide_image import Picture
from codec.report.terms import MODES
from codec.system import folders
from codec.view.results import Result, of_archive, of_file
from codec.vlae.pipeline import Progress


class Subject(Protocol):
    """A picture that a page shows."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def original(self) -> Picture | None:
        """Return the original; None if only a file is known. Files can be made of it."""

    @property
    def has_file(self) -> bool:
        """Whether there is a file already."""

    def held(self, original: Picture | None, progress: Progress) -> Result:
        """Return the result of the file that exists; RequestError if there is none."""

    def facts(self) -> str:
        """Return a line about it."""


@dataclass(frozen=True)
class ImageFile:
    """An image, of which files can be made."""

    name: str
    path: Path

    def original(self) -> Picture:
        """Return the image.

        Raises
        ------
        ImageError, OSError
            See `codec.image_files.loading.load_image`.
        """
        return loading.load_image(self.path)

    @property
    def has_file(self) -> bool:
        """False: files are made of it."""
        return False

    def held(self, original: Picture | None, progress: Progress) -> Result:
        """Raise RequestError: there is no file."""
        raise RequestError(f"{self.name}: expected a quality or a largest error")

    def facts(self) -> str:
        """Return its length."""
        return f"{self.path.stat().st_size:,} bytes"


@dataclass(frozen=True)
class CodedFile:
    """A file of this format and, if it is known, the image that it was made of."""

    name: str
    path: Path
    image: ImageFile | None = None

    def original(self) -> Picture | None:
        """Return the original, if it is known; see `ImageFile.original`."""
        return None if self.image is None else self.image.original()

    @property
    def has_file(self) -> bool:
        """True: it is one."""
        return True

    def held(self, original: Picture | None, progress: Progress) -> Result:
        """Return the result of the file; see `codec.view.results.of_file`.

        Raises
        ------
        RequestError
            The original has other sides than the file says.
        """
        found = of_file(self.path.read_bytes(), original, progress)
        if original is not None and original.size != found.image.size:
            sizes = ["x".join(map(str, image.size)) for image in (found.image, original)]
            raise RequestError(f"original: expected {sizes[0]} pixels, got {sizes[1]}")
        return found

    def facts(self) -> str:
        """Return the mode, the fidelity and the length; CorruptDataError if the file is damaged."""
        info = api.info(self.path)
        return f"{MODES[info.mode]}, {info.fidelity}, {info.file_bytes:,} bytes"


@dataclass(frozen=True)
class ArchivedImage:
    """An image of an archive."""

    name: str
    archive: Archive

    def original(self) -> None:
        """Return None: the archive has the decoded image alone."""

    @property
    def has_file(self) -> bool:
        """True: it lies in one."""
        return True

    def held(self, original: Picture | None, progress: Progress) -> Result:
        """Return the result of the image; CorruptDataError if its block is damaged."""
        return of_archive(self.archive.opened(self.name))

    def facts(self) -> str:
        """Return the mode and the fidelity."""
        header = self.archive.entries[self.name].header
        return f"{MODES[header.mode]}, {fidelity_name(header)}, in an archive"


def subjects_of(name: str, original: str | None = None) -> tuple[list[Subject], str]:
    """Return what a name stands for, and a line about files that were left out, empty if none were.

    Parameters
    ----------
    name : str
        Name of an image, of a file of this format, of an archive, or of a folder.
    original : str, optional
        Name of the image that the file of this format was made of.

    Raises
    ------
    RequestError
        There are no images; or an original is named, but no file of this format.
    CorruptDataError, UnsupportedError
        See `codec.archive.reader.Archive`.
    OSError
        The file or the folder cannot be read.
    """
    path, left_out = Path(name), ""
    found: list[Subject]
    if path.is_dir():
        found, left_out = _of_folder(path)
    elif is_archive(path):
        archive = Archive(path)
        found = [ArchivedImage(image, archive) for image in archive]
    elif _is_coded(path):
        image = None if original is None else ImageFile(original, Path(original))
        return [CodedFile(name, path, image)], ""
    else:
        found = [ImageFile(name, path)]
    if original is not None:
        raise RequestError(f"original {original}: expected only with a .vlae file, {name} is none")
    if not found:
        raise RequestError(f"{name}: expected images, got none")
    return found, left_out


def _of_folder(folder: Path) -> tuple[list[Subject], str]:
    files = folders.find_images(folder)
    coded = [path for path in files.others if _is_coded(path)]
    files.others = [path for path in files.others if path not in set(coded)]
    found: list[Subject] = [ImageFile(str(path), path) for path in files.images]
    found += [CodedFile(str(path), path) for path in coded]
    return sorted(found, key=lambda subject: subject.name), files.left_out(folder)


def _is_coded(path: Path) -> bool:
    """Return whether a file begins as one of this format."""
    if not path.is_file():  # to open a pipe would wait until somebody writes into it
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
