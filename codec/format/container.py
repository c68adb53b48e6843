"""The bytes of a file: header, description, chunks, checksums. Nothing here decodes a pixel.

    header | description | coding header | metadata | adaptation | alpha | payload     fidelity 1 to 3
    header | description | samples_crc | metadata | PNG or parts                       fidelity 0, stored

All numbers are little-endian. The checksum ``file_crc`` covers all bytes but its own. It is tested before any other
field is read, and limits are checked before anything is allocated.
See FORMAT.md, "Container".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from codec.constants import LARGEST_SAMPLE, PRECISION
from codec.errors import CorruptDataError, UnsupportedError
from codec.format.fields import Reader, varint
from codec.format.headers import (
    BITS_MODE,
    HASH_BYTES,
    MAGIC,
    PIXEL_LIMIT,
    SAMPLES_CRC_BITS,
    VERSION,
    CodingHeader,
    Description,
    Fidelity,
    Header,
    Lengths,
    pack_description,
    require,
    unpack_description,
)

CRC_BYTES = 4
HEADER_BYTES = len(MAGIC) + 1 + CRC_BYTES
"""Bytes of the header: magic, version and ``file_crc``. The description follows."""
LEAST_MESSAGE_BYTES = 4
"""Bytes of an empty message."""


@dataclass(frozen=True)
class Container:
    """A file, taken apart.

    Attributes
    ----------
    header : Header
    coding : CodingHeader or None
        None in a stored file.
    lane_table : tuple of int
        Bytes of each lane's message. Empty in a stored file.
    metadata, adaptation, alpha : bytes
    payload : bytes
        The messages of the lanes, or the PNG or the parts of a stored file.
    """

    header: Header
    coding: CodingHeader | None
    lane_table: tuple[int, ...]
    metadata: bytes
    adaptation: bytes
    alpha: bytes
    payload: bytes


def stored(header: Header, metadata: bytes, payload: bytes) -> Container:
    """Return the container of a stored file."""
    return Container(header, None, (), metadata, b"", b"", payload)


def pack(container: Container) -> bytes:
    """Return the file's bytes; the inverse of `unpack`.

    Raises
    ------
    ValueError
        The parts contradict each other.
    """
    body = pack_body(container)
    start = MAGIC + bytes([VERSION])
    return start + _file_crc(start, body).to_bytes(CRC_BYTES, "little") + body


def pack_body(container: Container) -> bytes:
    """Return the bytes of a file behind its header; the inverse of `unpack_body`.

    Raises
    ------
    ValueError
        The parts contradict each other.
    """
    coding, table = container.coding, container.lane_table
    if coding is not None:
        if len(table) != coding.lanes:
            raise ValueError(f"lane table: expected {coding.lanes} lanes, got {len(table)}")
        if len(container.payload) != sum(table):
            raise ValueError(f"payload: expected {sum(table)} bytes, got {len(container.payload)}")
    chunks = (container.metadata, container.adaptation, container.alpha, container.payload)
    return b"".join([*_heads(container), *chunks])


def _heads(container: Container) -> tuple[bytes, bytes]:
    """Return what stands between the header and the chunks: lane table and all before it apart."""
    coding = container.coding
    lengths = Lengths(len(container.metadata), len(container.adaptation), len(container.alpha))
    if coding is None:
        crc = container.header.samples_crc.to_bytes(CRC_BYTES, "little")
        return pack_description(Description(container.header, lengths=lengths)) + crc, b""
    described = pack_description(Description(container.header, coding.latents, coding.lanes, False, lengths))
    table = b"".join(map(varint, container.lane_table[:-1]))
    return described + varint(coding.model) + coding.weights_hash, table


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
    reader, recorded = begin(data)
    crc = _file_crc(data[: HEADER_BYTES - CRC_BYTES], memoryview(data)[HEADER_BYTES:])
    if recorded != crc:
        raise CorruptDataError(
            f"file: checksum {crc:#010x} differs from the recorded {recorded:#010x}, the file was damaged or cut",
            HEADER_BYTES - CRC_BYTES,
        )
    return _unpack_from(data, reader, max_pixels or PIXEL_LIMIT)


def unpack_body(data: bytes, max_pixels: int | None) -> Container:
    """Return the parts of a file without its header, checked; the inverse of `pack_body`.

    Raises
    ------
    CorruptDataError
        The data is damaged, or its parts contradict each other.
    UnsupportedError
        The image is over ``max_pixels``.
    """
    return _unpack_from(data, Reader(data, what="part"), max_pixels)


def _unpack_from(data: bytes, reader: Reader, max_pixels: int | None) -> Container:
    heads = unpack_heads(reader, max_pixels)
    if heads.coding is None:
        end = reader.at + heads.lengths.metadata
        if len(data) <= end:
            raise CorruptDataError(f"file: expected more than {end} bytes, got {len(data)}", len(data))
        return stored(heads.header, data[reader.at : end], data[end:])
    return _unpack_coded(data, reader.at, heads)


def begin(data: bytes) -> tuple[Reader, int]:
    """Return a reader of a file that stands behind the header, and the header's ``file_crc``.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.

    Raises
    ------
    CorruptDataError
        The data is not a file of this format, or ends in the header.
    UnsupportedError
        The file has another version of the format.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptDataError(f"file: expected magic {MAGIC!r}, got {data[: len(MAGIC)]!r}", 0)
    reader = Reader(data, len(MAGIC))
    version, recorded = reader.byte(), int.from_bytes(reader.take(CRC_BYTES), "little")
    if version != VERSION:
        raise UnsupportedError(f"file: expected format version {VERSION}, got {version}")
    return reader, recorded


