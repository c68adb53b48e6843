"""Ledgers as tables of text."""

from __future__ import annotations

from codec.ledger.ledger import Ledger
from codec.ledger.measure import Measurement, Total


def image_table(measured: Measurement) -> str:
    """Return the text of one image's ledger."""
    info, ledger = measured.info, measured.ledger
    title = f"{measured.name}: {info.width}x{info.height}, {info.fidelity}, largest error {measured.max_error}"
    if not measured.exact:
        title += ", visibly exact" if measured.psnr is None else f", PSNR {measured.psnr:.2f} dB"
        title += "" if measured.ms_ssim is None else f", MS-SSIM {measured.ms_ssim:.5f}"
    remark = f"the file is {ledger.overhead_percent or 0:+.3f} % longer"
    return f"{title}\n{_table(ledger, 'file', remark)}"


def total_table(total: Total) -> str:
    """Return the text of the ledger of several images."""
    ledger = total.ledger
    title = f"total: {ledger.images} files, {total.exact} exact, mean {total.mean_bpsp:.4f} bpsp"
    remark = f"a file is {total.mean_overhead_percent or 0:+.3f} % longer in the mean"
    return f"{title}\n{_table(ledger, 'files', remark)}"


def archive_table(name: str, ledger: Ledger) -> str:
    """Return the text of an archive's ledger."""
    title = f"{name}: {ledger.images} images, {ledger.stored} of them stored, {ledger.samples:,} samples"
    remark = f"messages and adaptations are {ledger.message_overhead_percent or 0:+.3f} % longer"
    return f"{title}\n{_table(ledger, 'archive', remark)}"


def _table(ledger: Ledger, whole: str, remark: str) -> str:
    """Return the text of the rows and of the promises, in bits and bits per sub-pixel.

    Parameters
    ----------
    ledger : Ledger
    whole : str
        Name of the sum of the rows.
    remark : str
        Note beside the ELBO: how much longer the file is than promised.
    """

    def line(name: str, bits: float, remark: str = "") -> str:
        return f"  {name:<16} {bits:>14,.1f} {bits / ledger.samples:>10.5f}{remark and f'   {remark}'}"

    lines = [f"  {'':<16} {'bits':>14} {'bpsp':>10}"]
    lines += [line(name.removesuffix("_bits"), bits) for name, bits in ledger.rows.items() if bits]
    lines.append(line(whole, ledger.file_bits))
    promises, elbo, bound = ledger.promises, ledger.promises.elbo, ledger.promises.importance
    if promises.images:
        lines.append(line("promised (ELBO)", elbo.bits, f"standard error {elbo.stderr_bits:,.1f} bits; {remark}"))
    if promises.images and promises.importance_samples is not None:
        gap = f"{elbo.bits - bound.bits:,.1f} bits below the ELBO"
        error = f"{promises.importance_samples} samples, standard error {bound.stderr_bits:,.1f} bits"
        lines.append(line("importance bound", bound.bits, f"{error}, {gap}"))
    if promises.saved_bits:
        lines.append(line("no bits-back", ledger.bits + promises.saved_bits))
        lines.append(line("saved by it", promises.saved_bits))
    return "\n".join(lines)
