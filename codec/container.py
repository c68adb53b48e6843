"""The bytes of a file: headers, band table, chunks, checksums. Nothing here decodes a pixel.

    header | coding header | band table | metadata | adaptation | alpha | payload     fidelity 1 and 2
    header | metadata | PNG                                                           fidelity 0, stored

All numbers are little-endian. The second checksum covers every byte but its own and is tested
before any field is believed; limits are checked before anything is allocated.
See FORMAT.md, "Container".
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import CorruptDataError, UnsupportedError

MAGIC = b"VLAE"
VERSION = 0
"""Stays 0 until the format is first released."""


class Fidelity(IntEnum):
    """What the decoded image has to do with the original."""

    STORED = 0
    LOSSLESS = 1
    NEAR_LOSSLESS = 2


class Latents(IntEnum):
    """How the latents are coded."""

    NONE = 0
    BITS_BACK = 1
    TWO_PART = 2


MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
"""Pillow's names; the header has the index."""
CODED_MODES = MODES[:4]
"""Palette indices and bits are no intensities: P and 1 are only stored."""

MAX_ERROR = 10
"""The models were trained up to this error; beyond, a lossy code is the better choice."""
MAX_LANES = 8
BAND_UNIT = 64
MAX_BAND_HEIGHT = 1024
"""The working memory is proportional to the height of a band."""
PIXEL_LIMIT = 178_956_970
"""Width times height: where Pillow refuses to open by itself; 512 MiB of RGB."""
SIDE_LIMIT = 1 << 18
"""Width and height of a coded image: the latents' memory grows with a band's width, not its pixels."""
HEAD_BYTES, WORD_BYTES = 8, 4
HASH_BYTES = 8
PRECISION = 24
"""That of the entropy coder, whose module needs the compiler of the kernels; tests compare them."""


class Field(NamedTuple):
    """A field of a header: its name in FORMAT.md and its `struct` code."""

    name: str
    code: str


HEADER = (
    Field("magic", "4s"),
    Field("version", "B"),
    Field("fidelity", "B"),
    Field("mode", "B"),
    Field("max_error", "B"),
    Field("width", "I"),
    Field("height", "I"),
    Field("metadata_bytes", "I"),
    Field("samples_crc", "I"),
    Field("file_crc", "I"),
)
CODING_HEADER = (
    Field("latents", "B"),
    Field("lanes", "B"),
    Field("band_height", "H"),
    Field("model", "H"),
    Field("adaptation_bytes", "H"),
    Field("weights_hash", f"{HASH_BYTES}s"),
    Field("alpha_bytes", "I"),
    Field("payload_bytes", "I"),
    Field("band_count", "I"),
)


