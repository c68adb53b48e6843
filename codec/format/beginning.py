"""The beginning of a file: what it says of its image before the payload. Nothing behind it is read.

See FORMAT.md, "Container". `codec.format.container` reads whole files, and tests their checksum.
"""

from __future__ import annotations

from typing import IO

from codec.errors import CorruptDataError
from codec.format import container, metadata
from codec.format.headers import Header

FIRST_BYTES = 128
"""Bytes that are read first. All that stands before the metadata is shorter."""
PIECE_BYTES = 1 << 16
"""Bytes that are read at once. A damaged file may announce more metadata than there is memory."""


def read_beginning(file: IO[bytes]) -> tuple[Header, dict[str, bytes]]:
    """Return the header and the entries of the metadata, see `codec.format.metadata.unpack`.

    The fields are checked, but no checksum is tested, and there is no limit of pixels.

    Parameters
    ----------
    file : binary file
        It is read from its position to about the end of the metadata.

    Raises
    ------
    CorruptDataError
        The file is not one of this format, or is damaged or cut before the end of the metadata.
    UnsupportedError
        The file has another version of the format, or sides over the limit.
    OSError
        The file cannot be read.
    """
    data = _read(file, FIRST_BYTES)
    reader, _ = container.begin(data)
    heads = container.unpack_heads(reader, None)
    end = reader.at + heads.lengths.metadata
    data += _read(file, end - len(data))
    if len(data) < end:
        raise CorruptDataError(f"file: expected at least {end} bytes, got {len(data)}", len(data))
    return heads.header, metadata.unpack(data[reader.at : end])


def _read(file: IO[bytes], length: int) -> bytes:
    """Return the next bytes of a file, or fewer at its end."""
    pieces = []
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
