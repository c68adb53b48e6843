"""The payload of a wide image: coded parts of 8 bits a sample, and low planes; or a PNG, where that is shorter.

Each part is a whole file without its header. See FORMAT.md, "Parts".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import CorruptDataError
from codec.format import container, metadata
from codec.format.bare_png import bare
from codec.format.container import Container
from codec.format.deflate import deflate, inflate
from codec.format.fields import Reader, varint
from codec.format.headers import CHANNELS, Fidelity, Header
from codec.format.wide_png import QUICK, open_wide_png, wide_png_bytes
from codec.image_files.wide_image import INKS_MODE, WideImage
from codec.wide import low_planes
from codec.wide.low_planes import HIGH_BITS, U16

DEPTH = 16
QUICK_FACTOR = 1.6
"""An optimised PNG is tried if a quick one is shorter than this times the parts."""
LEVELS_BYTES = 1 << 17
"""Most bytes of a list of levels, before it is compressed: 65536 numbers of which few have two bytes or three."""

Encode = Callable[[Image.Image], Container]
Decode = Callable[[Container], Image.Image]


def stored(image: WideImage, chunk: bytes, encode: Encode) -> Container:
    """Return the shortest file of a wide image. `samples_of` is the inverse.

    Parameters
    ----------
    image : WideImage
    chunk : bytes
        The metadata chunk.
    encode : callable
        Returns the shortest exact file of an image of 8 bits a sample without metadata.
    """
    pack = _pack_inks if image.mode == INKS_MODE else _pack_deep
    parts = pack(image.samples, encode)
    payload, has_parts = parts, True
    if len(wide_png_bytes(image.samples, filters=QUICK, level=1)) < QUICK_FACTOR * len(parts):
        png = bare(wide_png_bytes(image.samples))
        payload, has_parts = min((parts, True), (png, False), key=lambda way: len(way[0]))
    header = Header(Fidelity.STORED, image.mode, 0, *image.size, image.samples_crc, parts=has_parts)
    return container.stored(header, chunk, payload)


def samples_of(file: Container, decode: Decode) -> WideImage:
    """Return the wide image of a stored file, with its metadata. The inverse of `stored`.

    Parameters
    ----------
    file : Container
        Its mode is one of `codec.format.headers.WIDE_MODES`.
    decode : callable
        Returns the image of a part.

    Raises
    ------
    CorruptDataError
        The payload or the metadata is damaged, or the samples have another checksum.
    ModelError
        The model of a part is missing, or has other weights.
    """
    header = file.header
    info = metadata.info_of(file.metadata)
    if not header.parts:
        samples = open_wide_png(file.payload, (header.width, header.height), header.mode)
    else:
        reader = _Payload(file.payload, header, decode)
        samples = _unpack_inks(reader) if header.mode == INKS_MODE else _unpack_deep(reader)
    image = WideImage(samples, info)
    if image.mode != header.mode or image.samples_crc != header.samples_crc:
        raise CorruptDataError(f"samples: expected checksum {header.samples_crc:#010x}, got {image.samples_crc:#010x}")
    return image


def _framed(chunk: bytes) -> bytes:
    return varint(len(chunk)) + chunk


def _pack_inks(samples: NDArray[Any], encode: Encode) -> bytes:
    colours, black = (Image.fromarray(np.ascontiguousarray(255 - part)) for part in (samples[..., :3], samples[..., 3]))
    return _framed(container.pack_body(encode(colours))) + container.pack_body(encode(black))


def _pack_deep(samples: NDArray[Any], encode: Encode) -> bytes:
    planes = [_spread(part) for part in _split(samples)]
    high = np.concatenate([(p.values >> p.low_bits).astype(np.uint8) for p in planes], axis=2)
    chunks = [container.pack_body(encode(Image.fromarray(high.squeeze(axis=2) if high.shape[2] == 1 else high)))]
    for plane in planes:
        chunks.append(plane.levels)
        chunks.append(low_planes.encode(plane.values, plane.low_bits) if plane.low_bits else b"")
    return b"".join([*map(_framed, chunks[:-1]), chunks[-1]])


def _split(samples: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the colours and, if there is alpha, alpha."""
    colours = samples.shape[2] - (samples.shape[2] % 2 == 0)
    return [samples[:, :, :colours], *([samples[:, :, colours:]] if samples.shape[2] > colours else [])]


