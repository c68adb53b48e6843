"""The index of an archive: what it says of each block, of its chains and its images, and which names are legal.

A block consists of the messages of its chains, one after the other, and the chunks of its images. The index has all
lengths, so that nothing in a block is read before its checksum is tested. See FORMAT.md, "Archives".
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from codec.errors import CorruptDataError, RequestError, UnsupportedError
from codec.format.container import WORD_BYTES, Container, payload_bytes
from codec.format.headers import (
    HASH_BYTES,
    MAX_LANES,
    PIXEL_LIMIT,
    CodingHeader,
    Fidelity,
    Header,
    Latents,
    check_coding_header,
    check_header,
    mode_of,
)

BLOCK_IMAGES = 8
"""Images of a block by default. The first image that is encoded has nothing to borrow, which costs some 25 bytes. A
block of 8 pays that once, where single files pay it 8 times. To get one image, three or four others are decoded on
average. With 16 images, an image would be two bytes shorter and take twice as much time."""
MAX_BLOCK_IMAGES = (1 << 16) - 1
"""Most images of a block, which is what the field holds. To get the last image, all before it are decoded. That takes
a millisecond each if they are tiny, and the length of the chain bounds how many values they have
(`codec.format.container.holds`)."""
NAME_LIMIT = 1024
"""Most bytes of a name."""

_BLOCK = struct.Struct("<IHB")  # block_crc, images, chains
_CHAIN = struct.Struct(f"<HH{HASH_BYTES}sB")  # model, band_height, weights_hash, lanes; the table of lanes follows
_IMAGE = struct.Struct("<HBBBIIII")  # name_bytes, fidelity, mode, degree, width, height, metadata_bytes, samples_crc
_STORED = struct.Struct("<I")  # png_bytes
_CODED = struct.Struct("<BBBBHI")  # chain, latents, dry, lanes, adaptation_bytes, alpha_bytes

CRC_BYTES = 4
"""Bytes of a checksum. Each block has one, and each image has one of its samples."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ChainEntry:
    """A chain as the index describes it: the messages that the images of one model share.

    Attributes
    ----------
    model : int
    band_height : int
    weights_hash : bytes
    lane_table : tuple of int
        Number of words of each lane's message, its head not counted.
    """

    model: int
    band_height: int
    weights_hash: bytes
    lane_table: tuple[int, ...]

    @property
    def payload_bytes(self) -> int:
        """Bytes of the messages."""
        return payload_bytes(self.lane_table)


@dataclass(frozen=True)
class ImageEntry:
    """An image as the index describes it.

    Attributes
    ----------
    name : str
    header : Header
    coding : CodingHeader or None
        None if the image is stored.
    dry : bool
        Whether the last band of each lane borrowed nothing.
    chunks : tuple of int
        Lengths in bytes of the metadata, the adaptation, the alpha and the PNG. Only a stored image has a PNG.
    """

    name: str
    header: Header
    coding: CodingHeader | None
    dry: bool
    chunks: tuple[int, int, int, int]

    def container(self, data: bytes) -> Container:
        """Return the image's file, whose chunks are ``data``. If the image is coded, the payload is empty."""
        parts = []
        begin = 0
        for length in self.chunks:
            parts.append(data[begin : begin + length])
            begin += length
        return Container(self.header, self.coding, (), *parts)


@dataclass(frozen=True)
class Block:
    """A block as the index describes it. The block itself is its chains' messages, then its images' chunks.

    Attributes
    ----------
    crc : int
    chains : tuple of ChainEntry
    images : tuple of ImageEntry
    """

    crc: int
    chains: tuple[ChainEntry, ...]
    images: tuple[ImageEntry, ...]

    @property
    def models(self) -> list[int]:
        """Numbers of the chains' models, in ascending order."""
        return [chain.model for chain in self.chains]

    @property
    def length(self) -> int:
        """Bytes of the block."""
        return sum(c.payload_bytes for c in self.chains) + sum(sum(i.chunks) for i in self.images)

    def split(self, data: bytes) -> tuple[list[bytes], list[Container]]:
        """Return the payloads of a block's chains and the files of its images.

        Raises
        ------
        CorruptDataError
            The data has another length or another checksum than the index says.
        """
        crc = zlib.crc32(data)
        if len(data) != self.length or crc != self.crc:
            raise CorruptDataError(
                f"archive: block of {self.images[0].name!r}: expected {self.length} bytes of checksum "
                f"{self.crc:#010x}, got {len(data)} of {crc:#010x}"
            )
        begin = 0
        payloads, files = [], []
        for chain in self.chains:
            payloads.append(data[begin : begin + chain.payload_bytes])
            begin += chain.payload_bytes
        for image in self.images:
            files.append(image.container(data[begin : begin + sum(image.chunks)]))
            begin += sum(image.chunks)
        return payloads, files


