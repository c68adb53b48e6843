"""Images to bytes and back: `compress`, `decompress`, `info`.

The kernels and their compiler are imported where pixels are coded, so that `info` starts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from codec import container, image_io, metadata, png
from codec.container import Container
from codec.errors import CorruptDataError, ModelError
from codec.headers import MAX_ERROR, OFFSETS, SIDE_LIMIT, CodingHeader, Fidelity, Header, Latents
from codec.image_io import Pixels, Source

if TYPE_CHECKING:
    from codec.model import Model

Progress = Callable[[int, int], None]
"""Called with the bands done and the bands in all."""

QUICK_FACTOR = 1.6
"""An optimised PNG is tried if a quick one is shorter than this times the coded file."""
FIDELITY_NAMES = {Fidelity.STORED: "stored", Fidelity.LOSSLESS: "lossless", Fidelity.NEAR_LOSSLESS: "near-lossless"}


@dataclass(frozen=True)
class Info:
    """What a file says of itself, without decoding.

    Attributes
    ----------
    fidelity : str
        "stored" (as PNG, exact), "lossless" or "near-lossless".
    mode : str
        Pillow's name.
    width, height : int
    channels : int
        Colour and alpha.
    max_error : int
        Largest difference of a decoded sample.
    latents : str or None
        "none", "bits-back" or "two-part"; this and the next five are None in a stored file.
    lanes, band_height, bands : int or None
    model : int or None
    weights_hash : str or None
        First 8 bytes of the SHA-256 of the model's weights, hexadecimal.
    file_bytes : int
    bpsp : float
        Bits of the file per sample.
    metadata_bytes : dict of str to int
        Length of each entry, uncompressed.
    part_bits : dict of str to int
        They sum to 8 times the file's length.
    """

    fidelity: str
    mode: str
    width: int
    height: int
    channels: int
    max_error: int
    latents: str | None
    lanes: int | None
    band_height: int | None
    bands: int | None
    model: int | None
    weights_hash: str | None
    file_bytes: int
    bpsp: float
    metadata_bytes: dict[str, int]
    part_bits: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def compress(
    image: Image.Image | Source,
    *,
    lossless: bool = False,
    max_error: int | None = None,
    latents: Latents | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> bytes:
    """Return the file of an image; the inverse of `decompress`.

    The image is coded, or stored as PNG where that is shorter or the only exact way.

    Parameters
    ----------
    image : PIL.Image.Image, path, binary file or bytes
    lossless : bool
        Every sample comes back. Give this or ``max_error``.
    max_error : int, optional
        No colour sample comes back changed by more than this, 0 to 10; alpha comes back exactly.
    latents : Latents, optional
        How latents are coded; by default what is shortest.
    threads : int, optional
    progress : callable, optional
        Called with the bands done and the bands in all.
    max_pixels : int, optional
        Limit on width times height instead of `codec.headers.PIXEL_LIMIT`.

    Raises
    ------
    ImageError
        The image cannot be read, or not be coded without changing it.
    ModelError
        The weights are missing or damaged.
    ValueError, TypeError
        No fidelity, two, or one out of range.
    """
    error = _fidelity(lossless, max_error)
    _check_threads(threads)
    if not isinstance(image, Image.Image):
        image = image_io.load_image(image, max_pixels)
    pixels = image_io.from_pillow(image, max_pixels)
    if not pixels.codable:
        return _store(image, pixels)
    coded = _code(pixels, error, latents, threads, progress)
    if coded is None:
        return _store(image, pixels)
    if len(png.png_bytes(image, quick=True)) < QUICK_FACTOR * len(coded):
        return min(coded, _store(image, pixels), key=len)
    return coded


def _fidelity(lossless: bool, max_error: int | None) -> int:
    if lossless == (max_error is not None):
        raise ValueError("fidelity: expected either lossless=True or max_error=0..10")
    if max_error is None:
        return 0
    if isinstance(max_error, bool) or not isinstance(max_error, int):
        raise TypeError(f"max_error: expected an int, got {type(max_error).__name__}")
    if not 0 <= max_error <= MAX_ERROR:
        raise ValueError(f"max_error: expected 0 to {MAX_ERROR}, got {max_error}")
    return max_error


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")


def _header(pixels: Pixels, fidelity: Fidelity, max_error: int, samples_crc: int) -> Header:
    height, width, _ = pixels.samples.shape
    return Header(fidelity, pixels.mode, max_error, width, height, samples_crc)


def _store(image: Image.Image, pixels: Pixels) -> bytes:
    header = _header(pixels, Fidelity.STORED, 0, image_io.samples_crc(pixels.samples, pixels.alpha))
    return container.pack(container.stored(header, pixels.metadata, png.png_bytes(image)))


def _code(
    pixels: Pixels, max_error: int, latents: Latents | None, threads: int | None, progress: Progress | None
) -> bytes | None:
    """Return the coded file, or None if a decoder would refuse it: too wide, or too short for its samples."""
    if max(pixels.samples.shape) > SIDE_LIMIT:
        return None
    from codec import model as models
    from codec import vlae

    model = models.model_for(max_error)
    encoded = vlae.encode(model, pixels.samples, max_error, latents, threads=threads, progress=progress)
    fidelity = Fidelity.NEAR_LOSSLESS if max_error else Fidelity.LOSSLESS
    coded = Container(
        _header(pixels, fidelity, max_error, image_io.samples_crc(encoded.samples, pixels.alpha)),
        CodingHeader(encoded.latents, encoded.lanes, encoded.band_height, model.number, model.hash),
        encoded.band_table,
        pixels.metadata,
        encoded.adaptation,
        b"" if pixels.alpha is None else png.pack_alpha(pixels.alpha),
        encoded.payload,
    )
    return container.pack(coded) if container.holds_samples(coded) else None


def decompress(
    data: bytes,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """Return the image of a file, with its metadata in ``info``; the inverse of `compress`.

    Parameters
    ----------
    data : bytes
    threads, progress, max_pixels
        As for `compress`.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    UnsupportedError
        The file's version is not served, or the image is over the pixel limit.
    ModelError
        The model of the file is missing, or has other weights.
    """
    _check_threads(threads)
    file = container.unpack(data, max_pixels)
    size = (file.header.width, file.header.height)
    if file.coding is None:
        entries = metadata.unpack(file.metadata)
        image = png.open_png(file.payload, size, file.header.mode)
        _check_samples(file.header, *image_io.planes(image))
        image.info.update(entries)
        return image
    return _decode(file, file.coding, threads, progress)


def _decode(file: Container, coding: CodingHeader, threads: int | None, progress: Progress | None) -> Image.Image:
    from codec import model as models
    from codec import vlae

    header = file.header
    # What is cheap to check comes before what takes a second.
    metadata.unpack(file.metadata)
    alpha = png.unpack_alpha(file.alpha, (header.width, header.height)) if header.has_alpha else None
    model = models.load_model(coding.model)
    _check_model(model, coding)
    samples = vlae.decode(model, file, threads=threads, progress=progress).samples
    _check_samples(header, samples, alpha)
    return image_io.to_pillow(Pixels(header.mode, samples, alpha, file.metadata, codable=True))


def _check_model(model: Model, coding: CodingHeader) -> None:
    if model.hash != coding.weights_hash:
        raise ModelError(f"model {coding.model}: expected weights {coding.weights_hash.hex()}, got {model.hash.hex()}")


def _check_samples(header: Header, samples: image_io.U8, alpha: image_io.U8 | None) -> None:
    crc = image_io.samples_crc(samples, alpha)
    if crc != header.samples_crc:
        raise CorruptDataError(
            f"samples: expected checksum {header.samples_crc:#010x}, got {crc:#010x}", OFFSETS["samples_crc"]
        )


def info(data: bytes, *, max_pixels: int | None = None) -> Info:
    """Return what a file says of itself; its checksum is tested, but no pixel is decoded.

    Raises
    ------
    CorruptDataError, UnsupportedError
        As `decompress`.
    """
    file = container.unpack(data, max_pixels)
    header, coding = file.header, file.coding
    channels = header.channels + header.has_alpha
    return Info(
        fidelity=FIDELITY_NAMES[header.fidelity],
        mode=header.mode,
        width=header.width,
        height=header.height,
        channels=channels,
        max_error=header.max_error,
        latents=coding.latents.name.lower().replace("_", "-") if coding else None,
        lanes=coding.lanes if coding else None,
        band_height=coding.band_height if coding else None,
        bands=len(file.band_table) if coding else None,
        model=coding.model if coding else None,
        weights_hash=coding.weights_hash.hex() if coding else None,
        file_bytes=len(data),
        bpsp=8 * len(data) / (header.width * header.height * channels),
        metadata_bytes={key: len(entry) for key, entry in metadata.unpack(file.metadata).items()},
        part_bits=container.part_bits(file),
    )
