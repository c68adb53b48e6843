"""Checks that Pillow returns all that an image file holds. Pillow cuts deeper samples to 8 bits, and drops channels.

`CHECKS` has for each format a function that finds out whether a file holds more than Pillow returns. Formats that are
neither in `CHECKS` nor in `WHOLE` are refused: nothing in their files tells, or Pillow draws, shrinks or invents what
it shows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from PIL import Image

from codec.file_metadata.file_parts import JPEG2000_MAGICS, PNG_MAGIC, boxes, png_chunks

WHOLE = frozenset({
    "DCX", "FLI", "FTEX", "GBR", "GIF", "IMT", "JPEG", "MPO", "MSP", "PCX", "PIXAR", "QOI", "SPIDER", "TGA", "VLAE",
    "WEBP", "XBM", "XVTHUMB",
})  # fmt: skip
"""Formats that need no check: Pillow returns all samples, or a mode that we refuse, or raises an error."""
REFUSED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PCD", "WMF"})
"""Pillow's other formats, which are refused: drawings, films, data for other programs, and PhotoCD, of which Pillow
reads only a small copy."""

_DEEP = re.compile(r";(12|16[BLNS])|^SGI16$")
"""Pillow's raw modes and decoders of more than 8 bits a sample. ``BGR;16`` is none: it packs a pixel in 16 bits."""
_FRAMES = "expected 1 frame, got more"


def fault(image: Image.Image, data: bytes) -> str:
    """Return a message about what Pillow would cut or drop of a file, or "" if Pillow returns everything.

    Parameters
    ----------
    image : PIL.Image.Image
        The image as Pillow opened it, not loaded yet.
    data : bytes
        The image's file, or b"" if it is no longer available. Then only the image's own attributes are looked at.
    """
    kind = (image.format or "").upper()
    if kind and kind not in WHOLE and kind not in CHECKS:
        return f"expected a format that tells what it holds, got {kind}"
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(a, str) and _DEEP.search(a) for a in (tile[0], *arguments)):
            return "expected 8 bits a sample, got more"
    if kind not in CHECKS or not (data or kind == "TIFF"):
        return ""
    try:
        return CHECKS[kind](image, data)
    except (struct.error, LookupError, ValueError, TypeError):
        return f"expected a header that tells what the file holds, got a damaged one of {kind}"


def _deep(bits: int) -> str:
    return f"expected 8 bits a sample, got {bits}" if bits > 8 else ""


def _channels(expected: int, got: int) -> str:
    return f"expected {expected} channels, got {got}" if got > expected else ""


def avif_depth(data: bytes) -> int:
    """Return the bits of a sample of an AVIF file: 8, 10, 12 or 16.

    It looks at the sequence headers of all pictures in the file, in any box: of colour, alpha and grids.
    """
    for found in re.finditer(rb"av1C\x81.(.)", data, re.DOTALL):
        flags = found[1][0]
        if flags & 0x40:
            return 12 if flags & 0x20 else 10
    # A sample transform combines pictures of 8 bits into one of 16.
    return 16 if re.search(rb"infe.{8,10}sato", data, re.DOTALL) else 8


def _avif(image: Image.Image, data: bytes) -> str:
    return _deep(avif_depth(data))


