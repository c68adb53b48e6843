"""What a page shows of a file: the decoded image, what it is like, and where the file's bits went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from codec.api import fidelity_name
from codec.format import container
from codec.format.headers import Fidelity, Header
from codec.image_files.wide_image import Picture
from codec.images import decoder
from codec.images.decoder import Opened
from codec.ledger.archive import image_ledger
from codec.ledger.ledger import Ledger
from codec.ledger.measure import file_ledger, likeness
from codec.report import heatmap
from codec.vlae.pipeline import Progress


@dataclass(frozen=True)
class Result:
    """A decoded file.

    Attributes
    ----------
    opened : Opened
    image : PIL.Image.Image or WideImage
        The decoded image.
    original : PIL.Image.Image, WideImage or None
        None if only the file is known.
    file_bytes : int or None
        Length of the file. None of an image of an archive, whose file holds others, too.
    account : callable
        Returns the ledger of ``opened``.
    """

    opened: Opened
    image: Picture
    original: Picture | None
    file_bytes: int | None
    account: Callable[[Opened], Ledger]

    @cached_property
    def ledger(self) -> Ledger:
        """Where the bits went."""
        return self.account(self.opened)

    @property
    def is_lossy(self) -> bool:
        """Whether the file is lossy."""
        return self.opened.file.header.fidelity == Fidelity.LOSSY

    @property
    def facts(self) -> dict[str, Any]:
        """Length and fidelity of the file, for JSON."""
        return facts_of(self.opened.file.header, self.file_bytes or self.ledger.file_bits / 8)

    @cached_property
    def likeness(self) -> dict[str, Any]:
        """How close the decoded image is to the original, for JSON; empty without an original."""
        return {} if self.original is None else likeness(self.original, self.image)

    @cached_property
    def heat(self) -> heatmap.F32 | None:
        """The bits of every pixel; None of a stored file."""
        raster = self.opened.raster
        return None if raster is None else heatmap.pixel_bits(raster, *reversed(self.image.size))


def facts_of(header: Header, file_bytes: float) -> dict[str, Any]:
    """Return length and fidelity of a file, for JSON."""
    words = fidelity_name(header)
    if header.quality is not None:
        words += f", quality {header.quality}"
    elif header.max_error:
        words += f", within {header.max_error}"
    return {"bytes": round(file_bytes), "bpp": 8 * file_bytes / (header.width * header.height), "fidelity": words}


def of_file(data: bytes, original: Picture | None, progress: Progress) -> Result:
    """Return the result of a file.

    Raises
    ------
    CorruptDataError, UnsupportedError, ModelError
        See `codec.decompress`.
    """
    opened = decoder.opened(container.unpack(data), progress=progress)
    return Result(opened, opened.image(), original, len(data), partial(file_ledger, file_bits=8 * len(data)))


def of_archive(opened: Opened) -> Result:
    """Return the result of an image of an archive.

    Raises
    ------
    CorruptDataError
        The image is damaged.
    """
    return Result(opened, opened.image(), None, None, image_ledger)
