"""The beginning of a file: what it says of its image before the payload. Nothing behind it is read.

See FORMAT.md, "Container". `codec.format.container` reads whole files, and tests their checksum.
"""

from __future__ import annotations

from typing import IO

from codec.errors import CorruptDataError, UnsupportedError
from codec.format import metadata
from codec.format.container import WORD_BYTES
from codec.format.headers import (
    CODING_HEADER,
    CODING_HEADER_BYTES,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MAX_LANES,
    VERSION,
    Fidelity,
    Header,
    check_coding_header,
    check_header,
    mode_of,
    number,
    read,
)

HEADERS_BYTES = HEADER_BYTES + CODING_HEADER_BYTES + WORD_BYTES * MAX_LANES
"""Most bytes before the metadata."""
PIECE_BYTES = 1 << 16
"""Bytes that are read at once. A damaged header may announce more metadata than there is memory."""


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
    data = _read(file, HEADERS_BYTES)
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptDataError(f"file: expected magic {MAGIC!r}, got {data[: len(MAGIC)]!r}", 0)
    _require_bytes(data, HEADER_BYTES)
    values = read(HEADER, data, 0)
    if values["version"] != VERSION:
        raise UnsupportedError(f"file: expected format version {VERSION}, got {values['version']!r}")
    check_header(values, None)
    mode, grey = mode_of(number(values, "mode"))
    fidelity = Fidelity(number(values, "fidelity"))
    degree, width, height, crc = (number(values, name) for name in ("degree", "width", "height", "samples_crc"))
    header = Header(fidelity, mode, degree, width, height, crc, grey)
    start = HEADER_BYTES
    if fidelity != Fidelity.STORED:
        start += CODING_HEADER_BYTES
        _require_bytes(data, start)
        coding = read(CODING_HEADER, data, HEADER_BYTES)
        check_coding_header(coding, header)
        start += WORD_BYTES * number(coding, "lanes")
    end = start + number(values, "metadata_bytes")
    data += _read(file, end - len(data))
    _require_bytes(data, end)
    return header, metadata.unpack(data[start:end])


def _read(file: IO[bytes], length: int) -> bytes:
    """Return the next bytes of a file, or fewer at its end."""
    pieces = []
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _require_bytes(data: bytes, least: int) -> None:
    if len(data) < least:
        raise CorruptDataError(f"file: expected at least {least} bytes, got {len(data)}", len(data))
