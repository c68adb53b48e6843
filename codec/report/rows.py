"""The rows of a ledger as a page shows them: their bits, their words, and their bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codec.ledger.ledger import Ledger
from codec.report.charts import Bars, bars
from codec.report.terms import ROW_TERMS, TENSOR_TERM


@dataclass(frozen=True)
class Rows:
    """What a page shows of a ledger.

    Attributes
    ----------
    ledger : Ledger
    bits : dict of str to float
        Bits of the ledger's rows, by their terms' keys; rows of no bits are left out.
    terms : dict of str to (str, str)
        What a row is called, and what it is.
    bars : Bars
        All rows.
    rest : Bars or None
        All rows but the pixels'; None of a stored file.
    """

    ledger: Ledger
    bits: Mapping[str, float]
    terms: Mapping[str, tuple[str, str]]
    bars: Bars
    rest: Bars | None


def rows_of(ledger: Ledger, *, lossy: bool) -> Rows:
    """Return what a page shows of the ledger of an image, whose file may be lossy."""
    bits = {name.removesuffix("_bits"): float(value) for name, value in ledger.rows.items() if value}
    terms = ROW_TERMS | ({"pixel": TENSOR_TERM} if lossy else {})
    names = {row: name for row, (name, _) in terms.items()}
    rest = {row: value for row, value in bits.items() if row != "pixel"}
    return Rows(ledger, bits, terms, bars(bits, names), bars(rest, names) if "pixel" in bits else None)
