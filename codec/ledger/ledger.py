"""The ledger: where every bit of a file went, and how many the model had promised.

Each row is computed from its own definition, none is what the others leave over, and yet they sum to
the file's length:

    prior, pixels, posterior   -log2 of true probabilities of what was coded; the posterior is returned
    initial                    the posterior of latents that could not be returned: no bits were there yet
    rounding                   integer frequencies instead of true probabilities
    rans                       words and heads of the message over the frequencies' bits
    header, lane table, metadata, adaptation, alpha, checksum, stored

``elbo_bits`` is what the same frozen model promises: float64 logistics, fresh latents from q(z|x), with
the file's adaptation and its cost. A file without latents is promised its likelihood alone, and the
posterior of a near-lossless file is a point (`codec.vlae.coders`). ``importance_bits`` is what the model would promise
with a better posterior, if it is asked for: a bound of -log2 p(x) that is nearer (`codec.ledger.evidence`).
`codec.ledger.archive_ledger` has the ledger of an archive.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np
from PIL import Image as PillowImage

from codec import api
from codec.format import container
from codec.format.headers import Latents
from codec.frozen.shipped import load_model
from codec.image_files import pillow
from codec.images import metrics
from codec.images.goals import DEFAULT_EFFORT
from codec.ledger.accounts import MODEL_ROWS, PROMISES, ROWS, account, importance_line
from codec.ledger.evidence import check_samples
from codec.system.sources import Source
from codec.vlae.decoding import decode
from codec.vlae.pipeline import Progress

Bar = Callable[[], AbstractContextManager[Progress | None]]
"""Makes a progress bar."""


@dataclass(frozen=True)
class Report:
    """Measurement of one image; all ``_bits`` are bits of the whole image.

    Attributes
    ----------
    file : str
    width, height, channels : int
    fidelity, latents : str
    file_bits : int
    bpsp : float
        Bits of the file per sample.
    elbo_bits, elbo_stderr_bits : float or None
        Minus the ELBO of the frozen model and its standard error; None of a stored file.
    coded_path_bits : float or None
        The same for the very latents that were coded.
    importance_samples : int or None
        K of the importance-weighted bound of -log2 p(x), see `codec.ledger.evidence`; None, like the next four, if it
        was not asked for, or of a stored file.
    importance_bits, importance_bpsp, importance_stderr_bits : float or None
        The bound with the adaptation's cost, in bits of the image and for each sample, and its standard error.
    importance_gap_bits : float or None
        By how much it is less than ``elbo_bits``: a lower bound of what the posterior's distance from the true one
        costs, KL(q(z|x) || p(z|x)), in expectation.
    naive_bits : int or None
        Length of a file without bits-back: latents at the posterior's mode, nothing returned.
    overhead_percent : float or None
        File against ``elbo_bits``.
    exact : bool
        The decoded image equals the original.
    max_error : int
        Largest difference of a decoded colour sample that alpha does not hide.
    psnr : float or None
        Of the colour samples, squared errors weighted by alpha, dB; None if what is visible is exact.
    ms_ssim : float or None
        Of the colour samples, hidden ones taken as exact; None of an image too small for it.
    """

    file: str
    width: int
    height: int
    channels: int
    fidelity: str
    latents: str | None
    file_bits: int
    bpsp: float
    elbo_bits: float | None
    elbo_stderr_bits: float | None
    coded_path_bits: float | None
    importance_samples: int | None
    importance_bits: float | None
    importance_bpsp: float | None
    importance_stderr_bits: float | None
    importance_gap_bits: float | None
    naive_bits: int | None
    prior_bits: float
    pixel_bits: float
    posterior_bits: float
    initial_bits: float
    rounding_bits: float
    rans_bits: float
    header_bits: int
    lane_table_bits: int
    metadata_bits: int
    adaptation_bits: int
    alpha_bits: int
    checksum_bits: int
    stored_bits: int
    overhead_percent: float | None
    encode_s: float
    decode_s: float
    exact: bool
    max_error: int
    psnr: float | None
    ms_ssim: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, for JSON."""
        return asdict(self)


