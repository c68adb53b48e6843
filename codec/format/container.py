"""The bytes of a file: headers, lane table, chunks, checksums. Nothing here decodes a pixel.

    header | coding header | lane table | metadata | adaptation | alpha | payload     fidelity 1 to 3
    header | metadata | PNG                                                           fidelity 0, stored

All numbers are little-endian. The checksum ``file_crc`` covers all bytes but its own. It is tested before any other
field is read, and limits are checked before anything is allocated.
See FORMAT.md, "Container".
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from codec.constants import LARGEST_SAMPLE, PRECISION
from codec.errors import CorruptDataError, UnsupportedError
from codec.format.headers import (
    BITS_MODE,
    CODING_HEADER,
    CODING_HEADER_BYTES,
    HASH_BYTES,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    OFFSETS,
    PIXEL_LIMIT,
    VERSION,
    CodingHeader,
    Fidelity,
    Header,
    Latents,
    check_coding_header,
    check_header,
    mode_of,
    number,
    read,
    write,
)

HEAD_BYTES, WORD_BYTES = 8, 4
CHECKSUM_BYTES = 8


@dataclass(frozen=True)
class Container:
    """A file, taken apart.

    Attributes
    ----------
    header : Header
    coding : CodingHeader or None
        None in a stored file.
    lane_table : tuple of int
        Number of words of each lane's message, its head not counted. Empty in a stored file.
    metadata, adaptation, alpha : bytes
    payload : bytes
        The messages of the lanes, or the PNG of a stored file.
    """

    header: Header
    coding: CodingHeader | None
    lane_table: tuple[int, ...]
    metadata: bytes
    adaptation: bytes
    alpha: bytes
    payload: bytes


def stored(header: Header, metadata: bytes, png: bytes) -> Container:
    """Return the container of a stored file."""
    return Container(header, None, (), metadata, b"", b"", png)


def pack(container: Container) -> bytes:
    """Return the file's bytes; the inverse of `unpack`.

    Raises
    ------
    ValueError
        The parts contradict each other.
    """
    values: dict[str, int | bytes] = {
        "magic": MAGIC,
        "version": VERSION,
        "fidelity": container.header.fidelity,
        "mode": container.header.mode_number,
        "degree": container.header.degree,
        "width": container.header.width,
        "height": container.header.height,
        "metadata_bytes": len(container.metadata),
        "samples_crc": container.header.samples_crc,
        "file_crc": 0,
    }
    parts = []
    if container.coding is not None:
        values |= {
            "latents": container.coding.latents,
            "lanes": container.coding.lanes,
            "band_height": container.coding.band_height,
            "model": container.coding.model,
            "adaptation_bytes": len(container.adaptation),
            "weights_hash": container.coding.weights_hash,
            "alpha_bytes": len(container.alpha),
        }
        parts = [write(CODING_HEADER, values), _table_layout(len(container.lane_table)).pack(*container.lane_table)]
    body = b"".join([*parts, container.metadata, container.adaptation, container.alpha, container.payload])
    values["file_crc"] = _file_crc(write(HEADER, values), body)
    check_header(values, None)
    if container.coding is not None:
        check_coding_header(values, container.header)
        lanes, expected = len(container.lane_table), payload_bytes(container.lane_table)
        if lanes != container.coding.lanes:
            raise ValueError(f"lane table: expected {container.coding.lanes} lanes, got {lanes}")
        if len(container.payload) != expected:
            raise ValueError(f"payload: expected {expected} bytes, got {len(container.payload)}")
    return write(HEADER, values) + body


def unpack(data: bytes, max_pixels: int | None = None) -> Container:
    """Return the parts of a file, checked; the inverse of `pack`.

    Parameters
    ----------
    data : bytes
    max_pixels : int, optional
        Limit on width times height, in place of `PIXEL_LIMIT`.

    Raises
    ------
    CorruptDataError
        The data is not a file of this format, it is damaged, cut or extended, or its parts contradict each other.
    UnsupportedError
        The file has another version of the format, or the image is over the pixel limit.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptDataError(f"file: expected magic {MAGIC!r}, got {data[: len(MAGIC)]!r}", 0)
    _require_bytes(data, HEADER_BYTES)
    values = read(HEADER, data, 0)
    if values["version"] != VERSION:
        raise UnsupportedError(f"file: expected format version {VERSION}, got {values['version']!r}")
    crc = _file_crc(data[:HEADER_BYTES], memoryview(data)[HEADER_BYTES:])
    if values["file_crc"] != crc:
        raise CorruptDataError(
            f"file: checksum {crc:#010x} differs from the recorded {number(values, 'file_crc'):#010x}, "
            "the file was damaged or cut",
            OFFSETS["file_crc"],
        )
    check_header(values, max_pixels or PIXEL_LIMIT)
    mode, grey = mode_of(number(values, "mode"))
    header = Header(
        Fidelity(number(values, "fidelity")),
        mode,
        number(values, "degree"),
        number(values, "width"),
        number(values, "height"),
        number(values, "samples_crc"),
        grey,
    )
    metadata_bytes = number(values, "metadata_bytes")
    if header.fidelity == Fidelity.STORED:
        end = HEADER_BYTES + metadata_bytes
        if len(data) <= end:
            raise CorruptDataError(f"file: expected more than {end} bytes, got {len(data)}", len(data))
        return stored(header, data[HEADER_BYTES:end], data[end:])
    return _unpack_coded(data, header, metadata_bytes)


