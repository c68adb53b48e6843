"""What files say of an image: the fields of its description, the meaning of each, and the values that are refused.

A file and the index of an archive describe an image with the same bytes. See FORMAT.md, "Description".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from codec.errors import CorruptDataError, UnsupportedError
from codec.format.fields import Reader, varint

MAGIC = b"VLAE"
VERSION = 0
"""Version of the format. It stays 0 until the format is first released."""


class Fidelity(IntEnum):
    """How close the decoded image is to the original."""

    STORED = 0
    LOSSLESS = 1
    NEAR_LOSSLESS = 2
    LOSSY = 3


class Latents(IntEnum):
    """How the latents are coded."""

    NONE = 0
    BITS_BACK = 1
    TWO_PART = 2


MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
"""Pillow's names of the modes. A description has the index."""
WIDE_MODES = ("I;16", "LA;16", "RGB;16", "RGBA;16", "CMYK")
"""Modes of more than 8 bits a sample or with four inks, of which only stored files are made. Pillow has the first and
the last name; a description has the index in the byte ``kind``."""
WIDE = 6
"""What stands for all of `WIDE_MODES` in the mode of a stored image."""
PARTS = 8
"""Added to a ``kind`` if the payload has coded parts in place of a PNG."""
EQUAL_COLOURS = 4
"""Added to the index of a mode with three colours if these are equal everywhere. Then one of them is coded."""
COLOURED_MODES = ("RGB", "RGBA")
CODED_MODES = MODES[:4]
"""Modes that models of photographs code. Palette indices and bits are no intensities: P is always stored, and 1 is
stored or coded by a model of bits."""
CHANNELS = {mode: len(mode.removesuffix(";16")) for mode in (*MODES, *WIDE_MODES)}
"""Number of channels of each mode, with alpha."""
BITS_MODE = "1"
"""Mode of black-and-white images. Only models of bits code it, and only losslessly."""

MAX_ERROR = 10
"""Largest error of near-lossless files. The models were trained up to it, and beyond it a lossy file is better."""
MAX_QUALITY = 100
MAX_LANES = 8
MAX_BAND_HEIGHT = 1024
"""Most rows of pixels in a band. The working memory of a decoder is proportional to it."""
PIXEL_LIMIT = 178_956_970
"""Most pixels of an image by default. It is Pillow's own limit; as RGB that is 512 MiB."""
SIDE_LIMIT = 1 << 18
"""Largest width and height of a coded image. The latents' memory grows with the width of a band, however few its
pixels are."""
HASH_BYTES = 2
"""Bytes of a weights hash. They are enough to notice other weights; the model's number says which are expected."""
SAMPLES_CRC_BITS = 31
"""Bits of a checksum of samples: as many as the head of an empty message has that say nothing."""
SHORT_SIDE = 1 << 12
"""Largest side of an image whose two sides share three bytes."""


class Rules(NamedTuple):
    """What descriptions of a fidelity may hold.

    Attributes
    ----------
    modes : tuple of str
    equal_colours : bool
        Whether one colour may stand for three.
    largest_degree : int
        The least is 1, or 0 where this is 0.
    bits_back : bool
        Whether a decoder can compute the posterior that chose z.
    adaptation : bool
    """

    modes: tuple[str, ...]
    equal_colours: bool = True
    largest_degree: int = 0
    bits_back: bool = True
    adaptation: bool = True


RULES = {
    Fidelity.STORED: Rules((*MODES, *WIDE_MODES), equal_colours=False),
    Fidelity.LOSSLESS: Rules((*CODED_MODES, BITS_MODE)),
    Fidelity.NEAR_LOSSLESS: Rules(CODED_MODES, largest_degree=MAX_ERROR, bits_back=False),
    Fidelity.LOSSY: Rules(CODED_MODES, largest_degree=MAX_QUALITY, adaptation=False),
}


