"""PNG inside our files, without what the file says anyway: signature, size, checksums, and the heads of chunks.

    kind u8 | palette | transparency | raw deflate stream of the filtered rows

So a small image takes some 60 bytes less. The PNG is restored with the size of the file's header, and its rows must
have the length that size and kind say. See FORMAT.md, "Stored images".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from codec.errors import CorruptDataError
from codec.format.deflate import inflate
from codec.format.fields import Reader

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE = 3
"""Colour type of a PNG with a palette."""
CHANNELS = {0: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}
"""Number of channels, by colour type."""
PALETTES = ((1, PALETTE), (2, PALETTE), (4, PALETTE), (8, PALETTE))
KINDS = {
    "L": ((8, 0), *PALETTES),
    "LA": ((8, 4),),
    "RGB": ((8, 2), *PALETTES),
    "RGBA": ((8, 6), *PALETTES),
    "P": PALETTES,
    "1": ((1, 0),),
    "I;16": ((16, 0),),
    "LA;16": ((16, 4),),
    "RGB;16": ((16, 2), (16, 0)),
    "RGBA;16": ((16, 6), (16, 4)),
    "CMYK": ((8, 6),),
}
"""The pairs of bit depth and colour type with which a PNG may stand for a mode. Modes of colours may have a palette,
which is shorter if the colours are few."""
TRANSPARENCY_BYTES = {0: 2, 2: 6}
"""Bytes of a transparent colour, by colour type. With a palette there are as many as entries that have alpha."""
TRANSPARENT = 64

_ZLIB_HEAD, _ZLIB_TAIL = 2, 4


def bare(png: bytes) -> bytes:
    """Return a PNG without what a file says anyway. The inverse of `whole`.

    Parameters
    ----------
    png : bytes
        A PNG of one of `KINDS`, not interlaced. Of its chunks only the samples, the palette and the transparency are
        kept.
    """
    depth, colour_type = png[24:26]
    bodies = {kind: body for kind, body in chunks(png) if kind != b"IDAT"}
    stream = b"".join(body for kind, body in chunks(png) if kind == b"IDAT")
    palette, transparency = bodies.get(b"PLTE", b""), bodies.get(b"tRNS", b"")
    transparent = TRANSPARENT if transparency else 0
    parts = [bytes([depth.bit_length() - 1 | colour_type << 3 | transparent])]
    if colour_type == PALETTE:
        parts += [bytes([len(palette) // 3 - 1]), palette]
        parts += [bytes([len(transparency) - 1])] if transparency else []
    return b"".join([*parts, transparency, stream[_ZLIB_HEAD:-_ZLIB_TAIL]])


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each chunk of a PNG that is known to be whole."""
    at = len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length


def whole(data: bytes, size: tuple[int, int], mode: str) -> bytes:
    """Return the PNG of which `bare` left the data; its rows are not compressed.

    Parameters
    ----------
    data : bytes
    size : tuple of int
        Width and height of the image.
    mode : str
        Mode for which the PNG must stand, one of `KINDS`.

    Raises
    ------
    CorruptDataError
        The data is damaged, or of a kind that does not stand for the mode.
    """
    reader = Reader(data, what="png")
    kind = reader.byte()
    depth, colour_type = 1 << (kind & 7), kind >> 3 & 7
    if (depth, colour_type) not in KINDS[mode] or kind >= 2 * TRANSPARENT:
        raise CorruptDataError(f"png: expected mode {mode}, got bit depth {depth} and colour type {colour_type}")
    width, height = size
    parts = [SIGNATURE, chunk(b"IHDR", struct.pack(">IIBB3x", width, height, depth, colour_type))]
    if colour_type == PALETTE:
        parts.append(chunk(b"PLTE", reader.take(3 * (1 + reader.byte()))))
    if kind & TRANSPARENT:
        parts.append(chunk(b"tRNS", reader.take(_transparency_bytes(reader, colour_type))))
    expected = height * (1 + (width * CHANNELS[colour_type] * depth + 7) // 8)
    rows = inflate(data[reader.at :], expected, "png")
    if len(rows) != expected:
        raise CorruptDataError(f"png: expected {expected} bytes of rows, got {len(rows)}")
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows, 0)), chunk(b"IEND", b"")])


def _transparency_bytes(reader: Reader, colour_type: int) -> int:
    if colour_type == PALETTE:
        return 1 + reader.byte()
    if colour_type not in TRANSPARENCY_BYTES:
        raise CorruptDataError("png: expected no transparent colour beside alpha")
    return TRANSPARENCY_BYTES[colour_type]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
