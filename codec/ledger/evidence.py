"""Bounds of -log2 p(x), the evidence that a frozen model gives an image, estimated with fresh latents.

With weights w = p(z) p(x|z) / q(z|x) of latents z from q(z|x), in expectation

    -log2 p(x)  <=  -log2 (w_1 + ... + w_K) / K  <=  -log2 w

The right is minus the ELBO: what bits-back pays. The middle, importance-weighted bound falls to the left side as K
grows (Burda, Grosse and Salakhutdinov 2016, equation 8), and how far it lies below the right bounds the divergence
of the posterior from the true one, KL(q(z|x) || p(z|x)), from below.

Both are taken band by band and summed. Band s has latents of its own, which reach neither the prior nor the
pixels of another, and the bands above it are known where it is coded. So p(x) is a product over bands, of the
sums over z_s of p(z_s) p(x_s | x_<s, z_s), and a bound of each factor bounds it. This is also much tighter than K
samples of the whole image would be: its weight would be a product of the bands', of which the largest of K would
be nearly the only one to count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from codec.errors import RequestError
from codec.system.threads import pool_of
from codec.vlae.image import Image
from codec.vlae.latents import draw, posterior_intervals, prior_intervals
from codec.vlae.pipeline import Progress
from codec.vlae.pixels import intervals

ELBO_SAMPLES = 2
"""Fresh latents of each band for the ELBO. Bands are independent, so an image of many has a good estimate."""
MAX_SAMPLES = 100_000
"""Most samples of the importance-weighted bound: each takes about as long as decoding the image."""

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimated number of bits and the variance of that; independent ones can be added."""

    bits: float = 0.0
    variance: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        """Return the estimate of the sum."""
        return Estimate(self.bits + other.bits, self.variance + other.variance)

    @property
    def stderr_bits(self) -> float:
        """Standard error."""
        return float(np.sqrt(self.variance))


def check_samples(samples: int | None) -> None:
    """Raise ValueError unless a number of samples is one for `importance`, or None."""
    if samples is not None and (isinstance(samples, bool) or not 1 <= samples <= MAX_SAMPLES):
        raise RequestError(f"importance: expected 1 to {MAX_SAMPLES} samples, got {samples}")


def fresh_bits(image: Image, index: int, seed: int) -> float:
    """Return -log2 w of a band for latents that a seed draws from its posterior; its mean is minus the ELBO."""
    z = draw(image, index, seed)
    latent = prior_intervals(image, z).ideal_bits - posterior_intervals(image, index, z).ideal_bits
    return latent + intervals(image, index, z, ideal=True).ideal_bits


def sample_bits(
    image: Image, samples: int, seed: int, *, threads: int | None = None, progress: Progress | None = None
) -> F64:
    """Return -log2 w (samples, bands) of an image whose raster is known; see `sampled`."""
    return sampled(image.bands, partial(fresh_bits, image), samples, seed, threads=threads, progress=progress)


def sampled(
    bands: int,
    weigh: Callable[[int, int], float],
    samples: int,
    seed: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> F64:
    """Return -log2 w (samples, bands).

    Parameters
    ----------
    bands : int
    weigh : callable
        Returns -log2 w of a band for latents that a seed draws: `fresh_bits` of an image.
    samples : int
    seed : int
        32 bits. Images that are summed should have different ones, so that their errors do not add up.
    threads : int, optional
    progress : callable, optional
        Called with the samples done and the samples in all.
    """
    workers = min(threads or os.cpu_count() or 1, samples)

    def sample(number: int) -> list[float]:
        first = (seed << 32) + number * bands
        return [weigh(index, first + index) for index in range(bands)]

    found: list[list[float]] = []
    with pool_of(workers) as pool:
        # In rounds, so that Ctrl-C does not wait for all samples.
        for begin in range(0, samples, workers):
            found += pool.map(sample, range(begin, min(begin + workers, samples)))
            if progress is not None:
                progress(len(found), samples)
    return np.array(found)


def elbo(bits: F64) -> Estimate:
    """Return minus the ELBO from -log2 w (2 samples or more, bands)."""
    return Estimate(float(bits.mean(0).sum()), float(bits.var(0, ddof=1).sum()) / len(bits))


def importance(bits: F64, samples: int) -> Estimate:
    """Return the importance-weighted bound of -log2 p(x), from the first ``samples`` of -log2 w (N, bands), N >= 2.

    Notes
    -----
    The variance is the jackknife's: of the bounds that leave out one sample each. Where a single weight is nearly
    the whole mean, leaving it out shows how much hangs on it. The delta method's error, that of the mean weight over
    it, is then about one nat, however far the second weight lies below: it would call a bound good that another
    draw may move by many bits. Of two samples the jackknife is the ELBO's own variance; of one, whose
    bound is a sample of the ELBO, all N tell the variance.
    """
    if samples == 1:
        return Estimate(float(bits[0].sum()), float(bits.var(0, ddof=1).sum()))
    logs = -bits[:samples]
    bound = np.logaddexp2.reduce(logs, axis=0) - np.log2(samples)
    # Sums of the weights before and after each, not a difference to their sum: one may be nearly all of it.
    nothing = np.full((1, logs.shape[1]), -np.inf)
    before = np.concatenate([nothing, np.logaddexp2.accumulate(logs[:-1], axis=0)])
    after = np.concatenate([np.logaddexp2.accumulate(logs[:0:-1], axis=0)[::-1], nothing])
    without = np.logaddexp2(before, after)
    return Estimate(-float(bound.sum()), (samples - 1) * float(without.var(0).sum()))