def _unpack_coded(data: bytes, header: Header, metadata_bytes: int) -> Container:
    table_start = HEADER_BYTES + CODING_HEADER_BYTES
    _require_bytes(data, table_start)
    values = read(CODING_HEADER, data, HEADER_BYTES)
    check_coding_header(values, header)
    coding = CodingHeader(
        Latents(number(values, "latents")),
        number(values, "lanes"),
        number(values, "band_height"),
        number(values, "model"),
        bytes(data[OFFSETS["weights_hash"] : OFFSETS["weights_hash"] + HASH_BYTES]),
    )
    table_end = table_start + WORD_BYTES * coding.lanes
    _require_bytes(data, table_end)
    lane_table = _table_layout(coding.lanes).unpack_from(data, table_start)
    metadata_end = table_end + metadata_bytes
    adaptation_end = metadata_end + number(values, "adaptation_bytes")
    alpha_end = adaptation_end + number(values, "alpha_bytes")
    expected = alpha_end + payload_bytes(lane_table)
    if len(data) != expected:
        raise CorruptDataError(f"file: expected {expected} bytes, got {len(data)}", min(len(data), expected))
    ends = (table_end, metadata_end, adaptation_end, alpha_end, expected)
    chunks = (data[begin:end] for begin, end in pairwise(ends))
    container = Container(header, coding, lane_table, *chunks)
    if header.fidelity != Fidelity.LOSSY and not holds_samples(container):
        raise CorruptDataError("header: asks for more samples than the payload can hold", OFFSETS["width"])
    return container


def holds(demand: int, payload_bytes: int) -> bool:
    """Return whether a payload is long enough for the values that a header asks for. This bounds the decoding time.

    Parameters
    ----------
    demand : int
        Sum over all values of the number of symbols that a value can be, less 1; see `samples_demand`.
    payload_bytes : int
        Length of the payload.

    Notes
    -----
    A value that can be n symbols costs at least -log2(1 - (n - 1) / 2**24) bits. The division in a push can lose 1 of
    128 of them. (Bits that bits-back returns could in theory pay for further values. But the real costs of a model are
    far above this bound, and an encoder asks this function before it writes.)
    """
    # log2(e) * 127 / 128 > 1465 / 1024. Integers make the same decision on every machine.
    return demand * 1465 <= 8 * payload_bytes << (PRECISION + 10)


def holds_samples(container: Container) -> bool:
    """Return whether the payload of a file that codes samples can hold all samples that its header asks for."""
    return container.coding is None or holds(samples_demand(container.header), len(container.payload))


def samples_demand(header: Header) -> int:
    """Return the demand of a file that codes samples: samples times (symbols that a sample can be, less 1).

    `holds` compares it with the payload. A sample of a black-and-white image can be 2 symbols.
    """
    others = 1 if header.mode == BITS_MODE else LARGEST_SAMPLE // (2 * header.degree + 1)
    return header.width * header.height * header.channels * others


def file_bytes(container: Container) -> int:
    """Return the length of the file in bytes, without packing it."""
    return sum(part_bits(container).values()) // 8


def part_bits(container: Container) -> dict[str, int]:
    """Return the bits of each part of the file; they sum to 8 times its length."""
    headers = HEADER_BYTES if container.coding is None else HEADER_BYTES + CODING_HEADER_BYTES
    return {
        "header_bits": 8 * (headers - CHECKSUM_BYTES),
        "lane_table_bits": 8 * WORD_BYTES * len(container.lane_table),
        "metadata_bits": 8 * len(container.metadata),
        "adaptation_bits": 8 * len(container.adaptation),
        "alpha_bits": 8 * len(container.alpha),
        "checksum_bits": 8 * CHECKSUM_BYTES,
        "payload_bits": 8 * len(container.payload),
    }


def _file_crc(header: bytes, body: bytes | memoryview) -> int:
    """Return the CRC-32 of a header without its last field, ``file_crc``, and of what follows."""
    return zlib.crc32(body, zlib.crc32(header[: OFFSETS["file_crc"]]))


def _require_bytes(data: bytes, least: int) -> None:
    if len(data) < least:
        raise CorruptDataError(f"file: expected at least {least} bytes, got {len(data)}", len(data))


def _table_layout(lanes: int) -> struct.Struct:
    return struct.Struct(f"<{lanes}I")


def payload_bytes(lane_table: tuple[int, ...]) -> int:
    """Return the length in bytes of the lanes' messages."""
    return HEAD_BYTES * len(lane_table) + WORD_BYTES * sum(lane_table)