Visit = Callable[[Report, PillowImage.Image, bytes], None]


def measure(
    image: PillowImage.Image | Source,
    *,
    threads: int | None = None,
    name: str = "",
    importance: int | None = None,
    progress: Progress | None = None,
    visit: Visit | None = None,
    **options: Any,
) -> Report:
    """Return the ledger of an image: its file is written in memory, decoded, compared and accounted for.

    Parameters and errors are those of `codec.compress`, and besides:

    Parameters
    ----------
    name : str
        The report's.
    importance : int, optional
        Samples of the importance-weighted bound, 1 to `codec.ledger.evidence.MAX_SAMPLES`; each takes about as long as
        decoding. By default that is not estimated.
    progress : callable, optional
        Called with the samples done and the samples in all.
    visit : callable, optional
        Called with the report, the image and its file.
    """
    check_samples(importance)
    if not isinstance(image, PillowImage.Image):
        image = pillow.load_image(image)
    begin = time.perf_counter()
    data = api.compress(image, threads=threads, **options)
    encode_s = time.perf_counter() - begin
    begin = time.perf_counter()
    decoded = api.decompress(data, threads=threads)
    decode_s = time.perf_counter() - begin
    file = container.unpack(data)
    info = api.info(data)
    parts: dict[str, Any] = container.part_bits(file)
    payload_bits = parts.pop("payload_bits")
    if file.coding is None:
        parts |= dict.fromkeys(MODEL_ROWS, 0.0) | dict.fromkeys((*PROMISES, "naive_bits"))
        parts["stored_bits"] = payload_bits
        overhead = None
    else:
        coded = account(
            decode(load_model(file.coding.model), file),
            file.coding.latents,
            file.header.samples_crc,
            importance=importance,
            threads=threads,
            progress=progress,
        )
        parts |= coded.all_rows(payload_bits) | {"stored_bits": 0}
        parts |= coded.promises(importance, info.width * info.height * info.channels)
        found: dict[str, Any] = (
            {"quality": file.header.quality} if file.header.quality else {"max_error": file.header.max_error}
        )
        found |= {"effort": options.get("effort", DEFAULT_EFFORT), "model": options.get("model")}
        naive = api.compress(image, latents=Latents.TWO_PART, threads=threads, **found)
        parts["naive_bits"] = 8 * len(naive)
        # What lies beside the pixels is no part of the model's promise.
        promised = parts["elbo_bits"] + parts["metadata_bits"] + parts["alpha_bits"]
        overhead = 100 * (8 * len(data) / promised - 1)
    shown = image if decoded.mode == image.mode else pillow.without_palette(image)
    (original, alpha), (back, _) = (pillow.planes(i) for i in (shown, decoded))
    exact = shown is image and image.tobytes() == decoded.tobytes()
    likeness = metrics.psnr(original, back, alpha)
    if alpha is not None:  # what it hides counts as equal
        back = np.where(alpha[:, :, None] > 0, back, original)
    report = Report(
        file=name,
        width=info.width,
        height=info.height,
        channels=info.channels,
        fidelity=info.fidelity,
        latents=info.latents,
        file_bits=8 * len(data),
        bpsp=info.bpsp,
        overhead_percent=overhead,
        encode_s=encode_s,
        decode_s=decode_s,
        exact=exact,
        max_error=int(np.abs(original.astype(np.int16) - back).max()),
        psnr=likeness if math.isfinite(likeness) else None,
        ms_ssim=metrics.ms_ssim(original, back),
        **parts,
    )
    if visit is not None:
        visit(report, image, data)
    return report


