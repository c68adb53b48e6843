"""Rows of the ledgers, and what each coded image adds to them; `codec.ledger.ledger` says what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codec.format.headers import Latents
from codec.ledger import evidence
from codec.ledger.evidence import ELBO_SAMPLES, Estimate
from codec.vlae import adaptation
from codec.vlae.image import Image
from codec.vlae.latents import posterior_intervals, prior_intervals
from codec.vlae.pipeline import Progress
from codec.vlae.pixels import intervals

MODEL_ROWS = ("prior_bits", "pixel_bits", "posterior_bits", "initial_bits", "rounding_bits", "rans_bits")
ROWS = (
    *MODEL_ROWS,
    "header_bits",
    "lane_table_bits",
    "metadata_bits",
    "adaptation_bits",
    "alpha_bits",
    "checksum_bits",
    "stored_bits",
)
"""Rows of a file's ledger; the posterior's counts negative. They sum to ``file_bits``."""
ARCHIVE_ROWS = (*ROWS, "name_bits", "image_header_bits", "block_header_bits", "trailer_bits", "ignored_bits")
"""Rows of an archive's ledger."""
IMPORTANCE = (
    "importance_samples",
    "importance_bits",
    "importance_bpsp",
    "importance_stderr_bits",
    "importance_gap_bits",
)
PROMISES = ("elbo_bits", "elbo_stderr_bits", "coded_path_bits", *IMPORTANCE)
"""What `Account.promises` returns; None where nothing was coded."""


@dataclass(frozen=True)
class Account:
    """What one coded image, or several, asked of the messages.

    Attributes
    ----------
    rows : dict of str to float
        `MODEL_ROWS`; ``rans_bits`` is 0 as long as the messages' length is not known.
    coded_bits : float
        -log2 of the frequencies that were pushed, less those popped.
    path_bits : float
        Minus the ELBO at the latents that were coded, with the adaptation.
    elbo, importance : Estimate
        Bounds of -log2 p(x), see `codec.ledger.evidence`, with the adaptation. Unless the importance-weighted bound was
        asked for, it is as for one sample.
    """

    rows: Mapping[str, float]
    coded_bits: float
    path_bits: float
    elbo: Estimate
    importance: Estimate

    def __add__(self, other: Account) -> Account:
        """Return the account of the images of both."""
        return Account(
            {name: bits + other.rows[name] for name, bits in self.rows.items()},
            self.coded_bits + other.coded_bits,
            self.path_bits + other.path_bits,
            self.elbo + other.elbo,
            self.importance + other.importance,
        )

    def all_rows(self, message_bits: int) -> dict[str, float]:
        """Return `MODEL_ROWS` of images that were coded in so many bits; they sum to these."""
        return {**self.rows, "rans_bits": message_bits - self.coded_bits}

    def promises(self, samples: int | None, values: int) -> dict[str, float | None]:
        """Return what the model promised, by the reports' names.

        Parameters
        ----------
        samples : int or None
            K of the importance-weighted bound.
        values : int
            Sub-pixels of the images.
        """
        bound = self.importance
        found: tuple[float | None, ...] = (None,) * len(IMPORTANCE)
        if samples is not None:
            found = samples, bound.bits, bound.bits / values, bound.stderr_bits, self.elbo.bits - bound.bits
        return dict(zip(PROMISES, (self.elbo.bits, self.elbo.stderr_bits, self.path_bits, *found), strict=True))


NOTHING = Account(dict.fromkeys(MODEL_ROWS, 0.0), 0.0, 0.0, Estimate(0.0), Estimate(0.0))
"""Account of no image."""


def account(
    image: Image,
    latents: Latents,
    seed: int,
    *,
    importance: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Account:
    """Return the account of a decoded image or tensor.

    Parameters
    ----------
    image : Image
        Decoded; its ``dry`` says whether its last bands found bits to borrow.
    latents : Latents
    seed : int
        Of fresh latents; 32 bits.
    importance : int, optional
        Samples of the importance-weighted bound. The ELBO is then estimated from the same, so that its distance
        from the bound has not both estimates' errors.
    threads, progress
        As of `codec.ledger.evidence.sample_bits`.
    """
    rows = dict.fromkeys(MODEL_ROWS, 0.0)
    coded = 0.0
    for index, z in enumerate(image.z):
        pixels = intervals(image, index, z, ideal=True)
        parts = [pixels.coded_bits]
        ideal = pixels.ideal_bits
        rows["pixel_bits"] += pixels.ideal_bits
        if z is not None:
            prior = prior_intervals(image, z)
            rows["prior_bits"] += prior.ideal_bits
            parts.append(prior.coded_bits)
            ideal += prior.ideal_bits
        if z is not None and not image.max_error:
            posterior = posterior_intervals(image, index, z)
            rows["posterior_bits"] -= posterior.ideal_bits
            if latents == Latents.TWO_PART or image.is_dry(index):
                rows["initial_bits"] += posterior.ideal_bits
            else:
                parts.append(-posterior.coded_bits)
                ideal -= posterior.ideal_bits
        coded += sum(parts)
        rows["rounding_bits"] += sum(parts) - ideal
    adapted = adaptation.ideal_bits(image.moved, image.model.network)
    path = rows["prior_bits"] + rows["pixel_bits"] + rows["posterior_bits"] + adapted
    if latents == Latents.NONE or image.max_error:  # there is no posterior, or it is a point
        return Account(rows, coded, path, Estimate(path), Estimate(path))
    samples = importance or 1
    bits = evidence.sample_bits(image, max(samples, ELBO_SAMPLES), seed, threads=threads, progress=progress)
    bounds = evidence.elbo(bits), evidence.importance(bits, samples)
    return Account(rows, coded, path, *(bound + Estimate(adapted) for bound in bounds))


def importance_line(values: Mapping[str, Any]) -> list[str]:
    """Return the line of the importance-weighted bound for people, if a report has it."""
    if values["importance_bits"] is None:
        return []
    bits, bpsp, gap = (values[f"importance_{name}"] for name in ("bits", "bpsp", "gap_bits"))
    return [
        f"  {'importance bound':<16} {bits:>14,.1f} {bpsp:>10.5f}   {values['importance_samples']} samples, "
        f"standard error {values['importance_stderr_bits']:,.1f} bits, {gap:,.1f} bits below the ELBO"
    ]