@dataclass(frozen=True)
class Header:
    """What a file says of its image.

    Attributes
    ----------
    fidelity : Fidelity
    mode : str
        One of `MODES` or `WIDE_MODES`.
    degree : int
        The largest error of a near-lossless file, the quality of a lossy file, and 0 for others.
    width, height : int
        Pixels, at least 1.
    samples_crc : int
        Checksum of the decoded samples, see `codec.image_files.conversion.samples_crc`. The first message of a coded
        file holds it. It is 0 until that message is decoded.
    grey : bool
        Whether the three colours of a coded image are equal everywhere, so that one of them is coded.
    parts : bool
        Whether the payload of an image of `WIDE_MODES` has coded parts in place of a PNG.
    """

    fidelity: Fidelity
    mode: str
    degree: int
    width: int
    height: int
    samples_crc: int = 0
    grey: bool = False
    parts: bool = False

    @property
    def max_error(self) -> int | None:
        """Largest error of a decoded sample, 0 to `MAX_ERROR`; None for a lossy file, where it has no bound."""
        return self.degree if self.quality is None else None

    @property
    def quality(self) -> int | None:
        """Quality of a lossy file, 1 to `MAX_QUALITY`; None for other files."""
        return self.degree if self.fidelity == Fidelity.LOSSY else None

    @property
    def condition(self) -> int:
        """Row of the model's biases: the largest error, or the quality of a lossy file less 1."""
        return self.degree if self.quality is None else self.quality - 1

    @property
    def channels(self) -> int:
        """Number of coded colour channels. Alpha is not among them."""
        return 3 if self.mode in COLOURED_MODES and not self.grey else 1

    @property
    def image_channels(self) -> int:
        """Number of the image's channels, with alpha."""
        return CHANNELS[self.mode]

    @property
    def mode_number(self) -> int:
        """Number of the mode in a description. `mode_of` is the inverse."""
        if self.mode in WIDE_MODES:
            return WIDE
        return MODES.index(self.mode) + EQUAL_COLOURS * self.grey

    @property
    def has_alpha(self) -> bool:
        """Whether the image has alpha."""
        return self.mode.removesuffix(";16") in ("LA", "RGBA")

    @property
    def has_alpha_chunk(self) -> bool:
        """Whether the file has an alpha chunk. In a stored file, the PNG holds alpha."""
        return self.has_alpha and self.fidelity != Fidelity.STORED


@dataclass(frozen=True)
class CodingHeader:
    """How a coded file was made.

    Attributes
    ----------
    latents : Latents
    lanes : int
        Number of messages, 1 to `MAX_LANES`.
    model : int
    weights_hash : bytes
        First `HASH_BYTES` bytes of the SHA-256 of the model's weights file.
    """

    latents: Latents
    lanes: int
    model: int
    weights_hash: bytes


class Lengths(NamedTuple):
    """Lengths in bytes of an image's chunks. A chunk that does not exist has length 0."""

    metadata: int = 0
    adaptation: int = 0
    alpha: int = 0


class Description(NamedTuple):
    """What a file, or the index of an archive, says of an image.

    Attributes
    ----------
    header : Header
    latents : Latents
    lanes : int
        1 to `MAX_LANES`. A stored image has 1, too, which means nothing.
    borrows : bool
        Whether all bands borrow bits, those of an archive's later images. Never in a file.
    lengths : Lengths
    """

    header: Header
    latents: Latents = Latents.NONE
    lanes: int = 1
    borrows: bool = False
    lengths: Lengths = Lengths()


def require(condition: bool, name: str, expected: str, got: object, offset: int | None = None) -> None:
    """Raise CorruptDataError unless the condition holds."""
    if not condition:
        raise CorruptDataError(f"header: {name}: expected {expected}, got {got}", offset)


def mode_of(number: int) -> tuple[str, bool]:
    """Return the mode that a number of 0..7 stands for, and whether its three colours are equal."""
    grey = number >= len(MODES)
    return MODES[number - EQUAL_COLOURS * grey], grey


def pack_description(description: Description) -> bytes:
    """Return the bytes of a description; the inverse of `unpack_description`."""
    header, latents, lanes, borrows, lengths = description
    check_header(header, None)
    has_alpha = lengths.alpha > 0
    require(header.has_alpha_chunk == has_alpha, "alpha_bytes", "more than 0 if there is alpha", lengths.alpha)
    coding = latents | (lanes - 1) << 2 | (lengths.adaptation > 0) << 5 | borrows << 6
    is_long = max(header.width, header.height) > SHORT_SIDE
    flags = (lengths.metadata > 0) << 5 | (coding > 0) << 6 | is_long << 7
    parts = [bytes([header.fidelity | header.mode_number << 2 | flags])]
    sides = header.width - 1, header.height - 1
    parts += map(varint, sides) if is_long else [(sides[0] | sides[1] << 12).to_bytes(3, "little")]
    if header.mode in WIDE_MODES:
        parts.append(bytes([WIDE_MODES.index(header.mode) + PARTS * header.parts]))
    if header.degree:
        parts.append(bytes([header.degree]))
    if coding:
        parts.append(bytes([coding]))
    parts += [varint(length) for length in lengths if length]
    return b"".join(parts)


