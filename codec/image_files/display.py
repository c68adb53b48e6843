"""Images as other programs show them: 8 bits a sample, RGB or RGBA, upright."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageOps

from codec.image_files.wide_image import Picture, shown_of


def displayable(image: Image.Image) -> tuple[Image.Image, bytes]:
    """Return an image as browsers show it, RGB or RGBA, and its ICC profile, empty without one that fits."""
    has_alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
    # A profile for grey does not fit the colours that files for browsers have.
    profile = b"" if image.mode in ("1", "L", "LA") else image.info.get("icc_profile") or b""
    return image.convert("RGBA" if has_alpha else "RGB"), profile


def upright(image: Picture) -> Image.Image:
    """Return a copy of an image as browsers show it, turned as its EXIF or XMP says."""
    image = shown_of(image)
    shown, profile = displayable(image)
    shown.info = direction(image) | {"icc_profile": profile}
    return turned(shown)


def turned(shown: Image.Image) -> Image.Image:
    """Return a copy of an image, turned as its EXIF or XMP says."""
    try:
        return ImageOps.exif_transpose(shown)
    except Exception:  # damaged metadata can make Pillow raise any exception
        return shown


def direction(image: Picture) -> dict[str | tuple[int, int], Any]:
    """Return the metadata that may say how an image is turned."""
    return {key: image.info[key] for key in ("exif", "xmp") if key in image.info}