def _jpeg2000_parts(data: bytes) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Return the codestreams of a JPEG 2000 file, and the boxes of its header."""
    if not data.startswith(JPEG2000_MAGICS[1]):
        return [data], []
    outer = list(boxes(data))
    header = [box for kind, body in outer if kind == b"jp2h" for box in boxes(body)]
    return [body for kind, body in outer if kind == b"jp2c"], header


def jpeg2000_depths(data: bytes) -> list[int]:
    """Return the bits of a sample of each component of a JPEG 2000 file, and of the entries of its palettes."""
    streams, header = _jpeg2000_parts(data)
    (count,) = struct.unpack_from(">H", streams[0], 40)
    depths = [*struct.unpack_from("Bxx" * count, streams[0], 42)]
    for kind, body in header:
        if kind == b"pclr":
            depths += body[3 : 3 + body[2]]
    return [(depth & 0x7F) + 1 for depth in depths]


def _jpeg2000(image: Image.Image, data: bytes) -> str:
    streams, header = _jpeg2000_parts(data)
    if len(streams) != 1:
        return _FRAMES
    (count,) = struct.unpack_from(">H", streams[0], 40)
    bands = count if any(kind == b"pclr" for kind, _ in header) else len(image.getbands())
    return _deep(max(jpeg2000_depths(data))) or _channels(bands, count)


def _png(image: Image.Image, data: bytes) -> str:
    return _deep(data[24])


def _icon_png(data: bytes) -> str:
    """Check a PNG within an icon. Pillow ignores its transparent colours."""
    if any(kind == b"tRNS" for kind, _ in png_chunks(data)):
        return "expected an icon of RGB or RGBA, got a PNG with transparent colours"
    return _deep(data[24])


def _tiff(image: Image.Image, data: bytes) -> str:
    tags = getattr(image, "tag_v2", {})
    bits, formats, extra = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(338, ())
    colours = tags.get(320, ())
    if any(value % 257 for value in colours) and any(value % 256 for value in colours):
        return _deep(16)
    if any(value != 1 for value in formats):
        return "expected unsigned samples, got others"
    if 1 in extra:
        return "expected alpha apart from the colours, got colours that are multiplied by it"
    if 50706 in tags or (330 in tags and tags.get(254, 0) & 1):
        return "expected the image itself, got a smaller copy of a raw photograph"
    return _deep(max(bits)) or _channels(len(image.getbands()), tags.get(277, 1))


def _ppm(image: Image.Image, data: bytes) -> str:
    magic, *rest = re.sub(rb"#[^\r\n]*", b" ", data[: 1 << 16]).split(None, 4)
    if magic not in (b"P1", b"P4", b"Pf") and int(rest[2]) > 255:
        return _deep(int(rest[2]).bit_length())
    tiles = getattr(image, "tile", [])
    if magic in (b"P4", b"P5", b"P6") and tiles:
        row = (image.width + 7) // 8 if magic == b"P4" else image.width * len(image.getbands())
        if re.match(rb"\s*P[1-6]\s", data[tiles[0][2] + row * image.height :][:16]):
            return _FRAMES
    return ""


def _sgi(image: Image.Image, data: bytes) -> str:
    return _deep(8 * data[3])


def _fourth(image: Image.Image, data: bytes) -> str:
    """Look whether the fourth bytes of pixels, which Pillow drops, vary. Often they are alpha."""
    for name, (_, _, right, lower), offset, arguments in getattr(image, "tile", []):
        raw = arguments[0] if isinstance(arguments, tuple) else arguments
        if isinstance(raw, str) and len(raw) == 4 and "X" in raw:
            unused = data[offset + raw.index("X") : offset + 4 * right * lower : 4]
            if name != "raw" or unused.count(unused[:1]) != len(unused):
                return _channels(3, 4)
    return ""


def _bitmap(image: Image.Image, data: bytes) -> str:
    start = 14 if data.startswith(b"BM") else 0
    size, bits = struct.unpack_from("<I10xH", data, start)
    if size >= 56 and bits == 16 and data[start + 52 : start + 56] != bytes(4):
        return _channels(3, 4)
    return _fourth(image, data)


def _cursor(image: Image.Image, data: bytes) -> str:
    return "" if image.mode in ("LA", "RGBA") else "expected a cursor with alpha, got one with a mask"


def _icon(image: Image.Image, data: bytes) -> str:
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [struct.unpack_from("<BBBBHHII", data, 6 + 16 * i) for i in range(count)]
    shapes = [(entry[0] or 256, entry[1] or 256) for entry in entries]
    largest = max(shapes, key=lambda shape: shape[0] * shape[1])
    if shapes.count(largest) > 1:
        return f"expected 1 image of the largest size, got {shapes.count(largest)}"
    *_, bits, _, offset = entries[shapes.index(largest)]
    body = data[offset:]
    if body.startswith(PNG_MAGIC):
        return _icon_png(body)
    return _channels(3, 4) if bits != 32 and struct.unpack_from("<H", body, 14) == (32,) else ""


def _icons(image: Image.Image, data: bytes) -> str:
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at + 4)
        body = data[at + 8 : at + length]
        found = ""
        if body.startswith(PNG_MAGIC):
            found = "expected an icon without a palette, got one" if body[25] == 3 else _icon_png(body)
        elif body.startswith(JPEG2000_MAGICS):
            found = _jpeg2000(image, body)
        if found:
            return found
        at += max(length, 8)
    return ""


def _dds(image: Image.Image, data: bytes) -> str:
    flags, code, _, *masks = struct.unpack_from("<I4s5I", data, 80)
    if struct.unpack_from("<I", data, 112)[0] & 0x200200:  # sides of a cube, layers of a volume
        return _FRAMES
    if flags & 4 and code == b"DX10":
        dxgi, _, _, images = struct.unpack_from("<4I", data, 128)
        if dxgi in (95, 96):  # BC6H
            return _deep(16)
        return _FRAMES if images > 1 else ""
    return _deep(max(mask.bit_count() for mask in masks)) if flags & 0x40 else ""


def _psd(image: Image.Image, data: bytes) -> str:
    channels, _, _, bits, mode = struct.unpack_from(">HIIHH", data, 12)
    if mode == 8:
        return "expected grey or RGB, got inks of a duotone"
    return _deep(bits) or _channels(len(image.getbands()), channels)


def _fits(image: Image.Image, data: bytes) -> str:
    cards = [data[at : at + 80] for at in range(0, min(len(data), 1 << 20), 80)]
    end = [card[:8].strip() for card in cards].index(b"END")
    fields = {card[:8].strip(): card[10:].split(b"/")[0].strip() for card in cards[:end]}
    length = -(-(80 * (end + 1)) // 2880) * 2880 + image.width * image.height
    if fields[b"NAXIS"] not in (b"1", b"2") or len(data) > -(-length // 2880) * 2880:
        return _FRAMES
    return _deep(abs(int(fields[b"BITPIX"])))


def _mcidas(image: Image.Image, data: bytes) -> str:
    return _channels(1, struct.unpack_from(">i", data, 52)[0])


def _im(image: Image.Image, data: bytes) -> str:
    return "expected samples, got a table of what they mean" if hasattr(image, "lut") else ""


def _xpm(image: Image.Image, data: bytes) -> str:
    digits = max((len(found[1]) for found in re.finditer(rb'\sc\s+#([0-9A-Fa-f]+)"', data)), default=6)
    return "" if digits == 6 else "expected colours of 6 digits, got others"


def _blp(image: Image.Image, data: bytes) -> str:
    # If alpha stands in a plane of its own, Pillow takes the palette's alpha instead, or none.
    planar = data[8:12] != bytes(4) if data.startswith(b"BLP1") else data[8] == 1 and data[9] != 0
    return "expected alpha with the colours, got a plane of its own" if planar else ""


CHECKS: dict[str, Callable[[Image.Image, bytes], str]] = {
    "AVIF": _avif,
    "BLP": _blp,
    "BMP": _bitmap,
    "CUR": _cursor,
    "DDS": _dds,
    "DIB": _bitmap,
    "FITS": _fits,
    "ICNS": _icons,
    "ICO": _icon,
    "IM": _im,
    "JPEG2000": _jpeg2000,
    "MCIDAS": _mcidas,
    "PNG": _png,
    "PPM": _ppm,
    "PSD": _psd,
    "SGI": _sgi,
    "SUN": _fourth,
    "TIFF": _tiff,
    "XPM": _xpm,
}
"""The checks of formats, by Pillow's names. Each returns a message about what Pillow would drop, or ""."""
