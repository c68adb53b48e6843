"""An archive as a data set for training: images by number, also in several processes."""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

from codec.archive.reader import Archive


class _Opened(threading.local):
    """The archive that a thread has opened, and the process that opened it."""

    process = 0
    archive: Archive | None = None


class ArchiveDataset:
    """The images of an archive by number: a map-style data set, as ``torch.utils.data.DataLoader`` takes.

    Each process and each thread opens the archive for itself when it first asks for an image. So a data set can be
    pickled, and given to workers that are spawned or forked. To get one image, the images before it in its block are
    decoded, too. In random order, an archive with blocks of one image is fastest.

    Parameters
    ----------
    path : path
        The archive. It must not change as long as the data set is used.
    transform : callable, optional
        Called with each image, a `PIL.Image.Image` with its metadata in ``info``, or an array as `codec.decompress`
        returns them. What it returns is the item. To be pickled with the data set, it must be a function of a module,
        or an object that can be pickled.

    Attributes
    ----------
    names : tuple of str
        The names of the images, in the order in which they were added.
    transform : callable or None

    Raises
    ------
    CorruptDataError, UnsupportedError, OSError
        The archive cannot be opened, see `codec.Archive`.
    """

    def __init__(self, path: str | os.PathLike[str], transform: Callable[[Any], Any] | None = None) -> None:
        self._path = Path(path).absolute()
        self.transform = transform
        with Archive(self._path) as archive:
            self.names = tuple(archive)
        self._opened = _Opened()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def __getitem__(self, index: SupportsIndex) -> Any:
        """Return an image, or what the transform makes of it.

        Parameters
        ----------
        index : int
            Number of the image. A negative one counts from the end.

        Raises
        ------
        IndexError
            There is no such image.
        TypeError
            The index is no integer.
        CorruptDataError
            The block of the image is damaged.
        ModelError
            Its model is missing or has other weights.
        """
        name = self.names[operator.index(index)]
        image = self._archive()[name]
        return image if self.transform is None else self.transform(image)

    def _archive(self) -> Archive:
        opened = self._opened
        # A forked process shares the place in its parent's file, so it needs a file of its own.
        if opened.archive is None or opened.process != os.getpid():
            opened.process, opened.archive = os.getpid(), Archive(self._path)
            weakref.finalize(self, opened.archive.close)
        return opened.archive

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the open file."""
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned."""
        self.__dict__.update(state)
        self._opened = _Opened()
