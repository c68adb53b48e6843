"""The index of an archive: what it says of each block, of its chains and its images, and which names are legal.

    zlib stream of: blocks and their chains | images | names        checksums of blocks | checksums of samples

A block consists of the messages of its chains, one after the other, and the chunks of its images. The index has all
lengths, so that nothing in a block is read before its checksum is tested. See FORMAT.md, "Archives".
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from codec.errors import CorruptDataError, RequestError, UnsupportedError
from codec.format.container import CRC_BYTES, Container
from codec.format.fields import Reader, varint
from codec.format.headers import (
    HASH_BYTES,
    MAX_LANES,
    PIXEL_LIMIT,
    CodingHeader,
    Description,
    Fidelity,
    Header,
    Lengths,
    pack_description,
    unpack_description,
)

BLOCK_IMAGES = 8
"""Images of a block by default. The first image that is encoded has nothing to borrow, which costs some 25 bytes. A
block of 8 pays that once, where single files pay it 8 times. To get one image, three or four others are decoded on
average. With 16 images, an image would be two bytes shorter and take twice as much time."""
MAX_BLOCK_IMAGES = (1 << 16) - 1
"""Most images of a block. To get the last image, all before it are decoded. That takes
a millisecond each if they are tiny, and the length of the chain bounds how many values they have
(`codec.format.container.holds`)."""
NAME_LIMIT = 1024
"""Most bytes of a name."""
NAME_END = b"\0"
"""Ends a name in an index. No name has this character."""

COUNTED_NAME_LIMIT = 255
"""Most bytes of a name that an index leaves out because it counts on from the name before. So a short index makes no
long names."""

_LAST_NUMBER_REVERSED = re.compile(r"[^0-9]*([0-9]+)")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ChainEntry:
    """A chain as the index describes it: the messages that the images of one model share.

    Attributes
    ----------
    model : int
    weights_hash : bytes
    lane_table : tuple of int
        Bytes of each lane's message.
    """

    model: int
    weights_hash: bytes
    lane_table: tuple[int, ...]

    @property
    def payload_bytes(self) -> int:
        """Bytes of the messages."""
        return sum(self.lane_table)


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


def next_name(name: str) -> str | None:
    """Return the name that counts on from a name: its last number is larger by one, with as many digits or one more.

    Returns None if a name has no digits, or the next one more than `COUNTED_NAME_LIMIT` bytes.
    """
    found = _LAST_NUMBER_REVERSED.match(name[::-1])
    if found is None or len(name) > COUNTED_NAME_LIMIT:
        return None
    begin, end = len(name) - found.end(1), len(name) - found.start(1)
    following = name[:begin] + str(int(name[begin:end]) + 1).zfill(end - begin) + name[end:]
    return following if len(following.encode()) <= COUNTED_NAME_LIMIT else None


def pack_index(blocks: Sequence[Block], most_bytes: int) -> bytes:
    """Return the index of a section's blocks; the inverse of `unpack_index`.

    Raises
    ------
    ValueError
        It has more than ``most_bytes`` before it is compressed.
    """
    images = [(image, block.models) for block in blocks for image in block.images]
    parts = [varint(len(blocks))]
    for block in blocks:
        parts += [varint(len(block.images)), varint(len(block.chains))]
        for chain in block.chains:
            lengths = map(varint, (len(chain.lane_table), *chain.lane_table))
            parts += [varint(chain.model), chain.weights_hash, *lengths]
    parts += [_pack_image(image, models) for image, models in images]
    names = [image.name for image, _ in images]
    pairs = pairwise(["", *names])
    parts += [(b"" if name == next_name(before) else name.encode()) + NAME_END for before, name in pairs]
    fields = b"".join(parts)
    if len(fields) > most_bytes:
        raise RequestError(f"images: expected names for an index of at most {most_bytes} bytes, got {len(fields)}")
    checksums = [*(block.crc for block in blocks), *(image.header.samples_crc for image, _ in images)]
    return zlib.compress(fields, 9) + struct.pack(f"<{len(checksums)}I", *checksums)


def _pack_image(image: ImageEntry, models: list[int]) -> bytes:
    coding, (*lengths, png_bytes) = image.coding, image.chunks
    if coding is None:
        return pack_description(Description(image.header, lengths=Lengths(*lengths))) + varint(png_bytes)
    described = Description(image.header, coding.latents, coding.lanes, not image.dry, Lengths(*lengths))
    return pack_description(described) + varint(models.index(coding.model))


def unpack_index(index: bytes, most_images: int, most_bytes: int) -> tuple[tuple[Block, ...], int]:
    """Return the blocks of an index, and its bytes when it is decompressed; the inverse of `pack_index`.

    Parameters
    ----------
    index : bytes
    most_images : int
        Limit on the images.
    most_bytes : int
        Limit on the bytes when it is decompressed.

    Raises
    ------
    CorruptDataError
        The index is damaged, a field is out of its range, or fields contradict each other.
    UnsupportedError
        The index is over one of the limits, or an image is over the pixel limit.
    """
    fields, checksums = _decompress(index, most_bytes)
    reader = Reader(fields, what="archive: index")
    counts, chains = _unpack_blocks(reader, most_images)
    images = [_unpack_image(reader, own) for own, count in zip(chains, counts, strict=True) for _ in range(count)]
    names = [""]
    for _ in images:
        names.append(_unpack_name(reader, names[-1]))
    if reader.at != len(fields) or len(checksums) != CRC_BYTES * (len(counts) + len(images)):
        raise CorruptDataError("archive: index: is longer or shorter than its images need")
    crcs = struct.unpack(f"<{len(counts) + len(images)}I", checksums)
    known = zip(images, names[1:], crcs[len(counts) :], strict=True)
    entries = iter([replace(i, name=name, header=replace(i.header, samples_crc=crc)) for i, name, crc in known])
    blocks = []
    for crc, own, count in zip(crcs, chains, counts, strict=False):
        blocks.append(Block(crc, own, tuple(islice(entries, count))))
        _check_chains(blocks[-1])
    return tuple(blocks), len(fields)


def _decompress(index: bytes, most_bytes: int) -> tuple[bytes, bytes]:
    """Return the fields of an index, and the checksums behind them."""
    stream = zlib.decompressobj()
    try:
        fields = stream.decompress(index, most_bytes + 1)
    except zlib.error as error:
        raise CorruptDataError(f"archive: index: {error}") from error
    if len(fields) > most_bytes:
        raise UnsupportedError(f"archive: index: expected at most {most_bytes} bytes")
    if not stream.eof:
        raise CorruptDataError("archive: index: cut")
    return fields, stream.unused_data


def _unpack_blocks(reader: Reader, most_images: int) -> tuple[list[int], list[tuple[ChainEntry, ...]]]:
    """Return the number of images and the chains of each block."""
    counts, chains, total = [], [], 0
    for _ in range(reader.number()):
        images, models = reader.number(), reader.number()
        if not 1 <= images <= MAX_BLOCK_IMAGES:
            raise CorruptDataError(f"archive: index: expected 1 to {MAX_BLOCK_IMAGES} images in a block, got {images}")
        if models > images:
            raise CorruptDataError(f"archive: index: expected at most {images} chains, got {models}")
        total += images
        if total > most_images:
            raise UnsupportedError(f"archive: expected at most {most_images} images more")
        counts.append(images)
        chains.append(tuple(_unpack_chain(reader) for _ in range(models)))
    return counts, chains


def _unpack_chain(reader: Reader) -> ChainEntry:
    model, weights_hash, lanes = reader.number(), reader.take(HASH_BYTES), reader.number()
    if not 1 <= lanes <= MAX_LANES:
        raise CorruptDataError(f"archive: index: expected 1 to {MAX_LANES} lanes, got {lanes}")
    return ChainEntry(model, weights_hash, tuple(reader.number() for _ in range(lanes)))


def _unpack_image(reader: Reader, chains: Sequence[ChainEntry]) -> ImageEntry:
    """Return an image, still without its name and its checksum."""
    with telling("index"):
        header, latents, lanes, borrows, lengths = unpack_description(reader, PIXEL_LIMIT)
        last = reader.number()
        if header.fidelity == Fidelity.STORED:
            if last == 0:
                raise CorruptDataError("png_bytes: expected at least 1, got 0")
            return ImageEntry("", header, None, True, (*lengths, last))
        if last >= len(chains):
            raise CorruptDataError(f"chain: expected less than {len(chains)}, got {last}")
        chain = chains[last]
        if lanes > len(chain.lane_table):
            raise CorruptDataError(f"lanes: expected at most the chain's {len(chain.lane_table)}, got {lanes}")
        coding = CodingHeader(latents, lanes, chain.model, chain.weights_hash)
        return ImageEntry("", header, coding, not borrows, (*lengths, 0))


def _unpack_name(reader: Reader, before: str) -> str:
    """Return the next name. ``before`` is the one before it."""
    try:
        name = reader.take_to(NAME_END).decode() or next_name(before) or ""
        check_name(name)
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"archive: index: a name is not UTF-8: {error}") from error
    except RequestError as error:
        raise CorruptDataError(f"archive: index: {error}") from error
    return name


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