def _layout(fields: tuple[Field, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(field.code for field in fields))


def _offsets(fields: tuple[Field, ...], start: int) -> dict[str, int]:
    return {field.name: start + _layout(fields[:i]).size for i, field in enumerate(fields)}


HEADER_BYTES = _layout(HEADER).size
CODING_HEADER_BYTES = _layout(CODING_HEADER).size
OFFSETS = _offsets(HEADER, 0) | _offsets(CODING_HEADER, HEADER_BYTES)
"""Byte of the file at which each field begins."""
CHECKSUM_BYTES = 8


@dataclass(frozen=True)
class Header:
    """What every file says of its image.

    Attributes
    ----------
    fidelity : Fidelity
    mode : str
        One of `MODES`.
    max_error : int
        0, or 1 to `MAX_ERROR` if near-lossless.
    width, height : int
        Pixels, at least 1.
    samples_crc : int
        CRC-32 of the decoded samples, see `codec.image_io.samples_crc`.
    """

    fidelity: Fidelity
    mode: str
    max_error: int
    width: int
    height: int
    samples_crc: int

    @property
    def channels(self) -> int:
        """Colour channels: alpha is coded apart."""
        return 3 if self.mode in ("RGB", "RGBA") else 1

    @property
    def has_alpha(self) -> bool:
        """Whether a coded file has an alpha chunk."""
        return self.mode in ("LA", "RGBA")


@dataclass(frozen=True)
class CodingHeader:
    """How a coded file was made.

    Attributes
    ----------
    latents : Latents
    lanes : int
        Messages side by side, 1 to `MAX_LANES`.
    band_height : int
        Rows, a multiple of `BAND_UNIT` up to `MAX_BAND_HEIGHT`.
    model : int
    weights_hash : bytes
        First 8 bytes of the SHA-256 of the model's weights file.
    """

    latents: Latents
    lanes: int
    band_height: int
    model: int
    weights_hash: bytes


@dataclass(frozen=True)
class Container:
    """A file, taken apart.

    Attributes
    ----------
    header : Header
    coding : CodingHeader or None
        None in a stored file.
    band_table : int64 array (bands,)
        Words left in each lane when the decoding of a band begins; (0, 0) in a stored file.
    metadata, adaptation, alpha : bytes
    payload : bytes
        The messages of the lanes, or the PNG of a stored file.
    """

    header: Header
    coding: CodingHeader | None
    band_table: NDArray[np.int64]
    metadata: bytes
    adaptation: bytes
    alpha: bytes
    payload: bytes


def stored(header: Header, metadata: bytes, png: bytes) -> Container:
    """Return the container of a stored file."""
    return Container(header, None, np.zeros((0, 0), dtype=np.int64), metadata, b"", b"", png)


def band_count(height: int, band_height: int) -> int:
    """Return the number of bands of an image."""
    return -(-height // band_height)


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
        "mode": MODES.index(container.header.mode),
        "max_error": container.header.max_error,
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
            "payload_bytes": len(container.payload),
            "band_count": len(container.band_table),
        }
        parts = [_write(CODING_HEADER, values), container.band_table.astype("<u4").tobytes()]
    body = b"".join([*parts, container.metadata, container.adaptation, container.alpha, container.payload])
    values["file_crc"] = _file_crc(_write(HEADER, values), body)
    _check_header(values, None)
    if container.coding is not None:
        _check_coding_header(values, container.header)
        _check_table(container.band_table, values)
    return _write(HEADER, values) + body


def unpack(data: bytes, max_pixels: int | None = None) -> Container:
    """Return the parts of a file, checked; the inverse of `pack`.

    Parameters
    ----------
    data : bytes
    max_pixels : int, optional
        Limit on width times height instead of `PIXEL_LIMIT`.

    Raises
    ------
    CorruptDataError
        Not a file of this format, damaged, cut, extended, or its parts contradict each other.
    UnsupportedError
        Another version of the format, or an image over the pixel limit.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptDataError(f"file: expected magic {MAGIC!r}, got {data[: len(MAGIC)]!r}", 0)
    if len(data) < HEADER_BYTES:
        raise CorruptDataError(f"file: expected at least {HEADER_BYTES} bytes, got {len(data)}", len(data))
    values = _read(HEADER, data, 0)
    if values["version"] != VERSION:
        raise UnsupportedError(f"file: expected format version {VERSION}, got {values['version']!r}")
    crc = _file_crc(data[:HEADER_BYTES], memoryview(data)[HEADER_BYTES:])
    if values["file_crc"] != crc:
        raise CorruptDataError(
            f"file: checksum {crc:#010x} differs from the recorded {_number(values, 'file_crc'):#010x}, "
            "the file was damaged or cut",
            OFFSETS["file_crc"],
        )
    _check_header(values, max_pixels or PIXEL_LIMIT)
    header = Header(
        Fidelity(_number(values, "fidelity")),
        MODES[_number(values, "mode")],
        _number(values, "max_error"),
        _number(values, "width"),
        _number(values, "height"),
        _number(values, "samples_crc"),
    )
    metadata_bytes = _number(values, "metadata_bytes")
    if header.fidelity == Fidelity.STORED:
        end = HEADER_BYTES + metadata_bytes
        if len(data) <= end:
            raise CorruptDataError(f"file: expected more than {end} bytes, got {len(data)}", len(data))
        return stored(header, data[HEADER_BYTES:end], data[end:])
    return _unpack_coded(data, header, metadata_bytes)


def _unpack_coded(data: bytes, header: Header, metadata_bytes: int) -> Container:
    table_start = HEADER_BYTES + CODING_HEADER_BYTES
    if len(data) < table_start:
        raise CorruptDataError(f"file: expected at least {table_start} bytes, got {len(data)}", len(data))
    values = _read(CODING_HEADER, data, HEADER_BYTES)
    _check_coding_header(values, header)
    coding = CodingHeader(
        Latents(_number(values, "latents")),
        _number(values, "lanes"),
        _number(values, "band_height"),
        _number(values, "model"),
        bytes(data[OFFSETS["weights_hash"] : OFFSETS["weights_hash"] + HASH_BYTES]),
    )
    bands = _number(values, "band_count")
    table_end = table_start + WORD_BYTES * bands
    metadata_end = table_end + metadata_bytes
    adaptation_end = metadata_end + _number(values, "adaptation_bytes")
    alpha_end = adaptation_end + _number(values, "alpha_bytes")
    expected = alpha_end + _number(values, "payload_bytes")
    if len(data) != expected:
        raise CorruptDataError(f"file: expected {expected} bytes, got {len(data)}", min(len(data), expected))
    table = np.frombuffer(data, "<u4", bands, table_start).astype(np.int64)
    _check_table(table, values)
    ends = (table_end, metadata_end, adaptation_end, alpha_end, expected)
    chunks = (data[begin:end] for begin, end in pairwise(ends))
    container = Container(header, coding, table, *chunks)
    if not holds_samples(container):
        raise CorruptDataError("header: asks for more samples than the payload can hold", OFFSETS["width"])
    return container


def holds_samples(container: Container) -> bool:
    """Return whether the payload can hold as many samples as the header says; this bounds decoding time.

    Notes
    -----
    No symbol of n or more costs less than -log2(1 - (n - 1) / 2**24) bits, of which the division in a push
    can lose 1 in 128. (Posterior bits that bits-back returns could be spent on further samples,
    but a model's real costs are far above this floor. An encoder asks here before it writes.)
    A tensor's grid has n = 2 limit + 1 symbols: a file of one would have the bound of as many samples as the
    tensor has values, with 2 limit in place of 255 // (2 d + 1).
    """
    header = container.header
    if container.coding is None:
        return True
    others = 255 // (2 * header.max_error + 1)
    # log2(e) * 127 / 128 > 1465 / 1024: the decision is made in integers, alike on every machine.
    least = header.width * header.height * header.channels * others * 1465
    return least <= 8 * len(container.payload) << (PRECISION + 10)


def part_bits(container: Container) -> dict[str, int]:
    """Return the bits of each part of the file; they sum to 8 times its length."""
    headers = HEADER_BYTES if container.coding is None else HEADER_BYTES + CODING_HEADER_BYTES
    return {
        "header_bits": 8 * (headers - CHECKSUM_BYTES),
        "index_bits": 8 * WORD_BYTES * container.band_table.size,
        "metadata_bits": 8 * len(container.metadata),
        "adaptation_bits": 8 * len(container.adaptation),
        "alpha_bits": 8 * len(container.alpha),
        "checksum_bits": 8 * CHECKSUM_BYTES,
        "payload_bits": 8 * len(container.payload),
    }


def _write(fields: tuple[Field, ...], values: dict[str, int | bytes]) -> bytes:
    return _layout(fields).pack(*(values[field.name] for field in fields))


def _read(fields: tuple[Field, ...], data: bytes, offset: int) -> dict[str, int | bytes]:
    names = (field.name for field in fields)
    return dict(zip(names, _layout(fields).unpack_from(data, offset), strict=True))


def _number(values: dict[str, int | bytes], name: str) -> int:
    return int(values[name])


def _file_crc(header: bytes, body: bytes | memoryview) -> int:
    """Return the CRC-32 of a header without its last field, ``file_crc``, and of what follows."""
    return zlib.crc32(body, zlib.crc32(header[: OFFSETS["file_crc"]]))


def _require(condition: bool, name: str, expected: str, values: dict[str, int | bytes]) -> None:
    if not condition:
        raise CorruptDataError(f"header: {name}: expected {expected}, got {values[name]!r}", OFFSETS[name])


def _check_header(values: dict[str, int | bytes], max_pixels: int | None) -> None:
    fidelity, mode, max_error = (_number(values, name) for name in ("fidelity", "mode", "max_error"))
    width, height = _number(values, "width"), _number(values, "height")
    _require(fidelity <= max(Fidelity), "fidelity", f"0 to {max(Fidelity):d}", values)
    modes = MODES if fidelity == Fidelity.STORED else CODED_MODES
    _require(mode < len(modes), "mode", f"0 to {len(modes) - 1}", values)
    if fidelity == Fidelity.NEAR_LOSSLESS:
        _require(1 <= max_error <= MAX_ERROR, "max_error", f"1 to {MAX_ERROR}", values)
    else:
        _require(max_error == 0, "max_error", "0", values)
    _require(width >= 1, "width", "at least 1", values)
    _require(height >= 1, "height", "at least 1", values)
    if max_pixels is not None and width * height > max_pixels:
        raise UnsupportedError(f"header: {width}x{height} pixels are over the limit of {max_pixels}")


def _check_coding_header(values: dict[str, int | bytes], header: Header) -> None:
    latents, lanes, band_height = (_number(values, name) for name in ("latents", "lanes", "band_height"))
    _require(latents <= max(Latents), "latents", f"0 to {max(Latents):d}", values)
    if header.fidelity == Fidelity.NEAR_LOSSLESS:  # its samples depend on z: no posterior could choose z
        _require(latents != Latents.BITS_BACK, "latents", "0 or 2 in a near-lossless file", values)
    if max(header.width, header.height) > SIDE_LIMIT:
        raise UnsupportedError(f"header: {header.width}x{header.height}, coded images have sides up to {SIDE_LIMIT}")
    legal = band_height % BAND_UNIT == 0 and BAND_UNIT <= band_height <= MAX_BAND_HEIGHT
    _require(legal, "band_height", f"a multiple of {BAND_UNIT} up to {MAX_BAND_HEIGHT}", values)
    most = min(MAX_LANES, band_count(header.height, band_height))
    _require(1 <= lanes <= most, "lanes", f"1 to {most}", values)
    has_alpha = _number(values, "alpha_bytes") > 0
    _require(has_alpha == header.has_alpha, "alpha_bytes", "more than 0 if and only if there is alpha", values)
    bands = band_count(header.height, band_height)
    _require(values["band_count"] == bands, "band_count", str(bands), values)


def _check_table(table: NDArray[np.int64], values: dict[str, int | bytes]) -> None:
    lanes = _number(values, "lanes")
    payload_bytes = HEAD_BYTES * lanes + WORD_BYTES * int(table[:lanes].sum())
    _require(values["payload_bytes"] == payload_bytes, "payload_bytes", str(payload_bytes), values)
