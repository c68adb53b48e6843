"""The image file that `PIL.Image.open` returns. Opening reads the beginning of the file, and loading decodes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, ImageFile

from codec.errors import CodecError, CorruptDataError
from codec.format import container, metadata
from codec.format.beginning import read_beginning
from codec.format.headers import MAGIC, WIDE_MODES

FULL, REDUCED = 1, 8
"""Pixels across that become one, and the same for a lossy file after `VlaeImageFile.draft`."""


def accepts(prefix: bytes) -> bool:
    """Return whether a file that begins with these bytes is one of ours."""
    return prefix.startswith(MAGIC)


class VlaeImageFile(ImageFile.ImageFile):
    """A file of ours that Pillow opened. Its ``info`` has the file's metadata from the start.

    A file that is damaged before its payload raises SyntaxError when it is opened, and `PIL.Image.open` makes an
    UnidentifiedImageError of it. All other errors of files are OSErrors. Their cause is the `CodecError`.
    """

    format = "VLAE"
    format_description = "VLAE image"

    def _open(self) -> None:
        file = self._file()
        begin = file.tell()
        with _os_errors():
            try:
                header, entries = read_beginning(file)
            except CorruptDataError as error:
                raise SyntaxError(str(error)) from error
        if header.mode in WIDE_MODES and header.mode not in ("I;16", "CMYK"):
            raise OSError(
                f"cannot open mode {header.mode}, which Pillow does not hold; codec.decompress returns an array"
            )
        self._mode = header.mode
        self._size = header.width, header.height
        self._pixels = header.width * header.height
        self._may_reduce = header.quality is not None
        self.info.update(metadata.info_of_entries(entries))
        self._set_tile(begin, FULL)

    def _set_tile(self, begin: int, scale: int) -> None:
        # The word names no decoder of Pillow: `load` takes the tile away before Pillow looks for one.
        self.tile = [ImageFile._Tile("vlae", (0, 0, *self._size), begin, (scale,))]

    def _file(self) -> Any:
        if self.fp is None:
            raise ValueError("operation on closed image")
        return self.fp

    def _container(self) -> container.Container:
        """Return the whole file, checked. Pillow's own limit of pixels was tested when the file was opened."""
        file = self._file()
        file.seek(self.tile[0].offset)
        return container.unpack(file.read(), self._pixels)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Make `load` return an eighth of a lossy image, if that is at least as large as asked for.

        A pixel has about the mean colour of 8 x 8 pixels. The transform that would make the samples is left out.

        Parameters
        ----------
        mode : str or None
            It changes nothing.
        size : tuple of int, optional
            Least width and height.

        Returns
        -------
        tuple or None
            The mode, and the box of the reduced image that the whole image fills: (0, 0, width / 8, height / 8). None
            if nothing changes.
        """
        width, height = self.size
        if not self.tile or not self._may_reduce or size is None or self.tile[0].args != (FULL,):
            return None
        if width < REDUCED * max(size[0], 1) or height < REDUCED * max(size[1], 1):
            return None
        self._size = -(-width // REDUCED), -(-height // REDUCED)
        self._set_tile(self.tile[0].offset, REDUCED)
        return self.mode, (0, 0, width / REDUCED, height / REDUCED)

    def load(self) -> Any:
        """Decode the image if it is not decoded yet, and return access to its pixels.

        Raises
        ------
        OSError
            The file is damaged, or its model is missing.
        ValueError
            The image is closed.
        """
        if self.tile:
            image = self._decoded()
            if (image.mode, image.size) != (self.mode, self.size):
                raise OSError("file: changed since it was opened")
            self.im, self.palette = image.im, image.palette
            if "transparency" in image.info:
                self.info["transparency"] = image.info["transparency"]
            self.tile, self.readonly = [], 0
            if self._exclusive_fp:
                self._file().close()
            self.fp = None
        return super().load()

    def _decoded(self) -> Image.Image:
        from codec.images import decoder  # loads the compiler of kernels

        with _os_errors():
            found = decoder.opened(self._container())
            if self.tile[0].args != (FULL,):
                return found.reduced()
            image = found.image()
        if isinstance(image, Image.Image):
            return image
        shown = image.public()
        if not isinstance(shown, Image.Image):
            raise OSError("file: changed since it was opened")
        return shown

    def verify(self) -> None:
        """Test the checksum and the lengths of the file, and close it.

        Raises
        ------
        OSError
            The file is damaged.
        """
        if self.tile:
            with _os_errors():
                self._container()
        super().verify()


@contextmanager
def _os_errors() -> Iterator[None]:
    """Make an OSError, which users of Pillow expect, of a `CodecError`."""
    try:
        yield
    except CodecError as error:
        raise OSError(str(error)) from error