class _Planes(NamedTuple):
    """Values of as few bits as possible, the list that says which samples they stand for, and the bits above 8."""

    values: U16
    levels: bytes
    low_bits: int


def _spread(samples: U16) -> _Planes:
    """Return the planes of samples: their values as they are, or numbers in a list of the values that occur."""
    known = np.flatnonzero(np.bincount(samples.ravel(), minlength=1 << DEPTH))
    bits = max(int(len(known) - 1).bit_length(), HIGH_BITS)
    levels = deflate(b"".join(varint(int(step)) for step in np.diff(known, prepend=-1) - 1))
    if len(levels) >= samples.size * (DEPTH - bits) / 16:  # a bit of noise saves a bit; half of that must remain
        return _Planes(samples, b"", DEPTH - HIGH_BITS)
    return _Planes(np.searchsorted(known, samples).astype(np.uint16), levels, bits - HIGH_BITS)


class _Payload:
    """Reads the chunks of a payload of parts."""

    def __init__(self, payload: bytes, header: Header, decode: Decode) -> None:
        self.header = header
        self._reader = Reader(payload, what="parts")
        self._end = len(payload)
        self._decode = decode

    def chunk(self, last: bool = False) -> bytes:
        length = self._end - self._reader.at if last else self._reader.number()
        return self._reader.take(length)

    def part(self, mode: str, last: bool = False) -> NDArray[np.uint8]:
        """Return the samples of a part, uint8 array (H, W, C); CorruptDataError if it is not of this mode."""
        header = self.header
        file = container.unpack_body(self.chunk(last), header.width * header.height)
        own = file.header
        exact = own.fidelity in (Fidelity.STORED, Fidelity.LOSSLESS)
        if (own.mode, own.width, own.height, file.metadata) != (mode, header.width, header.height, b"") or not exact:
            raise CorruptDataError(f"parts: expected an exact part of mode {mode} and of the image's size")
        return np.asarray(self._decode(file)).reshape(header.height, header.width, -1)


def _unpack_inks(payload: _Payload) -> NDArray[np.uint8]:
    colours = payload.part("RGB")
    return 255 - np.concatenate([colours, payload.part("L", last=True)], axis=2)


def _unpack_deep(payload: _Payload) -> U16:
    channels = CHANNELS[payload.header.mode]
    high = payload.part(payload.header.mode.removesuffix(";16").replace("I", "L"))
    parts = _split(high)
    samples = np.empty((*high.shape[:2], channels), np.uint16)
    at = 0
    for index, part in enumerate(parts):
        levels = _unpack_levels(payload.chunk())
        low_bits = max((len(levels) - 1).bit_length() - HIGH_BITS, 0)
        chunk = payload.chunk(last=index == len(parts) - 1)
        if bool(chunk) != bool(low_bits):
            raise CorruptDataError(f"low planes: expected bytes for {low_bits} bits, got {len(chunk)}")
        values = low_planes.decode(part, low_bits, chunk) if low_bits else part
        if values.max() >= len(levels):
            raise CorruptDataError(f"levels: expected more than {values.max()}, got {len(levels)}")
        samples[:, :, at : at + part.shape[2]] = levels[values]
        at += part.shape[2]
    return samples


def _unpack_levels(chunk: bytes) -> U16:
    """Return the samples that values stand for, uint16 array (n,)."""
    if not chunk:
        return np.arange(1 << DEPTH, dtype=np.uint16)
    steps = inflate(chunk, LEVELS_BYTES, "levels")
    reader = Reader(steps, what="levels")
    levels, last = [], -1
    while reader.at < len(steps):
        last += reader.number() + 1
        levels.append(last)
    if not levels or last >= 1 << DEPTH:
        raise CorruptDataError("levels: expected numbers of 16 bits")
    return np.array(levels, dtype=np.uint16)
