"""What an image asks of the messages, band by band, and what its model promised: the image's part of a ledger."""

from __future__ import annotations

import os
from functools import reduce
from operator import add

from codec.format.headers import CodingHeader, Header, Latents
from codec.ledger import evidence
from codec.ledger.evidence import ELBO_SAMPLES, Estimate
from codec.ledger.ledger import Ledger, Promises
from codec.system.threads import pool_of
from codec.vlae import adaptation
from codec.vlae.image import Image
from codec.vlae.latents import mode, posterior_intervals, prior_intervals
from codec.vlae.pipeline import Progress
from codec.vlae.pixels import intervals


def stored(header: Header) -> Ledger:
    """Return the part of a ledger of an image that is stored as PNG: it asks nothing of messages."""
    return Ledger({}, images=1, samples=_samples(header))


def coded(
    header: Header,
    coding: CodingHeader,
    image: Image,
    *,
    importance: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Ledger:
    """Return the part of a ledger of an image that a model coded; its rows sum to the bits of all frequencies.

    Parameters
    ----------
    header, coding : Header, CodingHeader
        Those of the file. The samples' checksum is the seed of fresh latents.
    image : Image
        Decoded. Its ``dry`` says whether its last bands found no bits to borrow.
    importance : int, optional
        Samples of the importance-weighted bound. The ELBO is then estimated from the same, so that its distance
        from the bound has not both estimates' errors.
    threads, progress
        See `codec.ledger.evidence.sample_bits`.
    """
    with pool_of(min(threads or os.cpu_count() or 1, image.bands)) as pool:
        bands = reduce(add, pool.map(lambda index: _band(image, index, coding.latents), range(image.bands)))
    adapted = adaptation.ideal_bits(image.moved, image.model.network)
    path = bands.promises.coded_path_bits + adapted
    elbo = bound = Estimate(path)
    if coding.latents != Latents.NONE and not image.max_error:  # otherwise there is no posterior, or it is a point
        samples = importance or 1
        bits = evidence.sample_bits(
            image, max(samples, ELBO_SAMPLES), header.samples_crc, threads=threads, progress=progress
        )
        elbo = evidence.elbo(bits) + Estimate(adapted)
        bound = evidence.importance(bits, samples) + Estimate(adapted)
    promises = Promises(1, elbo, path, bands.promises.saved_bits, bound, importance)
    return Ledger(bands.rows, promises, images=1, samples=_samples(header))


def _samples(header: Header) -> int:
    return header.width * header.height * header.image_channels


def _band(image: Image, index: int, latents: Latents) -> Ledger:
    """Return the rows of a band, and of the promises those for the latents that were coded."""
    z = image.z[index]
    pixels = intervals(image, index, z, ideal=True)
    if z is None:
        return _rows(pixels.ideal_bits, pixels.coded_bits)
    prior = prior_intervals(image, z)
    paid_bits = pixels.coded_bits + prior.coded_bits
    if image.max_error:
        return _rows(pixels.ideal_bits, paid_bits, prior=prior.ideal_bits)
    posterior = posterior_intervals(image, index, z)
    ideal = {"prior": prior.ideal_bits, "posterior": posterior.ideal_bits}
    if latents == Latents.TWO_PART or image.is_dry(index):
        return _rows(pixels.ideal_bits, paid_bits, **ideal, initial=posterior.ideal_bits)
    best = mode(image, index)
    naive_bits = intervals(image, index, best).coded_bits + prior_intervals(image, best).coded_bits
    coded_bits = paid_bits - posterior.coded_bits
    return _rows(pixels.ideal_bits, coded_bits, **ideal, saved=naive_bits - coded_bits)


def _rows(
    pixels: float,
    coded: float,
    *,
    prior: float = 0.0,
    posterior: float = 0.0,
    initial: float = 0.0,
    saved: float = 0.0,
) -> Ledger:
    """Return a ledger of a band, from ideal bits and the bits of the frequencies that were ``coded``."""
    path = prior + pixels - posterior
    rows = {
        "prior_bits": prior,
        "pixel_bits": pixels,
        "posterior_bits": -posterior,
        "initial_bits": initial,
        "rounding_bits": coded - path - initial,
    }
    return Ledger(rows, Promises(coded_path_bits=path, saved_bits=saved))
