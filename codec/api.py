"""Images to bytes and back: `compress`, `decompress`, `info`.

`compress` and `decompress` import what codes pixels, which brings the compiler of the kernels: `info` starts at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from codec.format import container, metadata
from codec.format.headers import Fidelity, Latents, band_count
from codec.image_files import pillow
from codec.images.goals import DEFAULT_EFFORT, checked_effort, goal_of
from codec.system.sources import Source, data_of, whole
from codec.vlae.pipeline import Progress

FIDELITY_NAMES = {
    Fidelity.STORED: "stored",
    Fidelity.LOSSLESS: "lossless",
    Fidelity.NEAR_LOSSLESS: "near-lossless",
    Fidelity.LOSSY: "lossy",
}


@dataclass(frozen=True)
class Info:
    """What a file says of itself, without decoding.

    Attributes
    ----------
    fidelity : str
        "stored" (as PNG, exact), "lossless", "near-lossless" or "lossy".
    mode : str
        Pillow's name.
    width, height : int
    channels : int
        Colour and alpha.
    max_error : int or None
        Largest difference of a decoded sample; None in a lossy file, where it may be any.
    quality : int or None
        Of a lossy file.
    latents : str or None
        "none", "bits-back" or "two-part"; this and the next five are None in a stored file.
    lanes, band_height, bands : int or None
    model : int or None
    weights_hash : str or None
        First 4 bytes of the SHA-256 of the model's weights, hexadecimal.
    file_bytes : int
    bpsp : float
        Bits of the file per sample.
    metadata_bytes : dict of str to int
        Length of each entry, uncompressed.
    dropped : tuple of str
        Names of what the original's file said that is not kept.
    part_bits : dict of str to int
        They sum to 8 times the file's length.
    """

    fidelity: str
    mode: str
    width: int
    height: int
    channels: int
    max_error: int | None
    quality: int | None
    latents: str | None
    lanes: int | None
    band_height: int | None
    bands: int | None
    model: int | None
    weights_hash: str | None
    file_bytes: int
    bpsp: float
    metadata_bytes: dict[str, int]
    dropped: tuple[str, ...]
    part_bits: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def compress(
    image: Image.Image | Source,
    *,
    lossless: bool = False,
    max_error: int | None = None,
    quality: int | None = None,
    target_bpp: float | None = None,
    target_size: int | None = None,
    min_psnr: float | None = None,
    effort: int = DEFAULT_EFFORT,
    latents: Latents | None = None,
    model: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> bytes:
    """Return the file of an image; the inverse of `decompress`.

    ICC profile, EXIF and XMP are kept; `Info.dropped` names what else the image's file said.

    One of the first six parameters says what the file is to be; without any it is lossy at the default
    quality. Where a near-lossless or lossless file, or one stored as PNG, is shorter at no worse quality, or
    is the only one, that is returned; so is a stored file of hardly any length, and that of a lower quality which
    is closer to the image. What alpha hides is no part of quality: a lossy file may hold other colours there.
    The image of a lossy file has no palette and no transparent colour: it is RGB or RGBA for P, RGBA for RGB, LA for L.

    Parameters
    ----------
    image : PIL.Image.Image, path, bytes, bytearray, memoryview or binary file
        Of a file of an image, unless it is a Pillow image; a text is a path. Of a Pillow image that is not loaded yet,
        the file is looked at; a copy is taken as it is in memory.
    lossless : bool
        Every sample comes back.
    max_error : int
        No colour sample comes back changed by more than this, 0 to 10.
    quality : int
        1 to 100. Alpha comes back exactly at any.
    target_bpp : float
        Best quality at which the whole file has at most so many bits for each pixel of the image.
    target_size : int
        Best quality at which the file has at most so many bytes.
    min_psnr : float
        Shortest file whose colours have at least this peak signal-to-noise ratio, dB, squared errors weighted by
        alpha.
    effort : int
        1 to 3, of lossy files: whether y is rounded to the nearest numbers, or to those that cost least, refined
        once for them or several times.
    latents : Latents, optional
        How latents are coded; by default what is shortest.
    model : str, optional
        Of a lossless file: the name of a model that is for certain images, see `vlae models`.
    threads : int, optional
    progress : callable, optional
        Called with the bands done and the bands in all, for every encoding that is tried.
    max_pixels : int, optional
        Limit on width times height instead of `codec.format.headers.PIXEL_LIMIT`.

    Raises
    ------
    ImageError
        The image cannot be read, or not be coded without changing it.
    ModelError
        The weights are missing or damaged.
    ValueError, TypeError
        Two fidelities, or a parameter out of range; or the target cannot be met: which can is said.
    """
    from codec.images.choice import pixels_for, reach
    from codec.images.fidelities import Encoder, chosen_model

    given = {
        "max_error": max_error,
        "quality": quality,
        "target_bpp": target_bpp,
        "target_size": target_size,
        "min_psnr": min_psnr,
    }
    goal = goal_of(lossless=lossless, **given)
    effort = checked_effort(effort)
    named = chosen_model(model, goal)
    threads, max_pixels = _at_least_1("threads", threads), _at_least_1("max_pixels", max_pixels)
    if not isinstance(image, Image.Image):
        image = pillow.load_image(image, max_pixels)
    pixels = pixels_for(image, goal, max_pixels)
    file = reach(Encoder(image, pixels, latents, effort, threads, progress, model=named), goal)
    return container.pack(file.whole())


def _at_least_1(name: str, value: int | None) -> int | None:
    return None if value is None else whole(name, value, 1)


def decompress(
    data: Source,
    *,
    latents_only: bool = False,
    sample: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """Return the image of a file, with its metadata in ``info``; the inverse of `compress`.

    ``info["dropped"]`` has the names of what the original's file said that is not kept, if it said such things.

    Parameters
    ----------
    data : path, bytes, bytearray, memoryview or binary file
        A text is a path.
    latents_only : bool
        Return what the latents alone hold, see `codec.vlae.preview`: hardly more than colours of a lossless file, a
        coarse picture of a lossy one.
    sample : int, optional
        With ``latents_only``: a seed with which the model makes up what is left out.
    threads, progress, max_pixels
        As for `compress`.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    UnsupportedError
        The file's version is not served, or the image is over the pixel limit; or ``latents_only`` of a file
        without latents.
    ValueError, TypeError
        ``sample`` without ``latents_only``, or a parameter out of range; data of another type, or a closed file.
    OSError
        The file cannot be read.
    ModelError
        The model of the file is missing, or has other weights.
    """
    from codec.images import decoder

    threads, max_pixels = _at_least_1("threads", threads), _at_least_1("max_pixels", max_pixels)
    if sample is not None:
        sample = whole("sample", sample, 0)
        if not latents_only:
            raise ValueError("sample: expected latents_only, too")
    file = container.unpack(data_of(data, "data"), max_pixels)
    found = decoder.opened(file, threads=threads, progress=progress)
    return found.preview(sample, threads) if latents_only else found.image(threads)


def info(data: Source, *, max_pixels: int | None = None) -> Info:
    """Return what a file says of itself; its checksum is tested, but no pixel is decoded.

    Parameters and errors are those of `decompress`.
    """
    data = data_of(data, "data")
    file = container.unpack(data, _at_least_1("max_pixels", max_pixels))
    header, coding = file.header, file.coding
    channels = header.image_channels
    entries = metadata.unpack(file.metadata)
    return Info(
        fidelity=FIDELITY_NAMES[header.fidelity],
        mode=header.mode,
        width=header.width,
        height=header.height,
        channels=channels,
        max_error=header.max_error,
        quality=header.quality,
        latents=coding.latents.name.lower().replace("_", "-") if coding else None,
        lanes=coding.lanes if coding else None,
        band_height=coding.band_height if coding else None,
        bands=band_count(header.height, coding.band_height) if coding else None,
        model=coding.model if coding else None,
        weights_hash=coding.weights_hash.hex() if coding else None,
        file_bytes=len(data),
        bpsp=8 * len(data) / (header.width * header.height * channels),
        metadata_bytes={key: len(entries[key]) for key in metadata.KEPT if key in entries},
        dropped=metadata.unpack_names(entries.get("dropped", b"")),
        part_bits=container.part_bits(file),
    )
