"""Reading archives, which hold many images in one file.

`codec.archive.writer` makes archives and adds to them. See FORMAT.md, "Archives". The kernels and their compiler are
imported where pixels are decoded, so that other uses start at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import CorruptDataError, RequestError
from codec.format import metadata
from codec.format.archive_index import Block, ImageEntry
from codec.format.archive_sections import START, TRAILER_BYTES, read_sections
from codec.image_files import writing
from codec.image_files.wide_image import public_of
from codec.system import workers
from codec.system.targets import check_folder, check_free
from codec.system.workers import Report

if TYPE_CHECKING:
    from codec.archive.blocks import BlockReader
    from codec.images.decoder import Opened


@dataclass(frozen=True)
class _Place:
    """The place of an image: the byte at which its block begins, the block, and the image's number in the block."""

    begin: int
    block: Block
    index: int


@dataclass(frozen=True)
class _Task:
    """A task for a worker: images of a block to decode, and to write where there is a target."""

    archive: str
    begin: int
    block: Block
    targets: Mapping[int, Path | None]
    force: bool


class Archive(Mapping[str, Image.Image | NDArray[np.uint16]]):
    """An archive that is open for reading: a mapping from names to images, in the order in which they were added.

    An image is decoded when it is asked for. If all are asked for in order, each is decoded once. Images have their
    metadata in ``info``. Those that Pillow cannot hold are arrays, as `codec.decompress` returns them. Each thread
    needs an `Archive` of its own.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    entries : dict of str to ImageEntry
        What the index says of each image. Nothing is decoded for it.
    file_bytes : int
        Length of the file.
    ignored_bytes : int
        Bytes behind the last valid index. An addition that did not end has left them.

    Raises
    ------
    CorruptDataError
        The file is not an archive, or it is damaged.
    UnsupportedError
        The archive has another version of the format or more images than the limit, or an image is over the pixel
        limit.
    OSError
        The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file = self._path.open("rb")
        self._reader: tuple[int, BlockReader] | None = None
        try:
            self._sections = read_sections(self._file)
            self.file_bytes = self._file.seek(0, os.SEEK_END)
            self._places = self._find()
        except BaseException:
            self._file.close()
            raise
        self.entries: dict[str, ImageEntry] = {
            name: place.block.images[place.index] for name, place in self._places.items()
        }
        self.ignored_bytes = self.file_bytes - self._sections[-1].end

    def _find(self) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        for begin, block in self.blocks():
            for index, image in enumerate(block.images):
                if image.name in places:
                    raise CorruptDataError(f"archive: {image.name!r} is there twice")
                places[image.name] = _Place(begin, block, index)
        return places

    def __enter__(self) -> Archive:
        """Return the archive."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._reader = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        """Return whether there is an image of this name. Nothing is decoded."""
        return name in self._places

    def __getitem__(self, name: str) -> Image.Image | NDArray[np.uint16]:
        """Return the image of a name, decoded.

        Raises
        ------
        KeyError
            There is no image of this name.
        CorruptDataError
            Its block is damaged.
        ModelError
            Its model is missing or has other weights.
        """
        place = self._places[name]
        return public_of(self._block_of(place).image(place.index))

    def opened(self, name: str) -> Opened:
        """Return the decoded file of a name's image: what its ledger and maps of its bits are made of.

        Raises
        ------
        KeyError
            There is no image of this name.
        CorruptDataError
            Its block is damaged.
        ModelError
            Its model is missing or has other weights.
        """
        place = self._places[name]
        return self._block_of(place).opened(place.index)

    def _block_of(self, place: _Place) -> BlockReader:
        if self._reader is None or self._reader[0] != place.begin:
            from codec.archive.blocks import BlockReader

            self._file.seek(place.begin)
            self._reader = place.begin, BlockReader(place.block, self._file.read(place.block.length))
        return self._reader[1]

    def metadata(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield for each image its name, and its metadata as in Pillow's ``info``. No image is decoded.

        Raises
        ------
        CorruptDataError
            A block is damaged.
        """
        for begin, block in self.blocks():
            self._file.seek(begin)
            _, files = block.split(self._file.read(block.length))
            for entry, file in zip(block.images, files, strict=True):
                yield entry.name, metadata.info_of(file.metadata)

    def extract(
        self,
        folder: str | os.PathLike[str],
        names: Iterable[str] | None = None,
        *,
        force: bool = False,
        processes: int | None = None,
        report: Report = lambda images: None,
    ) -> list[Path]:
        """Write images as PNG, and CMYK as TIFF, below a folder, and return their paths.

        Parameters
        ----------
        folder : path
            The folder is made if it is missing.
        names : iterable of str, optional
            Names of the images, by default all. The suffix is added to names that do not end with it.
        force : bool
            Whether to replace existing files.
        processes : int, optional
            Number of processes; by default one for each processor.
        report : callable
            Called with the number of images that have been done since the last call.

        Raises
        ------
        ValueError
            An image does not exist; a file exists and ``force`` is false; two images would have the same file; a link
            leads out of the folder; or the folder cannot be written.
        CorruptDataError
            The block of an image is damaged. Earlier images are written.
        ModelError
            The model of an image is missing or has other weights. Earlier images are written.
        OSError
            A file cannot be written.
        """
        wanted = list(self._places if names is None else dict.fromkeys(names))
        targets: dict[Path, str] = {}
        for name in wanted:
            if name not in self._places:
                raise RequestError(f"name {name!r}: not in the archive")
            target = _target(Path(folder), name, writing.suffix_for(self.entries[name].header.mode))
            if target in targets:
                raise RequestError(f"output {target}: would be that of {targets[target]!r} and of {name!r}")
            check_free(target, force)
            targets[target] = name
        check_folder(folder)
        self._work({name: target for target, name in targets.items()}, force, processes, report)
        return list(targets)

    def verify(self, *, processes: int | None = None, report: Report = lambda images: None) -> None:
        """Decode all images, and compare them with their checksums.

        Parameters
        ----------
        processes : int, optional
            Number of processes; by default one for each processor.
        report : callable
            Called with the number of images that have been done since the last call.

        Raises
        ------
        CorruptDataError
            An image is damaged, or bytes follow behind the last valid index.
        ModelError
            The model of an image is missing or has other weights.
        """
        self._work(dict.fromkeys(self._places), False, processes, report)
        self.check_end()

    def check_end(self) -> None:
        """Raise CorruptDataError if bytes follow behind the last valid index: images may have been lost."""
        if self.ignored_bytes:
            raise CorruptDataError(
                f"archive: all {len(self)} images are whole, but the last {self.ignored_bytes} bytes are of an "
                "addition that did not end, or was damaged",
                self.file_bytes - self.ignored_bytes,
            )

    def _work(self, targets: Mapping[str, Path | None], force: bool, processes: int | None, report: Report) -> None:
        tasks: dict[int, tuple[Block, dict[int, Path | None]]] = {}
        for name, target in targets.items():
            place = self._places[name]
            tasks.setdefault(place.begin, (place.block, {}))[1][place.index] = target
        work = [_Task(str(self._path), begin, *task, force) for begin, task in sorted(tasks.items())]
        with closing(workers.run(_decode_block, work, lambda task: len(task.targets), processes, report)) as done:
            for _ in done:
                pass

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Yield for each block the byte at which it begins, and the block. `open_block` takes both."""
        for section in self._sections:
            begin = section.start
            for block in section.blocks:
                yield begin, block
                begin += block.length

    def part_bits(self) -> dict[str, int]:
        """Return the bits of each part of the archive; they sum to 8 times its length."""
        chunks = [image.chunks for image in self.entries.values()]
        metadata, adaptation, alpha, png = (8 * sum(column) for column in zip(*chunks, strict=True))
        checksum_bytes = sum(section.crc_bytes for section in self._sections)
        index_bytes = sum(section.index_bytes + TRAILER_BYTES for section in self._sections)
        return {
            "header_bits": 8 * len(START),
            "message_bits": 8 * sum(chain.payload_bytes for _, block in self.blocks() for chain in block.chains),
            "stored_bits": png,
            "metadata_bits": metadata,
            "adaptation_bits": adaptation,
            "alpha_bits": alpha,
            "checksum_bits": 8 * checksum_bytes,
            "index_bits": 8 * (index_bytes - checksum_bytes),
            "ignored_bits": 8 * self.ignored_bytes,
        }


def _target(folder: Path, name: str, suffix: str) -> Path:
    """Return the path of an image's file below a folder."""
    target = folder / (name if name.lower().endswith(suffix) else f"{name}{suffix}")
    if not target.resolve().is_relative_to(folder.resolve()):
        raise RequestError(f"output {target}: a link leads out of {folder}")
    return target


def open_block(path: str | os.PathLike[str], begin: int, block: Block, threads: int | None = None) -> BlockReader:
    """Return a reader of one block of an archive.

    Parameters
    ----------
    path : path
        The archive.
    begin, block : int, Block
        From `Archive.blocks`.
    threads : int or None
        Largest number of threads.

    Raises
    ------
    CorruptDataError
        The block is damaged.
    OSError
        The file cannot be opened.
    """
    from codec.archive.blocks import BlockReader

    with Path(path).open("rb") as file:
        file.seek(begin)
        return BlockReader(block, file.read(block.length), threads)


def _decode_block(task: _Task, threads: int | None, report: Callable[[int], None]) -> None:
    """Decode the images of a task, and write those that have a target."""
    reader = open_block(task.archive, task.begin, task.block, threads)
    for index, target in sorted(task.targets.items()):
        image = reader.image(index)
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            writing.save_image(image, target, force=task.force)
        report(1)
