"""The names of the metadata that an image file has and the codec drops. `codec.file_metadata.kept` has what is kept.

Each name is short, and stands for all data of its kind in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from codec.file_metadata.exif_tags import has_resolution
from codec.file_metadata.file_parts import END_OF_JPEG, boxes, jpeg_segments, png_chunks, psd_sections, riff_chunks
from codec.file_metadata.kept import EXTENDED_XMP, png_text
from codec.format import metadata

TRAILING = "trailing data"
SUB_IFDS = 330

_PNG = {
    b"tIME": "time",
    b"bKGD": "background",
    b"": TRAILING,
}
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_PNG_KEPT = {b"pHYs": "resolution", b"gAMA": "gAMA", b"cHRM": "cHRM", b"sRGB": "sRGB", b"cICP": "cICP"}
"""Chunks that are kept unless they are damaged, with their keys."""
_WEBP_PIXELS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}
_INFO = {
    "comment": "comment",
    "id_section": "comment",
    "hotspot": "hotspot",
    "spacing": "brush spacing",
    "Comment": "comment",
}
"""Names of dropped metadata, by its key in Pillow's ``info``."""
_RESOURCES = {1005: "resolution", 1028: "IPTC", 1039: "", 1058: "EXIF", 1060: "XMP"}
"""Names of Photoshop's resources, by their numbers. Number 1039, the ICC profile, is kept and has no name."""

Kept = Mapping[str, bytes]


def names(image: Image.Image, data: bytes, kept: Kept) -> set[str]:
    """Return the names of the metadata that is dropped.

    Parameters
    ----------
    image : PIL.Image.Image
    data : bytes
        The image's file, or b"" if it is no longer available. Then only the image's own attributes are looked at.
    kept : mapping
        The metadata that is kept, from `codec.file_metadata.kept.collect`.
    """
    found = set(_of_info(image, kept))
    look = _LOOKS.get((image.format or "").upper())
    if look and data:
        try:
            found.update(look(image, data, kept))
        except (struct.error, LookupError, ValueError):
            found.add("what a damaged header says")
    return found - {""}


def _of_info(image: Image.Image, kept: Kept) -> Iterator[str]:
    info = image.info
    for key, name in _INFO.items():
        if info.get(key) is not None and not (name == "comment" and "comments" in kept):
            yield name
    for key, entry in (("gamma", "gAMA"), ("chromaticity", "cHRM"), ("srgb", "sRGB")):
        if info.get(key) is not None and entry not in kept:
            yield metadata.NAMES[entry]
    if "dpi" in info and image.format != "TIFF" and "resolution" not in kept and not _says_nothing(image, kept):
        yield "resolution"
    if isinstance(info.get("photoshop"), dict) and "photoshop" not in kept:
        yield from _of_resources(info["photoshop"])
    if getattr(image, "text", {}).keys() - {"XML:com.adobe.xmp", "Raw profile type exif"} and "texts" not in kept:
        yield "text"


def _says_nothing(image: Image.Image, kept: Kept) -> bool:
    """Return whether a resolution stands in the EXIF, too, or was made up by Pillow for a JPEG."""
    return image.format in ("JPEG", "MPO") or has_resolution(kept.get("exif", b""))


def _of_resources(codes: Mapping[int, object]) -> Iterator[str]:
    for code in codes:
        yield _RESOURCES.get(code, "Photoshop data")


