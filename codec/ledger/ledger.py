"""The ledger: where every bit of a file, or of an archive, went, and how many bits the model had promised.

A row is a number of bits. The rows of a file sum to its length, to the bit: `Ledger.whole` checks that. Each row has a
definition of its own:

    prior, pixel       -log2 of the true probabilities of latents and pixels, p(z) and p(x|z)
    posterior          -log2 q(z|x) of the latents, negative: bits-back returns it
    initial            the posterior of latents that is not returned, as no bits were there yet to borrow
    rounding           integer frequencies instead of true probabilities
    rans               bits of the messages over those of the frequencies and of the checksum in the first message
    header, lane_table, metadata, adaptation, alpha, checksum, stored
                       the other parts of a file; stored is the PNG of an image without a model
    index              the indexes of an archive and their trailers, without their checksums
    ignored            the end of an archive, which an addition left that did not end

Ledgers add up: those of bands to that of an image, those of images to that of an archive or a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Any

from codec.ledger.evidence import Estimate

MESSAGE_ROWS = ("prior_bits", "pixel_bits", "posterior_bits", "initial_bits", "rounding_bits", "rans_bits")
"""Rows of the messages; they sum to the messages' length."""
FILE_ROWS = (
    *MESSAGE_ROWS,
    "header_bits",
    "lane_table_bits",
    "metadata_bits",
    "adaptation_bits",
    "alpha_bits",
    "checksum_bits",
    "stored_bits",
)
"""Rows of a file, in their order."""
ARCHIVE_ROWS = (*FILE_ROWS, "index_bits", "ignored_bits")
"""Rows of an archive, in their order."""
TOLERANCE_BITS = 0.01
"""Rows are sums of up to 10**9 logarithms."""


@dataclass(frozen=True)
class Promises:
    """Bits that the frozen models promise for the images that they code.

    Promises are about what the models code: messages and adaptations. They add up.

    Attributes
    ----------
    images : int
        Images that a model coded. If there are none, nothing is promised.
    elbo : Estimate
        Minus the ELBO, with fresh latents, in float64 logistics.
    coded_path_bits : float
        The same for the latents that were coded.
    saved_bits : float
        Bits by which bits-back shortens the messages. The other messages have all latents at the posterior's mode and
        return nothing. Negative if bits-back is the longer.
    importance : Estimate
        The importance-weighted bound of -log2 p(x), see `codec.ledger.evidence`.
    importance_samples : int or None
        Samples of that bound; None if nobody asked for it.
    """

    images: int = 0
    elbo: Estimate = field(default_factory=Estimate)
    coded_path_bits: float = 0.0
    saved_bits: float = 0.0
    importance: Estimate = field(default_factory=Estimate)
    importance_samples: int | None = None

    def __add__(self, other: Promises) -> Promises:
        """Return the promises for the images of both."""
        return Promises(
            self.images + other.images,
            self.elbo + other.elbo,
            self.coded_path_bits + other.coded_path_bits,
            self.saved_bits + other.saved_bits,
            self.importance + other.importance,
            self.importance_samples or other.importance_samples,
        )


@dataclass(frozen=True)
class Ledger:
    """Rows of bits, and the promises for the images that they are of.

    Attributes
    ----------
    rows : dict of str to float
        Bits by the name of the row.
    promises : Promises
    images : int
        All images, stored ones counted.
    samples : int
        Sub-pixels of the images, alpha counted.
    """

    rows: Mapping[str, float]
    promises: Promises = field(default_factory=Promises)
    images: int = 0
    samples: int = 0

    def __add__(self, other: Ledger) -> Ledger:
        """Return the ledger of both."""
        names = dict.fromkeys((*self.rows, *other.rows))
        return Ledger(
            {name: self.rows.get(name, 0) + other.rows.get(name, 0) for name in names},
            self.promises + other.promises,
            self.images + other.images,
            self.samples + other.samples,
        )

    def whole(self, names: tuple[str, ...], parts: Mapping[str, int], message_bits: int, file_bits: int) -> Ledger:
        """Return the ledger of a whole file, of which this one has what the images' messages hold.

        Parameters
        ----------
        names : tuple of str
            `FILE_ROWS` or `ARCHIVE_ROWS`.
        parts : dict of str to int
            Bits of each part of the file but the messages.
        message_bits : int
            Length of the messages.
        file_bits : int
            Length of the file.

        Raises
        ------
        ArithmeticError
            The rows do not sum to the length of the file.
        """
        found = {**self.rows, **parts, "rans_bits": message_bits - self.bits}
        ledger = replace(self, rows={name: found.get(name, 0) for name in names})
        if abs(ledger.bits - file_bits) > TOLERANCE_BITS:
            raise ArithmeticError(f"ledger: expected rows of {file_bits} bits in sum, got {ledger.bits:.3f}")
        return ledger

    @property
    def bits(self) -> float:
        """Sum of the rows."""
        return fsum(self.rows.values())

    @property
    def file_bits(self) -> int:
        """Length of the files."""
        return round(self.bits)

    @property
    def message_bits(self) -> int:
        """Length of the messages."""
        return round(fsum(self.rows[name] for name in MESSAGE_ROWS))

    @property
    def bpsp(self) -> float:
        """Bits of the files per sub-pixel."""
        return self.file_bits / self.samples

    @property
    def stored(self) -> int:
        """Images that no model coded."""
        return self.images - self.promises.images

    @property
    def naive_bits(self) -> float | None:
        """Length of the files without bits-back; None if no model was at work."""
        return self.bits + self.promises.saved_bits if self.promises.images else None

    @property
    def overhead_percent(self) -> float | None:
        """How much longer files are than promised; None if nothing is promised.

        Metadata and alpha are no part of the promise, so they are added to it.
        """
        if not self.promises.images:
            return None
        promised = self.promises.elbo.bits + self.rows["metadata_bits"] + self.rows["alpha_bits"]
        return 100 * (self.file_bits / promised - 1)

    @property
    def message_overhead_percent(self) -> float | None:
        """How much longer messages and adaptations are than promised; None if nothing is promised."""
        if not self.promises.images:
            return None
        return 100 * ((self.message_bits + self.rows["adaptation_bits"]) / self.promises.elbo.bits - 1)

    def as_dict(self) -> dict[str, Any]:
        """Return counts, promises and rows by name, for JSON; None where nothing is promised or was asked for."""
        promises, bound = self.promises, self.promises.importance
        known: dict[str, Any] = {
            "elbo_bits": promises.elbo.bits,
            "elbo_stderr_bits": promises.elbo.stderr_bits,
            "coded_path_bits": promises.coded_path_bits,
            "naive_bits": self.naive_bits,
        }
        asked: dict[str, Any] = {
            "importance_samples": promises.importance_samples,
            "importance_bits": bound.bits,
            "importance_bpsp": bound.bits / self.samples,
            "importance_stderr_bits": bound.stderr_bits,
            "importance_gap_bits": promises.elbo.bits - bound.bits,
        }
        if not promises.images:
            known = dict.fromkeys(known)
        if not promises.images or promises.importance_samples is None:
            asked = dict.fromkeys(asked)
        return {
            "images": self.images,
            "stored": self.stored,
            "samples": self.samples,
            "file_bits": self.file_bits,
            "bpsp": self.bpsp,
            "message_bits": self.message_bits,
            **known,
            **asked,
            **self.rows,
        }