def check_name(name: str) -> None:
    """Raise ValueError unless a name is legal: on every system it must be a path below a folder."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise RequestError(f"name {name!r}: expected characters that UTF-8 has") from None
    if not 1 <= length <= NAME_LIMIT:
        raise RequestError(f"name {name[:50]!r}: expected 1 to {NAME_LIMIT} bytes, got {length}")
    if "\\" in name or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise RequestError(f"name {name!r}: expected no backslash and no control characters")
    for part in name.split("/"):
        if part in ("", ".", "..") or _DRIVE.match(part):
            raise RequestError(f"name {name!r}: expected a path below a folder, got the part {part!r}")


def pack_index(blocks: Sequence[Block]) -> bytes:
    """Return the index of a section's blocks; the inverse of `unpack_index`."""
    parts = []
    for block in blocks:
        parts.append(_BLOCK.pack(block.crc, len(block.images), len(block.chains)))
        for chain in block.chains:
            lanes = len(chain.lane_table)
            parts.append(_CHAIN.pack(chain.model, chain.band_height, chain.weights_hash, lanes))
            parts.append(struct.pack(f"<{lanes}I", *chain.lane_table))
        parts += [_pack_image(image, block.models) for image in block.images]
    return b"".join(parts)


def _pack_image(image: ImageEntry, models: list[int]) -> bytes:
    name, header, coding = image.name.encode(), image.header, image.coding
    metadata, adaptation, alpha, png = image.chunks
    mode = header.mode_number
    size = header.width, header.height
    head = _IMAGE.pack(len(name), header.fidelity, mode, header.degree, *size, metadata, header.samples_crc)
    if coding is None:
        return head + _STORED.pack(png) + name
    chain = models.index(coding.model)
    return head + _CODED.pack(chain, coding.latents, image.dry, coding.lanes, adaptation, alpha) + name


class _Cursor:
    """Reads an index from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return the next fields."""
        self._require(layout.size)
        self.at += layout.size
        return layout.unpack_from(self.data, self.at - layout.size)

    def text(self, length: int) -> str:
        """Return the next bytes as UTF-8."""
        self._require(length)
        self.at += length
        try:
            return self.data[self.at - length : self.at].decode()
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"archive: index: a name is not UTF-8: {error}") from error

    def _require(self, length: int) -> None:
        if len(self.data) - self.at < length:
            raise CorruptDataError(f"archive: index: cut after {len(self.data)} bytes")


def unpack_index(data: bytes) -> Iterator[Block]:
    """Yield the blocks of an index; the inverse of `pack_index`.

    Raises
    ------
    CorruptDataError
        A field is out of its range, or fields contradict each other.
    UnsupportedError
        An image is over the pixel limit.
    """
    cursor = _Cursor(data)
    while cursor.at < len(data):
        crc, images, count = cursor.take(_BLOCK)
        if images == 0:
            raise CorruptDataError("archive: index: expected at least 1 image in a block, got 0")
        chains = tuple(_unpack_chain(cursor) for _ in range(count))
        block = Block(crc, chains, tuple(_unpack_image(cursor, chains) for _ in range(images)))
        _check_chains(block)
        yield block


def _unpack_chain(cursor: _Cursor) -> ChainEntry:
    model, band_height, weights_hash, lanes = cursor.take(_CHAIN)
    if not 1 <= lanes <= MAX_LANES:
        raise CorruptDataError(f"archive: index: expected 1 to {MAX_LANES} lanes, got {lanes}")
    return ChainEntry(model, band_height, weights_hash, cursor.take(struct.Struct(f"<{lanes}I")))


