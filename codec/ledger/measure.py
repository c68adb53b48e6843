"""Measuring an image: its file is written in memory, decoded, compared with the image, and accounted for.

The image is encoded once and decoded once. `codec.ledger.archive` has the same for archives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from codec import api
from codec.api import Info
from codec.format import container
from codec.image_files import conversion, loading
from codec.image_files.wide_image import Picture, WideImage, shown_of
from codec.images import decoder, metrics
from codec.images.decoder import Opened
from codec.ledger import account
from codec.ledger.evidence import check_samples
from codec.ledger.ledger import FILE_ROWS, Ledger
from codec.system.sources import Source
from codec.vlae.pipeline import Progress


@dataclass(frozen=True)
class Measurement:
    """What was found of an image.

    Attributes
    ----------
    name : str
    info : Info
        What the file says of itself.
    ledger : Ledger
        Where the bits of the file went.
    exact : bool
        The decoded image equals the original.
    max_error : int
        Largest difference of a decoded colour sample that alpha does not hide.
    psnr : float or None
        Peak signal-to-noise ratio of the colour samples, squared errors weighted by alpha, dB. None if what is
        visible is exact.
    ms_ssim : float or None
        MS-SSIM of the colour samples, hidden ones taken as exact. None if the image is too small for it.
    encode_s, decode_s : float
        Seconds.
    """

    name: str
    info: Info
    ledger: Ledger
    exact: bool
    max_error: int
    psnr: float | None
    ms_ssim: float | None
    encode_s: float
    decode_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return what was found by name, for JSON; bits are those of the whole image."""
        info, ledger = self.info, self.ledger
        return {
            "file": self.name,
            "width": info.width,
            "height": info.height,
            "channels": info.channels,
            "fidelity": info.fidelity,
            "latents": info.latents,
            **ledger.as_dict(),
            "overhead_percent": ledger.overhead_percent,
            "encode_s": self.encode_s,
            "decode_s": self.decode_s,
            "exact": self.exact,
            "max_error": self.max_error,
            "psnr": self.psnr,
            "ms_ssim": self.ms_ssim,
        }


Visit = Callable[[Measurement, PillowImage.Image, Opened], None]


def measure(
    image: PillowImage.Image | NDArray[Any] | Source,
    *,
    threads: int | None = None,
    name: str = "",
    importance: int | None = None,
    progress: Progress | None = None,
    visit: Visit | None = None,
    **options: Any,
) -> Measurement:
    """Return the measurement of an image: its file is written in memory, decoded, compared and accounted for.

    Parameters
    ----------
    image : PIL.Image.Image, uint16 array, path, bytes, bytearray, memoryview or binary file
    threads : int, optional
    name : str
        Name of the measurement.
    importance : int, optional
        Samples of the importance-weighted bound, 1 to `codec.ledger.evidence.MAX_SAMPLES`; each takes about as long as
        decoding. By default the bound is not estimated.
    progress : callable, optional
        Called with the samples done and the samples in all.
    visit : callable, optional
        Called with the measurement, the image and the decoded file.
    options
        The other parameters of `codec.compress`.

    Raises
    ------
    ImageError, ModelError, ValueError, TypeError
        See `codec.compress`; or ``importance`` is out of range.
    """
    check_samples(importance)
    picture = loading.picture_of(image)
    begin = time.perf_counter()
    data = api.compress(picture, threads=threads, **options)
    encode_s = time.perf_counter() - begin
    begin = time.perf_counter()
    opened = decoder.opened(container.unpack(data), threads=threads)
    decoded = opened.image(threads)
    decode_s = time.perf_counter() - begin
    ledger = file_ledger(opened, 8 * len(data), importance=importance, threads=threads, progress=progress)
    found = Measurement(
        name, api.info(data), ledger, **likeness(picture, decoded), encode_s=encode_s, decode_s=decode_s
    )
    if visit is not None:
        visit(found, shown_of(picture), opened)
    return found


def file_ledger(opened: Opened, file_bits: int, **options: Any) -> Ledger:
    """Return the ledger of a file; the options are those of `codec.ledger.account.coded`."""
    file = opened.file
    parts = container.part_bits(file)
    payload_bits = parts.pop("payload_bits")
    if file.coding is None or opened.raster is None:
        return account.stored(file.header).whole(FILE_ROWS, parts | {"stored_bits": payload_bits}, 0, file_bits)
    contents = account.coded(file.header, file.coding, opened.raster, **options)
    return contents.whole(FILE_ROWS, parts, payload_bits, file_bits)


def likeness(image: Picture, decoded: Picture) -> dict[str, Any]:
    """Return the fields of a measurement that compare the decoded image with the original."""
    wide = loading.wide_of(image)
    if isinstance(decoded, WideImage):
        original = decoded if wide is None else wide
        difference = np.abs(original.samples.astype(np.int64) - decoded.samples)
        return {"exact": not difference.any(), "max_error": int(difference.max()), "psnr": None, "ms_ssim": None}
    if wide is not None:
        image = wide.shown()
    return _likeness_of_8_bits(cast("PillowImage.Image", image), decoded, changed=wide is not None)


def _likeness_of_8_bits(image: PillowImage.Image, decoded: PillowImage.Image, changed: bool) -> dict[str, Any]:
    shown = image if decoded.mode == image.mode else conversion.without_palette(image)
    (original, alpha), (back, _) = (conversion.planes(i) for i in (shown, decoded))
    psnr = metrics.psnr(original, back, alpha)
    if alpha is not None:  # what it hides counts as equal
        back = np.where(alpha[:, :, None] > 0, back, original)
    return {
        "exact": not changed and shown is image and image.tobytes() == decoded.tobytes(),
        "max_error": int(np.abs(original.astype(np.int16) - back).max()),
        "psnr": psnr if math.isfinite(psnr) else None,
        "ms_ssim": metrics.ms_ssim(original, back),
    }


@dataclass(frozen=True)
class Total:
    """What was found of several images.

    Attributes
    ----------
    ledger : Ledger
        The sum of theirs.
    exact : int
        Images that equal their original.
    max_error : int
        The largest of all.
    mean_bpsp, mean_psnr, mean_ms_ssim, mean_overhead_percent : float or None
        Means over the images that have such a figure; None if there are none.
    max_overhead_percent : float or None
        The largest of all.
    encode_s, decode_s : float
        Seconds in sum.
    """

    ledger: Ledger
    exact: int
    max_error: int
    mean_bpsp: float
    mean_psnr: float | None
    mean_ms_ssim: float | None
    mean_overhead_percent: float | None
    max_overhead_percent: float | None
    encode_s: float
    decode_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return what was found by name, for JSON."""
        found = {name: value for name, value in vars(self).items() if name != "ledger"}
        return {"files": self.ledger.images, **self.ledger.as_dict(), **found}


def total(measurements: Sequence[Measurement]) -> Total:
    """Return what was found of one image or more."""
    overheads = [m.ledger.overhead_percent for m in measurements]
    return Total(
        ledger=reduce(add, (m.ledger for m in measurements)),
        exact=sum(m.exact for m in measurements),
        max_error=max(m.max_error for m in measurements),
        mean_bpsp=float(np.mean([m.ledger.bpsp for m in measurements])),
        mean_psnr=_mean(m.psnr for m in measurements),
        mean_ms_ssim=_mean(m.ms_ssim for m in measurements),
        mean_overhead_percent=_mean(overheads),
        max_overhead_percent=max((value for value in overheads if value is not None), default=None),
        encode_s=sum(m.encode_s for m in measurements),
        decode_s=sum(m.decode_s for m in measurements),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