def _png(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    for kind, body in png_chunks(data):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = body.split(b"\0", 1)[0]
            key = {b"XML:com.adobe.xmp": "xmp", b"Raw profile type exif": "exif"}.get(keyword)
            if key not in kept and not (key is None and png_text(kind, body)):
                yield "text"
        elif kind in _PNG_KEPT:
            if _PNG_KEPT[kind] not in kept:
                yield metadata.NAMES[_PNG_KEPT[kind]]
        elif kind in (b"iCCP", b"eXIf"):
            key, name = ("icc_profile", "ICC profile") if kind == b"iCCP" else ("exif", "EXIF")
            if key not in kept:
                yield name
        elif kind in _PNG:
            yield _PNG[kind]
        elif kind not in _PNG_PIXELS and kind.isalpha():
            yield f"chunk {kind.decode('ascii')}"


def _jpeg(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    packets = 0
    for marker, body in jpeg_segments(data):
        if marker == END_OF_JPEG:
            if body.strip(b"\0\xff"):
                yield TRAILING
        elif body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            packets += 1
        elif body.startswith(EXTENDED_XMP):
            if "xmp_extended" not in kept:
                yield "extended XMP"
        elif marker == 0xE0:
            if body.startswith(b"JFXX\0") or (body.startswith(b"JFIF\0") and all(body[12:14])):
                yield "thumbnail"
            elif not body.startswith(b"JFIF\0"):
                yield "segment APP0"
        elif body.startswith(b"ICC_PROFILE\0"):
            if "icc_profile" not in kept:
                yield "ICC profile"
        elif 0xE0 < marker < 0xF0 and not body.startswith((b"Exif\0", b"Adobe", b"Photoshop 3.0\0")):
            yield f"segment APP{marker - 0xE0}"
    if packets > 1:
        yield "further XMP"


def _webp(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    keys = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
    for kind, _ in riff_chunks(data):
        if not kind:
            yield TRAILING
        elif kind not in _WEBP_PIXELS and keys.get(kind) not in kept and kind.strip().isalnum():
            yield f"chunk {kind.decode('ascii').strip()}"


def _avif(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    top = dict(boxes(data))
    if b"tmap" in top.get(b"ftyp", b""):
        yield "gain map"


def _jpeg2000(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    for kind, body in boxes(data):
        if kind in (b"xml ", b"uuid", b"uinf"):
            yield f"box {kind.decode('ascii').strip()}"
        if kind == b"jp2h" and any(inner == b"colr" and box[0] in (2, 3) for inner, box in boxes(body)):
            yield "ICC profile"


def _tiff(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if SUB_IFDS in getattr(image, "tag_v2", {}):
        yield "images within the image"


def _gif(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    for mark, name in ((b"\x21\xff\x0bXMP DataXMP", "XMP"), (b"\x21\xff\x0bICCRGBG1012", "ICC profile")):
        if mark in data:
            yield name


def _bmp(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if data[14:18] == b"\x7c\0\0\0" and data[70:74] in (b"DEBM", b"KNIL"):  # a profile that is embedded, or linked
        yield "ICC profile"


def _ico(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if struct.unpack_from("<H", data, 4)[0] > 1:
        yield "other sizes"


def _cur(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    yield "hotspot"
    yield from _ico(image, data, kept)


def _icns(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if len(image.info.get("sizes", ())) > 1:
        yield "other sizes"


def _psd(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if len(psd_sections(data)[2]) > 4 and any(psd_sections(data)[2][:4]):
        yield "layers"
    yield from _of_resources({code: None for code, *_ in getattr(image, "resources", [])})


def _dds(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if struct.unpack_from("<I", data, 28)[0] > 1:
        yield "smaller copies"


def _tga(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if data[-18:-2] == b"TRUEVISION-XFILE" and data[-26:-18] != bytes(8):
        yield "extension"


def _ppm(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if b"#" in b" ".join(data[: 1 << 10].split(None, 4)[:4]):
        yield "comment"


def _sgi(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if data[24:104].strip(b"\0 ") not in (b"", b"no name"):
        yield "image name"


def _qoi(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    if data[13] == 1:
        yield "linear light"


def _header(image: Image.Image, data: bytes, kept: Kept) -> Iterator[str]:
    yield "header"


_LOOKS: dict[str, Callable[[Image.Image, bytes, Kept], Iterator[str]]] = {
    "AVIF": _avif,
    "BMP": _bmp,
    "CUR": _cur,
    "DDS": _dds,
    "FITS": _header,
    "GIF": _gif,
    "ICNS": _icns,
    "ICO": _ico,
    "IM": _header,
    "JPEG": _jpeg,
    "JPEG2000": _jpeg2000,
    "MCIDAS": _header,
    "PNG": _png,
    "PPM": _ppm,
    "PSD": _psd,
    "QOI": _qoi,
    "SGI": _sgi,
    "TGA": _tga,
    "TIFF": _tiff,
    "WEBP": _webp,
}
"""Functions that yield the names for each format, by Pillow's names. TIFF's other tags are kept as EXIF."""