def unpack_description(reader: Reader, max_pixels: int | None) -> Description:
    """Return the description that a reader reads next; the inverse of `pack_description`.

    Raises
    ------
    CorruptDataError
        A field is out of its range, or fields contradict each other, or the data ends.
    UnsupportedError
        The image is over ``max_pixels``.
    """
    form = reader.byte()
    fidelity = Fidelity(form & 3)
    number = form >> 2 & 7
    width, height = _unpack_sides(reader, bool(form >> 7))
    wide = fidelity == Fidelity.STORED and number == WIDE
    mode, grey, parts = _unpack_kind(reader) if wide else (*mode_of(number), False)
    degree = reader.byte() if RULES[fidelity].largest_degree else 0
    header = Header(fidelity, mode, degree, width, height, grey=grey, parts=parts)
    check_header(header, max_pixels)
    coding, at = 0, reader.at
    if form >> 6 & 1:
        coding = reader.byte()
        require(0 < coding < 1 << 7 and fidelity != Fidelity.STORED, "coding", "1 to 127 in a coded file", coding, at)
    require(coding & 3 <= max(Latents), "latents", f"0 to {max(Latents):d}", coding & 3, at)
    latents, borrows = Latents(coding & 3), bool(coding >> 6)
    require(not borrows or latents == Latents.BITS_BACK, "borrows", "0 without bits-back", 1, at)
    lengths = Lengths(
        *(_length(reader) if there else 0 for there in (form >> 5 & 1, coding >> 5 & 1, header.has_alpha_chunk))
    )
    found = Description(header, latents, 1 + (coding >> 2 & 7), borrows, lengths)
    if fidelity != Fidelity.STORED:
        _check_coding(found)
    return found


def _unpack_kind(reader: Reader) -> tuple[str, bool, bool]:
    """Return a mode of `WIDE_MODES`, False, and whether the payload has parts."""
    at, kind = reader.at, reader.byte()
    require(kind < 2 * PARTS and kind % PARTS < len(WIDE_MODES), "kind", "one that is stored", kind, at)
    return WIDE_MODES[kind % PARTS], False, kind >= PARTS


def _unpack_sides(reader: Reader, is_long: bool) -> tuple[int, int]:
    at = reader.at
    if not is_long:
        sides = int.from_bytes(reader.take(3), "little")
        return 1 + sides % SHORT_SIDE, 1 + sides // SHORT_SIDE
    width, height = 1 + reader.number(), 1 + reader.number()
    require(max(width, height) > SHORT_SIDE, "sides", f"one above {SHORT_SIDE}", f"{width}x{height}", at)
    return width, height


def _length(reader: Reader) -> int:
    at = reader.at
    length = reader.number()
    require(length > 0, "length of a chunk", "at least 1", length, at)
    return length


def check_header(header: Header, max_pixels: int | None) -> None:
    """Raise CorruptDataError or UnsupportedError if a field is out of its range, or the image over ``max_pixels``."""
    rules = RULES[header.fidelity]
    allowed = header.mode in rules.modes and (rules.equal_colours or not header.grey)
    require(allowed, "mode", "one that is coded", header.mode_number)
    most = rules.largest_degree
    require(min(most, 1) <= header.degree <= most, "degree", f"1 to {most}" if most else "0", header.degree)
    if max_pixels is not None and header.width * header.height > max_pixels:
        raise UnsupportedError(f"header: {header.width}x{header.height} pixels are over the limit of {max_pixels}")


def _check_coding(found: Description) -> None:
    """Raise CorruptDataError or UnsupportedError if the description of a coded image contradicts itself."""
    header, rules = found.header, RULES[found.header.fidelity]
    bits_back = found.latents == Latents.BITS_BACK
    require(rules.bits_back or not bits_back, "latents", "0 or 2 in a near-lossless file", found.latents)
    if max(header.width, header.height) > SIDE_LIMIT:
        raise UnsupportedError(f"header: {header.width}x{header.height}, coded images have sides up to {SIDE_LIMIT}")
    adaptation_bytes = found.lengths.adaptation
    require(rules.adaptation or adaptation_bytes == 0, "adaptation_bytes", "0 in a lossy file", adaptation_bytes)
