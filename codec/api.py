"""Images to bytes and back: `compress`, `decompress`, `info`.

The kernels and their compiler are imported when `compress` or `decompress` is called, so that `info` answers at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.format import container, metadata
from codec.format.headers import Fidelity, Header, Latents
from codec.image_files import loading
from codec.image_files.conversion import Pixels
from codec.image_files.wide_image import Picture, WideImage, public_of
from codec.images.goals import DEFAULT_EFFORT, checked_effort, goal_of
from codec.system.sources import Source, data_of, whole
from codec.vlae.pipeline import Progress

FIDELITY_NAMES = {
    Fidelity.STORED: "stored",
    Fidelity.LOSSLESS: "lossless",
    Fidelity.NEAR_LOSSLESS: "near-lossless",
    Fidelity.LOSSY: "lossy",
}


def fidelity_name(header: Header) -> str:
    """Return the name of a file's fidelity, for people. An image in coded parts is lossless."""
    return FIDELITY_NAMES[Fidelity.LOSSLESS if header.parts else header.fidelity]


@dataclass(frozen=True)
class Info:
    """What a file says of itself. Nothing is decoded for it.

    Attributes
    ----------
    fidelity : str
        "stored" (as PNG, exact), "lossless", "near-lossless" or "lossy".
    mode : str
        The image's mode, one of `codec.format.headers.MODES` or `WIDE_MODES`.
    width, height : int
        Pixels.
    channels : int
        Number of channels, with alpha.
    max_error : int or None
        Largest error of a decoded sample; None in a lossy file, where it has no bound.
    quality : int or None
        Quality of a lossy file; None in other files.
    latents : str or None
        "none", "bits-back" or "two-part". This and the next three are None in a stored file.
    lanes : int or None
        Number of messages.
    model : int or None
        Number of the model.
    weights_hash : str or None
        First 2 bytes of the SHA-256 of the model's weights, hexadecimal.
    file_bytes : int
        Length of the file.
    bpsp : float
        Bits of the file for each sample.
    metadata_bytes : dict of str to int
        Length of each metadata entry, uncompressed.
    dropped : tuple of str
        Names of the metadata that the original's file had and that was dropped.
    part_bits : dict of str to int
        Bits of each part of the file. They sum to 8 times its length.
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
    image: Image.Image | WideImage | NDArray[Any] | Source,
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
    keep: Collection[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> bytes:
    """Return the bytes of an image's file. The inverse of `decompress`.

    Metadata of the kinds in `codec.format.metadata.KINDS` is kept. `Info.dropped` names the other metadata of the
    image's file.

    One of the first six parameters says what the file is to be. Without any, it is lossy at the default quality. The
    caller may get a better file than asked for: a lossless, near-lossless or stored (PNG) file, if it is shorter and no
    worse, or if no other file is possible; a stored file, if it has hardly any length; or a file of a lower quality, if
    that is closer to the image. Samples that alpha hides do not count: a lossy file may hold other colours there. The
    image of a lossy file has no palette and no transparent colour: P becomes RGB or RGBA, RGB with a transparent colour
    becomes RGBA, and L becomes LA. Samples of 16 bits become samples of 8 bits there, and CMYK becomes RGB, by the
    image's ICC profile if it has one. With ``lossless`` or ``max_error`` both come back exactly.

    Parameters
    ----------
    image : PIL.Image.Image, uint16 array, path, bytes, bytearray, memoryview or binary file
        A Pillow image, or the source of an image's file; a str is a path. If a Pillow image is not loaded yet, its file
        is looked at, too. A copy of a Pillow image has no file, and is taken as it is in memory. An array (H, W) or
        (H, W, C) has 16 bits a sample; C is 1, 2, 3 or 4, for grey, grey with alpha, RGB, RGB with alpha.
    lossless : bool
        Every sample comes back.
    max_error : int
        No colour sample comes back changed by more than this, 0 to 10.
    quality : int
        Quality of a lossy file, 1 to 100. Alpha comes back exactly at any quality.
    target_bpp : float
        The best quality is taken at which the whole file has at most this number of bits for each pixel of the image.
    target_size : int
        The best quality is taken at which the file has at most this number of bytes.
    min_psnr : float
        The shortest file is taken whose colours have at least this peak signal-to-noise ratio, in dB. Squared errors
        are weighted by alpha.
    effort : int
        1 to 3; a file of more effort is shorter and takes longer to make. In a lossy file, the latents y of the
        transform are rounded to the nearest integers (1), or to those that cost least in bits and error, and refined
        (2), or found by a long search (3). In a lossless or near-lossless file, the model is adapted to the image by
        a search, which is four times as long with 3, and left out with 1. A lossless file of effort 1 has a fast
        model, so that decoding is fast, too.
    latents : Latents, optional
        How latents are coded; by default the shortest way is taken. A model without latents takes only
        ``Latents.NONE``.
    model : str, optional
        With ``lossless``: the name of a model for certain images, see ``vlae models``. By default the model is taken
        that is estimated to make the shortest file.
    keep : collection of str, optional
        The kinds of metadata to keep, of `codec.format.metadata.KINDS`; none in an empty one. By default all are kept.
    threads : int, optional
        Largest number of threads. The file is the same for any number.
    progress : callable, optional
        Called with the bands done and the bands in all, for each encoding that is tried.
    max_pixels : int, optional
        Limit on width times height, in place of `codec.format.headers.PIXEL_LIMIT`.

    Raises
    ------
    ImageError
        The image cannot be read, or cannot be coded without changing it.
    ModelError
        The weights are missing or damaged.
    ValueError
        Two of the first six parameters are given, a parameter is out of range, the model has no latents to be coded as
        ``latents`` says, or the target cannot be met. The message then gives the length of the shortest file.
    TypeError
        A parameter has a wrong type.
    OSError
        The image's file cannot be read.
    """
    from codec.images.choice import file_of
    from codec.images.fidelities import Encoder, chosen_model
    from codec.images.small import models_for

    given = {
        "max_error": max_error,
        "quality": quality,
        "target_bpp": target_bpp,
        "target_size": target_size,
        "min_psnr": min_psnr,
    }
    goal = goal_of(lossless=lossless, **given)
    effort = checked_effort(effort)
    if latents is not None and not isinstance(latents, Latents):
        raise TypeError(f"latents: expected Latents, got {type(latents).__name__}")
    named = chosen_model(model, goal)
    threads, max_pixels = _at_least_1("threads", threads), _at_least_1("max_pixels", max_pixels)
    picture = loading.with_kept(loading.picture_of(image, max_pixels), keep, max_pixels)

    def encoder_of(shown: Image.Image, pixels: Pixels) -> Encoder:
        chosen = named
        if named is None and latents is None:
            (chosen,) = models_for([shown], lambda _: pixels, goal)
        return Encoder(shown, pixels, latents, effort, threads, progress, model=chosen)

    return container.pack(file_of(picture, goal, encoder_of, max_pixels).whole())


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
) -> Image.Image | NDArray[np.uint16]:
    """Return the image of a file, with its metadata in ``info``. The inverse of `compress`.

    If metadata of the original's file was dropped, ``info["dropped"]`` has its names. Pillow holds no colours of 16
    bits a sample. So such an image (and grey with alpha) is an array, uint16 (H, W, C), and `decoded` has its metadata.

    Parameters
    ----------
    data : path, bytes, bytearray, memoryview or binary file
        The source of the file's bytes. A str is a path.
    latents_only : bool
        Return a preview, the image that the latents hold alone (see `codec.vlae.preview`). For a lossless file it shows
        hardly more than colours, for a lossy file a coarse picture.
    sample : int, optional
        With ``latents_only``: a seed with which the model draws the missing detail.
    threads : int, optional
        Largest number of threads. The image is the same for any number.
    progress : callable, optional
        Called with the bands done and the bands in all.
    max_pixels : int, optional
        Limit on width times height, in place of `codec.format.headers.PIXEL_LIMIT`.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    UnsupportedError
        The file has another version of the format, the image is over the pixel limit, or ``latents_only`` is given and
        the file has no latents.
    ModelError
        The file's model is missing, or has other weights.
    ValueError
        ``sample`` is given without ``latents_only``, a parameter is out of range, or the source is a closed file.
    TypeError
        A parameter has a wrong type.
    OSError
        The file cannot be read.
    """
    image = decoded(
        data, latents_only=latents_only, sample=sample, threads=threads, progress=progress, max_pixels=max_pixels
    )
    return public_of(image)


def decoded(
    data: Source,
    *,
    latents_only: bool = False,
    sample: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> Picture:
    """Return the image of a file, as a `WideImage` if it has 16 bits a sample or inks.

    The parameters and errors are those of `decompress`.
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
    """Return what a file says of itself. Its checksum is tested, but no pixel is decoded.

    Parameters
    ----------
    data : path, bytes, bytearray, memoryview or binary file
        The source of the file's bytes. A str is a path.
    max_pixels : int, optional
        Limit on width times height, in place of `codec.format.headers.PIXEL_LIMIT`.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    UnsupportedError
        The file has another version of the format, or the image is over the pixel limit.
    ValueError
        A parameter is out of range, or the source is a closed file.
    TypeError
        A parameter has a wrong type.
    OSError
        The file cannot be read.
    """
    data = data_of(data, "data")
    file = container.unpack(data, _at_least_1("max_pixels", max_pixels))
    header, coding = file.header, file.coding
    channels = header.image_channels
    entries = metadata.unpack(file.metadata)
    return Info(
        fidelity=fidelity_name(header),
        mode=header.mode,
        width=header.width,
        height=header.height,
        channels=channels,
        max_error=header.max_error,
        quality=header.quality,
        latents=coding.latents.name.lower().replace("_", "-") if coding else None,
        lanes=coding.lanes if coding else None,
        model=coding.model if coding else None,
        weights_hash=coding.weights_hash.hex() if coding else None,
        file_bytes=len(data),
        bpsp=8 * len(data) / (header.width * header.height * channels),
        metadata_bytes={key: len(entries[key]) for key in metadata.KEPT if key in entries},
        dropped=metadata.unpack_names(entries.get("dropped", b"")),
        part_bits=container.part_bits(file),
    )