class Heads(NamedTuple):
    """What stands between the header of a file and its chunks.

    Attributes
    ----------
    header : Header
    coding : CodingHeader or None
        None in a stored file.
    lane_table : tuple of int
        Bytes of each lane's message but the last.
    lengths : Lengths
    """

    header: Header
    coding: CodingHeader | None
    lane_table: tuple[int, ...]
    lengths: Lengths


def unpack_heads(reader: Reader, max_pixels: int | None) -> Heads:
    """Return what a reader finds behind the header. Then it stands at the first chunk, the metadata.

    Raises
    ------
    CorruptDataError
        A field is out of its range, fields contradict each other, or the data ends.
    UnsupportedError
        The image is over ``max_pixels`` or has a side over the limit.
    """
    found = unpack_description(reader, max_pixels)
    require(not found.borrows, "borrows", "0 in a file", 1)
    if found.header.fidelity == Fidelity.STORED:
        header = replace(found.header, samples_crc=int.from_bytes(reader.take(CRC_BYTES), "little"))
        return Heads(header, None, (), found.lengths)
    coding = CodingHeader(found.latents, found.lanes, reader.number(), reader.take(HASH_BYTES))
    return Heads(found.header, coding, tuple(reader.number() for _ in range(coding.lanes - 1)), found.lengths)


def _unpack_coded(data: bytes, start: int, heads: Heads) -> Container:
    """Return the parts of a coded file, whose chunks begin at ``start``."""
    ends = list(accumulate(heads.lengths, initial=start))
    last = len(data) - ends[-1] - sum(heads.lane_table)
    if last < LEAST_MESSAGE_BYTES:
        least = len(data) - last + LEAST_MESSAGE_BYTES
        raise CorruptDataError(f"file: expected at least {least} bytes, got {len(data)}", len(data))
    chunks = (data[begin:end] for begin, end in pairwise([*ends, len(data)]))
    container = Container(heads.header, heads.coding, (*heads.lane_table, last), *chunks)
    if heads.header.fidelity != Fidelity.LOSSY and not holds_samples(container):
        raise CorruptDataError("header: asks for more samples than the payload can hold", HEADER_BYTES)
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
    """Return the bits of each part of the file; they sum to 8 times its length.

    The checksum of a coded file's samples counts as one, though its first message holds it.
    """
    described, table = _heads(container)
    stored_crc, sealed = (8 * CRC_BYTES, 0) if container.coding is None else (0, SAMPLES_CRC_BITS)
    return {
        "header_bits": 8 * (HEADER_BYTES - CRC_BYTES + len(described)) - stored_crc,
        "lane_table_bits": 8 * len(table),
        "metadata_bits": 8 * len(container.metadata),
        "adaptation_bits": 8 * len(container.adaptation),
        "alpha_bits": 8 * len(container.alpha),
        "checksum_bits": 8 * CRC_BYTES + stored_crc + sealed,
        "payload_bits": 8 * len(container.payload) - sealed,
    }


def _file_crc(start: bytes, body: bytes | memoryview) -> int:
    """Return the CRC-32 of the bytes before ``file_crc`` and of those behind it."""
    return zlib.crc32(body, zlib.crc32(start))
