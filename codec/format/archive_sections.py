"""The sections of an archive: how a file begins, how a section ends, and how the last section is found.

    magic | version | section | section | ...        section: blocks | index | trailer

Each addition writes a section of its own behind the others. A reader takes the last valid trailer, and goes back from
there, section by section. See FORMAT.md, "Archives".
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from codec.errors import CorruptDataError, UnsupportedError
from codec.format.archive_index import Block, unpack_index
from codec.format.container import CRC_BYTES
from codec.format.headers import VERSION

MAGIC = b"VLAR"
START = MAGIC + bytes([VERSION])
"""The first bytes of an archive. The first section follows."""
TRAILER_MAGIC = b"VLAR-end"
"""The first bytes of a trailer. They are eight, so that a payload hardly ever has them by chance."""

IMAGE_LIMIT = 1 << 18
"""Most images of an archive. Their index takes some 200 MiB of memory."""
INDEX_LIMIT = 1 << 26
"""Most bytes of all indexes of an archive, before they are compressed. That is enough for 2^18 images with names of 200
bytes, and bounds the time and the memory that a few bytes of a hostile archive can ask for."""
CANDIDATE_LIMIT = 64
"""Most places that look like a trailer but are none. A reader passes over up to this number, and then gives up."""
SEARCH_BYTES = 1 << 20
"""Bytes that the reader takes at once while it looks for the last valid trailer."""

_TRAILER = struct.Struct("<8sQII")  # magic, section_bytes, index_bytes, index_crc
_CRC = struct.Struct("<I")
TRAILER_BYTES = _TRAILER.size + _CRC.size
TRAILER_CRC_BYTES = 2 * _CRC.size
"""Bytes of a trailer's two checksums: that of the index, and that of the trailer's own other fields."""


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as an archive.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@dataclass(frozen=True)
class Section:
    """A section: what one addition wrote.

    Attributes
    ----------
    start, end : int
        Byte of the archive at which it begins, and byte after its last.
    index_bytes : int
    field_bytes : int
        Bytes of the index when it is decompressed.
    blocks : tuple of Block
        The blocks lie one after the other from ``start`` on.
    """

    start: int
    end: int
    index_bytes: int
    field_bytes: int
    blocks: tuple[Block, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(len(block.images) for block in self.blocks)

    @property
    def crc_bytes(self) -> int:
        """Bytes of the checksums of the index and of the trailer."""
        return CRC_BYTES * (len(self.blocks) + self.images) + TRAILER_CRC_BYTES


def pack_trailer(index: bytes, section_bytes: int) -> bytes:
    """Return the trailer that ends a section. ``section_bytes`` is the length of the section with its trailer."""
    fields = _TRAILER.pack(TRAILER_MAGIC, section_bytes, len(index), zlib.crc32(index))
    return fields + _CRC.pack(zlib.crc32(fields))


@dataclass(frozen=True)
class _Trailer:
    """What a trailer says: the bounds of its section, and the bytes of the index, not yet unpacked."""

    start: int
    end: int
    index: bytes


def _read(file: BinaryIO, begin: int, end: int) -> bytes:
    file.seek(begin)
    return file.read(end - begin)


def _trailer(file: BinaryIO, end: int) -> _Trailer | None:
    """Return what the trailer that ends at byte ``end`` says, or None if there is no valid trailer."""
    data = _read(file, max(end - TRAILER_BYTES, 0), end)
    if len(data) != TRAILER_BYTES or _CRC.unpack_from(data, _TRAILER.size)[0] != zlib.crc32(data[: _TRAILER.size]):
        return None
    magic, section_bytes, index_bytes, index_crc = _TRAILER.unpack_from(data)
    start = end - section_bytes
    index_end = end - TRAILER_BYTES
    if magic != TRAILER_MAGIC or start < len(START) or not 1 <= index_bytes <= min(INDEX_LIMIT, index_end - start):
        return None
    index = _read(file, index_end - index_bytes, index_end)
    return _Trailer(start, end, index) if zlib.crc32(index) == index_crc else None


def _last_trailer(file: BinaryIO, length: int) -> _Trailer:
    """Return the last valid trailer. Bytes behind it, which a crash may have left, are passed over."""
    low = length
    candidates = 0
    while low > len(START):
        # A trailer begins in [low, high); its magic may reach beyond.
        high, low = low, max(low - SEARCH_BYTES, len(START))
        area = _read(file, low, min(high + len(TRAILER_MAGIC) - 1, length))
        place = area.rfind(TRAILER_MAGIC)
        while place >= 0:
            found = _trailer(file, low + place + TRAILER_BYTES)
            if found is not None:
                return found
            candidates += 1
            if candidates == CANDIDATE_LIMIT:
                raise CorruptDataError(f"archive: no valid index after {candidates} damaged ones")
            place = area.rfind(TRAILER_MAGIC, 0, place + len(TRAILER_MAGIC) - 1)
    raise CorruptDataError("archive: no valid index, the file was damaged or cut")


def read_sections(file: BinaryIO) -> list[Section]:
    """Return the sections of an archive from the first to the last.

    Raises
    ------
    CorruptDataError
        Not an archive, no valid trailer, or a section that is damaged or contradicts itself.
    UnsupportedError
        Another version, more images or longer indexes than the limits, or an image over the pixel limit.
    """
    length = file.seek(0, 2)
    start = _read(file, 0, len(START))
    if start[: len(MAGIC)] != MAGIC:
        raise CorruptDataError(f"archive: expected magic {MAGIC!r}, got {start[: len(MAGIC)]!r}", 0)
    if len(start) == len(START) and start != START:
        raise UnsupportedError(f"archive: expected format version {VERSION}, got {start[-1]}")
    trailers = [_last_trailer(file, length)]
    while trailers[-1].start > len(START):
        end = trailers[-1].start
        before = _trailer(file, end)
        if before is None:
            raise CorruptDataError(f"archive: expected the end of a section at byte {end}", end)
        trailers.append(before)
    sections: list[Section] = []
    for trailer in reversed(trailers):
        most_images = IMAGE_LIMIT - sum(section.images for section in sections)
        blocks, field_bytes = unpack_index(trailer.index, most_images, index_room(sections))
        section = Section(trailer.start, trailer.end, len(trailer.index), field_bytes, blocks)
        expected = sum(block.length for block in blocks) + section.index_bytes + TRAILER_BYTES
        if section.end - section.start != expected:
            raise CorruptDataError(
                f"archive: expected a section of {expected} bytes, got {section.end - section.start}", section.start
            )
        sections.append(section)
    return sections


def index_room(sections: Sequence[Section]) -> int:
    """Return how many bytes the index of a further section may have, before it is compressed."""
    return INDEX_LIMIT - sum(section.field_bytes for section in sections)
