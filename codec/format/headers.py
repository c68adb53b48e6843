"""The headers of a file: their fields, the meaning of each, and the values that are refused.

All numbers are little-endian. See FORMAT.md, "Header" and "Coding header".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from codec.errors import CorruptDataError, UnsupportedError

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
"""Pillow's names of the modes. The header has the index."""
EQUAL_COLOURS = 4
"""Added to the index of a mode with three colours if these are equal everywhere. Then one of them is coded."""
COLOURED_MODES = ("RGB", "RGBA")
CODED_MODES = MODES[:4]
"""Modes that models of photographs code. Palette indices and bits are no intensities: P is always stored, and 1 is
stored or coded by a model of bits."""
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
HASH_BYTES = 4
"""Bytes of a weights hash. They are enough to notice other weights; the model's number says which are expected."""


class Rules(NamedTuple):
    """What headers of a fidelity may hold.

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
    Fidelity.STORED: Rules(MODES, equal_colours=False),
    Fidelity.LOSSLESS: Rules((*CODED_MODES, BITS_MODE)),
    Fidelity.NEAR_LOSSLESS: Rules(CODED_MODES, largest_degree=MAX_ERROR, bits_back=False),
    Fidelity.LOSSY: Rules(CODED_MODES, largest_degree=MAX_QUALITY, adaptation=False),
}


class Field(NamedTuple):
    """A field of a header: its name in FORMAT.md and its `struct` code."""

    name: str
    code: str


HEADER = (
    Field("magic", "4s"),
    Field("version", "B"),
    Field("fidelity", "B"),
    Field("mode", "B"),
    Field("degree", "B"),
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
)


def _layout(fields: tuple[Field, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(field.code for field in fields))


def _offsets(fields: tuple[Field, ...], start: int) -> dict[str, int]:
    return {field.name: start + _layout(fields[:i]).size for i, field in enumerate(fields)}


HEADER_BYTES = _layout(HEADER).size
CODING_HEADER_BYTES = _layout(CODING_HEADER).size
OFFSETS = _offsets(HEADER, 0) | _offsets(CODING_HEADER, HEADER_BYTES)
"""Byte of the file at which each field begins, by the names of the fields."""


@dataclass(frozen=True)
class Header:
    """The header of each file: what it says of its image.

    Attributes
    ----------
    fidelity : Fidelity
    mode : str
        One of `MODES`.
    degree : int
        The largest error of a near-lossless file, the quality of a lossy file, and 0 for others.
    width, height : int
        Pixels, at least 1.
    samples_crc : int
        CRC-32 of the decoded samples, see `codec.image_files.pillow.samples_crc`.
    grey : bool
        Whether the three colours of a coded image are equal everywhere, so that one of them is coded.
    """

    fidelity: Fidelity
    mode: str
    degree: int
    width: int
    height: int
    samples_crc: int
    grey: bool = False

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
        return (3 if self.mode in COLOURED_MODES else 1) + self.has_alpha

    @property
    def mode_number(self) -> int:
        """Value of the header's field ``mode``. `mode_of` is the inverse."""
        return MODES.index(self.mode) + EQUAL_COLOURS * self.grey

    @property
    def has_alpha(self) -> bool:
        """Whether a coded file has an alpha chunk."""
        return self.mode in ("LA", "RGBA")


@dataclass(frozen=True)
class CodingHeader:
    """The coding header: how a coded file was made.

    Attributes
    ----------
    latents : Latents
    lanes : int
        Number of messages, 1 to `MAX_LANES`.
    band_height : int
        Rows of pixels in a band, 1 to `MAX_BAND_HEIGHT`.
    model : int
    weights_hash : bytes
        First 4 bytes of the SHA-256 of the model's weights file.
    """

    latents: Latents
    lanes: int
    band_height: int
    model: int
    weights_hash: bytes


def band_count(height: int, band_height: int) -> int:
    """Return the number of bands of an image."""
    return -(-height // band_height)


def write(fields: tuple[Field, ...], values: dict[str, int | bytes]) -> bytes:
    """Return the bytes of a header's fields."""
    return _layout(fields).pack(*(values[field.name] for field in fields))


def read(fields: tuple[Field, ...], data: bytes, offset: int) -> dict[str, int | bytes]:
    """Return a header's fields by name, from the bytes at ``offset``; the inverse of `write`."""
    names = (field.name for field in fields)
    return dict(zip(names, _layout(fields).unpack_from(data, offset), strict=True))


def number(values: dict[str, int | bytes], name: str) -> int:
    """Return the value of a field that holds a number."""
    return int(values[name])


def require(condition: bool, name: str, expected: str, values: dict[str, int | bytes]) -> None:
    """Raise CorruptDataError unless the condition holds. The error has the place of the field in the file."""
    if not condition:
        raise CorruptDataError(f"header: {name}: expected {expected}, got {values[name]!r}", OFFSETS[name])


def mode_of(number: int) -> tuple[str, bool]:
    """Return the mode that the header's field ``mode`` stands for, and whether its three colours are equal."""
    grey = number >= len(MODES)
    return MODES[number - EQUAL_COLOURS * grey], grey


def check_header(values: dict[str, int | bytes], max_pixels: int | None) -> None:
    """Raise CorruptDataError or UnsupportedError if a field is out of its range, or the image over ``max_pixels``."""
    fidelity, mode, degree = (number(values, name) for name in ("fidelity", "mode", "degree"))
    width, height = number(values, "width"), number(values, "height")
    require(fidelity <= max(Fidelity), "fidelity", f"0 to {max(Fidelity):d}", values)
    most = EQUAL_COLOURS + MODES.index(COLOURED_MODES[-1])
    require(mode <= most, "mode", f"0 to {most}", values)
    (name, grey), rules = mode_of(mode), RULES[Fidelity(fidelity)]
    require(name in rules.modes and (rules.equal_colours or not grey), "mode", "one that is coded", values)
    most = rules.largest_degree
    require(min(most, 1) <= degree <= most, "degree", f"1 to {most}" if most else "0", values)
    require(width >= 1, "width", "at least 1", values)
    require(height >= 1, "height", "at least 1", values)
    if max_pixels is not None and width * height > max_pixels:
        raise UnsupportedError(f"header: {width}x{height} pixels are over the limit of {max_pixels}")


def check_coding_header(values: dict[str, int | bytes], header: Header) -> None:
    """Raise CorruptDataError or UnsupportedError if a field does not fit its range or the header."""
    latents, lanes, band_height = (number(values, name) for name in ("latents", "lanes", "band_height"))
    require(latents <= max(Latents), "latents", f"0 to {max(Latents):d}", values)
    rules = RULES[header.fidelity]
    require(rules.bits_back or latents != Latents.BITS_BACK, "latents", "0 or 2 in a near-lossless file", values)
    if max(header.width, header.height) > SIDE_LIMIT:
        raise UnsupportedError(f"header: {header.width}x{header.height}, coded images have sides up to {SIDE_LIMIT}")
    require(1 <= band_height <= MAX_BAND_HEIGHT, "band_height", f"1 to {MAX_BAND_HEIGHT}", values)
    most = min(MAX_LANES, band_count(header.height, band_height))
    require(1 <= lanes <= most, "lanes", f"1 to {most}", values)
    require(rules.adaptation or values["adaptation_bytes"] == 0, "adaptation_bytes", "0 in a lossy file", values)
    has_alpha = number(values, "alpha_bytes") > 0
    require(has_alpha == header.has_alpha, "alpha_bytes", "more than 0 if and only if there is alpha", values)