def totals(reports: list[Report]) -> dict[str, Any]:
    """Return the sums over all images, and means of what is relative."""
    known = [r for r in reports if r.elbo_bits is not None]
    result: dict[str, Any] = {
        "files": len(reports),
        "stored": len(reports) - len(known),
        "exact": sum(r.exact for r in reports),
        "max_error": max(r.max_error for r in reports),
        "mean_bpsp": float(np.mean([r.bpsp for r in reports])),
    }
    for key in ("file_bits", *ROWS, "encode_s", "decode_s"):
        result[key] = sum(getattr(r, key) for r in reports)
    for key in ("psnr", "ms_ssim"):
        values = [value for r in reports if (value := getattr(r, key)) is not None]
        result[f"mean_{key}"] = float(np.mean(values)) if values else None
    if known:
        for key in ("elbo_bits", "coded_path_bits", "naive_bits"):
            result[key] = sum(getattr(r, key) for r in known)
        result["elbo_stderr_bits"] = _together(r.elbo_stderr_bits for r in known)
        if known[0].importance_samples is not None:
            result["importance_samples"] = known[0].importance_samples
            result["importance_bits"] = sum(r.importance_bits or 0 for r in known)
            result["importance_stderr_bits"] = _together(r.importance_stderr_bits for r in known)
            result["importance_gap_bits"] = result["elbo_bits"] - result["importance_bits"]
        overheads = [r.overhead_percent for r in known if r.overhead_percent is not None]
        result["mean_overhead_percent"] = float(np.mean(overheads))
        result["max_overhead_percent"] = max(overheads)
    return result


def _together(errors: Iterable[float | None]) -> float:
    """Return the standard error of a sum."""
    return float(np.sqrt(sum((error or 0) ** 2 for error in errors)))


def run(
    images: Mapping[str, Source],
    as_json: bool,
    write: Callable[[str], None] = click.echo,
    bar: Bar = nullcontext,
    **options: Any,
) -> list[Report]:
    """Measure images, and write a ledger for each and for all.

    Parameters
    ----------
    images : mapping of str to path, binary file or bytes
        By the names of their reports.
    write : callable
        Takes a line of output.
    bar : callable
        Returns a context for the time of an image's measurement, whose value is its ``progress``.
    options
        Of `measure`.
    """
    reports = []
    for name, source in images.items():
        with bar() as progress:
            report = measure(source, name=name, progress=progress, **options)
        reports.append(report)
        for line in [json.dumps(report.as_dict())] if as_json else _table(report):
            write(line)
    if as_json:
        write(json.dumps({"total": totals(reports)}))
    elif len(reports) > 1:
        total = totals(reports)
        write(f"total: {total['files']} files, {total['exact']} exact, mean {total['mean_bpsp']:.4f} bpsp")
        for key in ("file_bits", "elbo_bits", "importance_bits", "naive_bits", *ROWS):
            if key in total:
                write(f"  {key:<16} {total[key]:>14,.1f}")
    return reports


def _table(report: Report) -> list[str]:
    """Return the lines of one image's ledger for people."""
    samples = report.width * report.height * report.channels
    title = f"{report.file}: {report.width}x{report.height}, {report.fidelity}, largest error {report.max_error}"
    if not report.exact:
        title += ", visibly exact" if report.psnr is None else f", PSNR {report.psnr:.2f} dB"
        title += "" if report.ms_ssim is None else f", MS-SSIM {report.ms_ssim:.5f}"
    lines = [title, f"  {'':<16} {'bits':>14} {'bpsp':>10}"]
    for key in ROWS:
        value = getattr(report, key)
        if value:
            lines.append(f"  {key[:-5]:<16} {value:>14,.1f} {value / samples:>10.5f}")
    lines.append(f"  {'file':<16} {report.file_bits:>14,.1f} {report.bpsp:>10.5f}")
    if report.elbo_bits is not None and report.naive_bits is not None and report.overhead_percent is not None:
        lines.append(
            f"  {'promised (ELBO)':<16} {report.elbo_bits:>14,.1f} {report.elbo_bits / samples:>10.5f}"
            f"   the file is {report.overhead_percent:+.3f} % longer"
        )
        lines += importance_line(report.as_dict())
        saved = report.naive_bits - report.file_bits
        lines.append(f"  {'no bits-back':<16} {report.naive_bits:>14,} {report.naive_bits / samples:>10.5f}")
        lines.append(f"  {'saved by it':<16} {saved:>14,}")
    return lines