def _unpack_image(cursor: _Cursor, chains: Sequence[ChainEntry]) -> ImageEntry:
    name_bytes, fidelity, mode, degree, width, height, metadata_bytes, samples_crc = cursor.take(_IMAGE)
    values: dict[str, int | bytes] = {
        "fidelity": fidelity,
        "mode": mode,
        "degree": degree,
        "width": width,
        "height": height,
    }
    stored = fidelity == Fidelity.STORED
    fields = cursor.take(_STORED if stored else _CODED)
    name = cursor.text(name_bytes)
    try:
        check_name(name)
    except RequestError as error:
        raise CorruptDataError(f"archive: index: {error}") from error
    with telling(repr(name)):
        check_header(values, PIXEL_LIMIT)
        mode_name, grey = mode_of(mode)
        header = Header(Fidelity(fidelity), mode_name, degree, width, height, samples_crc, grey)
        if stored:
            if fields[0] == 0:
                raise CorruptDataError("png_bytes: expected at least 1, got 0")
            return ImageEntry(name, header, None, True, (metadata_bytes, 0, 0, fields[0]))
        number, latents, dry, lanes, adaptation_bytes, alpha_bytes = fields
        if number >= len(chains):
            raise CorruptDataError(f"chain: expected less than {len(chains)}, got {number}")
        chain = chains[number]
        values |= {
            "latents": latents,
            "lanes": lanes,
            "band_height": chain.band_height,
            "adaptation_bytes": adaptation_bytes,
            "alpha_bytes": alpha_bytes,
        }
        check_coding_header(values, header)
        if lanes > len(chain.lane_table):
            raise CorruptDataError(f"lanes: expected at most the chain's {len(chain.lane_table)}, got {lanes}")
        if dry > 1 or (dry == 0 and latents != Latents.BITS_BACK):
            raise CorruptDataError(f"dry: expected 1, or 0 with bits-back, got {dry}")
        coding = CodingHeader(Latents(latents), lanes, chain.band_height, chain.model, chain.weights_hash)
        return ImageEntry(name, header, coding, dry == 1, (metadata_bytes, adaptation_bytes, alpha_bytes, 0))


def _check_chains(block: Block) -> None:
    """Raise CorruptDataError unless the chains' models ascend and each is as wide as its widest image."""
    models = block.models
    if models != sorted(set(models)):
        raise CorruptDataError(f"archive: index: expected chains of ascending models, got {models}")
    widest = dict.fromkeys(models, 0)
    for image in block.images:
        if image.coding is not None:
            widest[image.coding.model] = max(widest[image.coding.model], image.coding.lanes)
    lanes = {chain.model: len(chain.lane_table) for chain in block.chains}
    if lanes != widest:
        raise CorruptDataError(f"archive: index: expected lanes of models {widest}, got {lanes}")


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Put ``archive: what:`` before the message of a CorruptDataError or UnsupportedError of the block."""
    try:
        yield
    except CorruptDataError as error:
        raise CorruptDataError(f"archive: {what}: {error}") from error
    except UnsupportedError as error:
        raise UnsupportedError(f"archive: {what}: {error}") from error


def index_part_bits(blocks: Sequence[Block]) -> dict[str, int]:
    """Return the bits of each part of an index; they sum to 8 times its length."""
    images = [image for block in blocks for image in block.images]
    chains = [chain for block in blocks for chain in block.chains]
    fields = sum(_IMAGE.size + (_CODED if image.coding else _STORED).size for image in images)
    return {
        "image_header_bits": 8 * (fields - CRC_BYTES * len(images)),
        "name_bits": 8 * sum(len(image.name.encode()) for image in images),
        "block_header_bits": 8 * ((_BLOCK.size - CRC_BYTES) * len(blocks) + _CHAIN.size * len(chains)),
        "checksum_bits": 8 * CRC_BYTES * (len(blocks) + len(images)),
        "lane_table_bits": 8 * WORD_BYTES * sum(len(chain.lane_table) for chain in chains),
    }
