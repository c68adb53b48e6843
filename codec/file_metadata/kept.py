"""The metadata of an image file that the codec keeps, as the entries of our files.

ICC profile, EXIF and XMP come from Pillow, other data from the file's own parts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image, JpegImagePlugin

from codec.errors import DamagedImageError, UnsupportedImageError
from codec.file_metadata.exif_tags import LAYOUT_TAGS, ORIENTATION, has_resolution
from codec.file_metadata.file_parts import jpeg_segments, png_chunks
from codec.format import metadata
from codec.format.metadata import LATIN, LIMIT_BYTES, UNICODE

Entries = dict[str, bytes]

METRE, INCH, CENTIMETRE = 1, 2, 3
"""Units of a resolution, by their numbers in an entry."""
PHOTOSHOP = b"Photoshop 3.0\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
RAW_PROFILE = "Raw profile type exif"
XMP_TEXT = "XML:com.adobe.xmp"

_EXTENDED_HEAD = len(EXTENDED_XMP) + 32 + 8
_XMP_KEYS = ("xmp", XMP_TEXT)


def collect(image: Image.Image, data: bytes = b"", exif: bytes | None = None) -> Entries:
    """Return the metadata of an image that is kept, by the keys of `metadata.KEPT`.

    Parameters
    ----------
    image : PIL.Image.Image
        A loaded image.
    data : bytes
        The image's file, or b"" if it is no longer available.
    exif : bytes, optional
        The image's EXIF, where the caller knows it better than Pillow.

    Raises
    ------
    UnsupportedImageError
        An entry is over the limit.
    DamagedImageError
        The EXIF cannot be read.
    """
    info = image.info
    xmp = info.get("xmp") or info.get(XMP_TEXT)
    found: dict[str, Any] = metadata.entries_of_info(info)
    found.pop("dropped", None)
    if image.format is not None:  # only frames, which are copies, have a duration
        found.pop("duration", None)
    found |= {
        "icc_profile": info.get("icc_profile"),
        "exif": info.get("exif") or _exif(image) if exif is None else exif,
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    found = {key: value for key, value in found.items() if value and not isinstance(value, str)}
    reader = _READERS.get(image.format or "")
    if reader and data:
        found |= reader(image, data)
    if "resolution" not in found and (density := _density(image)) and not has_resolution(found.get("exif", b"")):
        found["resolution"] = density
    for key, value in found.items():
        if not isinstance(value, bytes):
            raise UnsupportedImageError(f"image: {key}: expected bytes, got {type(value).__name__}")
        if len(value) > LIMIT_BYTES:
            raise UnsupportedImageError(f"image: {key}: expected at most {LIMIT_BYTES} bytes, got {len(value)}")
    return found


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF of an image that has it outside of ``info``: in TIFF tags or in a text of PNG."""
    try:
        if profile := image.info.get(RAW_PROFILE):
            return bytes.fromhex("".join(profile.split("\n")[3:]))  # after two lines that say what it is
        exif = image.getexif()
        made_up = {ORIENTATION} if _is_made_up(image) else set()
        for tag in (LAYOUT_TAGS | made_up) & set(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else b""
    except Exception as error:
        # Damaged tags make Pillow's reader raise many kinds of errors.
        raise DamagedImageError(f"image: exif: cannot be read: {error}") from error


def _is_made_up(image: Image.Image) -> bool:
    """Return whether an orientation in the image's EXIF would be Pillow's copy of that in XMP."""
    says = any("tiff:Orientation" in str(image.info.get(key, "")) for key in _XMP_KEYS)
    return says and ORIENTATION not in getattr(image, "tag_v2", {})


def _density(image: Image.Image) -> bytes:
    """Return the entry of a resolution that Pillow has read from another format than PNG and TIFF; b"" without one."""
    info = image.info
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            # A JPEG may have a density without a unit. Pillow makes a unit up if there is EXIF.
            unit, (x, y) = info.get("jfif_unit") or 0, info.get("jfif_density", (1, 1))
            if unit > 2 or (unit == 0 and x == y):
                return b""
            return metadata.pack_resolution((0, INCH, CENTIMETRE)[unit], x, y)
        if "dpi" in info and image.format not in ("PNG", "TIFF"):
            return metadata.pack_resolution(METRE, *(round(value / 0.0254) for value in info["dpi"]))
    except (ValueError, TypeError):
        pass  # a damaged header, which is named as dropped
    return b""


def _png(image: Image.Image, data: bytes) -> Entries:
    found: Entries = {}
    texts = []
    for kind, body in png_chunks(data):
        name = kind.decode("latin-1")
        if name in metadata.SIZES and len(body) == metadata.SIZES[name]:
            found.setdefault(name, body)
        elif kind == b"pHYs" and len(body) == 9:
            x, y, unit = struct.unpack(">IIB", body)
            if unit <= METRE:
                found["resolution"] = metadata.pack_resolution(unit, x, y)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and (text := png_text(kind, body)):
            texts.append(text)
    if texts:
        found["texts"] = metadata.pack_texts(texts)
    return found


def png_text(kind: bytes, body: bytes) -> tuple[int, bytes] | None:
    """Return how a text of a PNG is written and its bytes, as `metadata.pack_texts` takes them.

    It is None if the text is damaged, and for XMP and EXIF, which are kept as such.
    """
    keyword, mark, rest = body.partition(b"\0")
    if not mark or keyword.decode("latin-1") in (XMP_TEXT, RAW_PROFILE):
        return None
    try:
        if kind == b"tEXt":
            return LATIN, keyword + b"\0" + rest
        if kind == b"zTXt":
            return LATIN, keyword + b"\0" + _inflated(rest[1:])
        parts = rest[2:].split(b"\0", 2)
        parts[2] = _inflated(parts[2]) if rest[0] else parts[2]
        return UNICODE, b"\0".join([keyword, *parts])
    except (zlib.error, IndexError):
        return None


def _inflated(stream: bytes) -> bytes:
    """Return an expanded text; zlib.error if it is damaged or has more bytes than an entry may have."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(stream, LIMIT_BYTES)
    if not inflater.eof:
        raise zlib.error("cut, or too long")
    return text


def _jpeg(image: Image.Image, data: bytes) -> Entries:
    comments, photoshop, extended = [], [], []
    for marker, body in jpeg_segments(data):
        if marker == 0xFE:
            comments.append(body)
        elif marker == 0xED and body.startswith(PHOTOSHOP):
            photoshop.append(body[len(PHOTOSHOP) :])
        elif marker == 0xE1 and body.startswith(EXTENDED_XMP) and len(body) > _EXTENDED_HEAD:
            (offset,) = struct.unpack_from(">I", body, _EXTENDED_HEAD - 4)
            extended.append((offset, body[_EXTENDED_HEAD:]))
    found = {
        "comments": metadata.pack_comments(comments),
        "photoshop": b"".join(photoshop),
        "xmp_extended": b"".join(part for _, part in _in_order(extended)),
    }
    return {key: entry for key, entry in found.items() if entry}


def _in_order(parts: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of an extended XMP packet in order. What does not follow without a gap ends them."""
    end = 0
    for offset, part in sorted(parts):
        if offset != end:
            return
        yield offset, part
        end += len(part)


def _gif(image: Image.Image, data: bytes) -> Entries:
    comment = image.info.get("comment")
    return {"comments": metadata.pack_comments([comment])} if isinstance(comment, bytes) and comment else {}


def _avif(image: Image.Image, data: bytes) -> Entries:
    """Return the colour space that an AVIF file names, unless it is like sRGB. Its samples are RGB of full range."""
    begin = data.find(b"colrnclx")
    if begin < 0:
        return {}
    primaries, transfer = struct.unpack_from(">HH", data, begin + 8)
    usual = primaries in (1, 2) and transfer in (1, 2, 6, 13)
    return {} if usual or max(primaries, transfer) > 255 else {"cICP": bytes([primaries, transfer, 0, 1])}


_READERS: dict[str, Callable[[Image.Image, bytes], Entries]] = {
    "AVIF": _avif,
    "GIF": _gif,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PNG": _png,
}
"""Functions that read the metadata of a format which Pillow does not hand over, by Pillow's names."""
