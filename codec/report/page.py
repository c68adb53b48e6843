"""The report as a page: one HTML file, with its pictures, styles and script inside.

The page may be opened anywhere and asks for nothing. Its content security policy allows just its own style and
script, by their hashes, and pictures in data URIs: a name of a file could not run as script even if its
escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from PIL import Image as PillowImage

from codec import __version__, api
from codec.ledger import ledger
from codec.ledger.accounts import ROWS
from codec.ledger.ledger import Report
from codec.networks.transform import PATCH
from codec.report.charts import bars, histogram, signed
from codec.report.pictures import LARGEST_SIDE, SEED, HeatMap, Picture, colour_scale, pictures
from codec.report.terms import MODES, ROW_TERMS, TENSOR_TERM, TERMS

EMPTY = "\N{EN DASH}"
"""Of a cell that has no value."""

HEADERS = {
    "name": "name",
    "pixels": "pixels",
    "bpsp": "bits per sub-pixel",
    "bytes": "file bytes",
    "predicted": "predicted bits",
    "difference": "difference, %",
}
"""Columns of the table of images."""


class Page:
    """Collects what was measured, and makes a page of it.

    Attributes
    ----------
    reports : list of Report
    """

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._sections: list[str] = []

    def add(self, report: Report, image: PillowImage.Image, data: bytes) -> None:
        """Add an image: its report and its file."""
        self.reports.append(report)
        self._sections.append(_section(len(self.reports), report, image, data))

    def encode(self) -> bytes:
        """Return the page as a file.

        Raises
        ------
        ValueError
            It has no images.
        """
        if not self.reports:
            raise ValueError("page: expected images, got none")
        # Names of files may hold bytes that are no text.
        return self._document().encode("utf-8", "replace")

    def _document(self) -> str:
        style, script = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
        many = len(self.reports) > 1
        title = f"{len(self.reports)} images" if many else Path(self.reports[0].file).name
        policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
        return "".join(
            [
                '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
                '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
                '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n',
                f"<title>{escape(title)}: where the bits went</title>\n<style>{style}</style>\n</head>\n<body>\n",
                f"<header><h1>Where the bits went</h1>\n{self._lead(many)}</header>\n<main>\n",
                _summary(self.reports) if many else "",
                *self._sections,
                _terms(),
                f"</main>\n<script>{script}</script>\n</body>\n</html>\n",
            ]
        )

    def _lead(self, many: bool) -> str:
        what = f"{len(self.reports)} images were" if many else "An image was"
        return (
            f"<p>{what} compressed by vlae {escape(__version__)}, decompressed, and compared with the original. "
            "All numbers are those of the real files; terms are explained "
            '<a href="#terms">at the end</a>.</p>\n'
            f'<p class="soft">Pictures of more than {LARGEST_SIDE} pixels a side are shown shrunken to that, '
            "heat maps averaged; numbers are of the full size. Pictures lie as they are stored: no camera's "
            "rotation is applied.</p>\n"
        )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _terms() -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in TERMS.items())
    return f'<section id="terms"><h2>Terms</h2><dl class="terms">{rows}</dl></section>\n'


def _facts(facts: Iterable[tuple[str, str, str]]) -> str:
    """Return facts as a list: what it is, its value, and what else there is to say."""
    items = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in facts
    )
    return f'<dl class="facts">{"".join(items)}</dl>\n'


def _summary(reports: list[Report]) -> str:
    total = ledger.totals(reports)
    facts = [
        ("file bytes", signed(total["file_bits"] / 8, 0), "of all files"),
        ("bits per sub-pixel", f"{total['mean_bpsp']:.4f}", "mean over the images"),
        ("exact", f"{total['exact']} of {total['files']}", f"largest error {total['max_error']}"),
    ]
    if "mean_overhead_percent" in total:
        most = f"at most {signed(total['max_overhead_percent'], 3)} %"
        facts.append(("difference", f"{signed(total['mean_overhead_percent'], 3)} %", f"mean; {most}"))
    if total["mean_psnr"] is not None:
        facts.append(("PSNR", f"{total['mean_psnr']:.2f} dB", "mean of images that are not exact"))
    headers = "".join(
        f'<th scope="col" class="{"names" if key == "name" else "number"}"><button type="button">{title}</button></th>'
        for key, title in HEADERS.items()
    )
    rows = "".join(_row(number, report) for number, report in enumerate(reports, 1))
    return (
        f"<section><h2>All images</h2>{_facts(facts)}"
        '<div class="wide"><table class="sortable">'
        f"<thead><tr>{headers}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="soft">A click on a header sorts by it, another one reverses. Images without a prediction, '
        "which were stored, come last.</p>"
        "<figure><h3>Distribution of bits per sub-pixel</h3>"
        f"{histogram([report.bpsp for report in reports], HEADERS['bpsp'])}"
        "<figcaption>So many images lie in each interval.</figcaption></figure></section>\n"
    )


def _row(number: int, report: Report) -> str:
    """Return an image's row of the table of all."""
    pixels = report.width * report.height
    cells = [
        (pixels, signed(pixels, 0)),
        (report.bpsp, f"{report.bpsp:.4f}"),
        (report.file_bits // 8, signed(report.file_bits // 8, 0)),
        (report.elbo_bits, signed(report.elbo_bits or 0, 0)),
        (report.overhead_percent, signed(report.overhead_percent or 0, 3)),
    ]
    drawn = "".join(
        f'<td class="number">{EMPTY}</td>'
        if value is None
        else f'<td class="number" data-value="{value!r}">{text}</td>'
        for value, text in cells
    )
    link = f'<a href="#image-{number}">{_name(report)}</a>'
    return f'<tr><td class="names" data-value="{escape(report.file)}">{link}</td>{drawn}</tr>\n'


def _name(report: Report) -> str:
    """Return a file's name, which may break at its slashes and has a direction of its own."""
    return f"<bdi>{escape(report.file).replace('/', '/<wbr>')}</bdi>"


def _section(number: int, report: Report, image: PillowImage.Image, data: bytes) -> str:
    """Return what there is to see of an image."""
    info = api.info(data)
    size = f"{report.width}\N{MULTIPLICATION SIGN}{report.height}"
    pixels, raw = report.width * report.height, report.width * report.height * report.channels
    fidelity = f"lossy, quality {info.quality}" if info.quality else report.fidelity
    quality = [f"largest error {report.max_error}"]
    quality += [] if report.psnr is None else [f"PSNR {report.psnr:.2f} dB"]
    quality += [] if report.ms_ssim is None or report.exact else [f"MS-SSIM {report.ms_ssim:.5f}"]
    facts = [
        ("pixels", size, f"{MODES[info.mode]}, {signed(raw, 0)} bytes uncoded"),
        ("file bytes", signed(len(data), 0), f"{100 * len(data) / raw:.2f} % of the uncoded"),
        ("bits per sub-pixel", f"{report.bpsp:.4f}", f"{report.file_bits / pixels:.4f} bits per pixel"),
        ("fidelity", fidelity, "every sub-pixel is equal" if report.exact else ", ".join(quality)),
        ("time", f"{report.encode_s:.2f} s", f"to compress; {report.decode_s:.2f} s to decompress"),
    ]
    if report.overhead_percent is not None:
        facts.append(("difference", f"{signed(report.overhead_percent, 3)} %", "of the file from the prediction"))
    return (
        f'<section id="image-{number}"><h2>{_name(report)}</h2>{_facts(facts)}'
        f"{_pictures(report, image, data, info.quality is not None)}{_ledger(report)}</section>\n"
    )


def _pictures(report: Report, image: PillowImage.Image, data: bytes, lossy: bool) -> str:
    shown = pictures(image, data, exact=report.exact)
    first = "Original and decoded" if report.exact else "Original"
    same = "The file is exact: every sub-pixel was compared and is equal." if report.exact else "What was compressed."
    figures = [_figure(first, same, shown.original, report.file)]
    if shown.decoded is not None:
        text = f"What the file holds, off by at most {report.max_error} of 255."
        figures.append(_figure("Decoded", text, shown.decoded, report.file))
    if shown.latents is not None and shown.sample is not None:
        if lossy:
            text = "The coarse numbers of the transform alone; the others are taken as zero."
        else:
            text = "Each sample at its mean, by the latents alone: they hold hardly more than colours."
        figures.append(_figure("Latents only", text, shown.latents, report.file))
        text = f"The same, with detail that the model makes up (seed {SEED}) in place of what the file has."
        figures.append(_figure("Latents and a sample", text, shown.sample, report.file))
    if shown.heat is not None:
        figures.append(_heat(report, shown.heat, lossy))
        if shown.latents is None:
            text = "The file was coded without latents, so there is no picture of what they hold."
            figures.append(_missing("No latents", text))
    else:
        text = "The image is stored as PNG: there are no latents, and no bits that belong to single pixels."
        figures.append(_missing("No latents, no heat map", text))
    return f'<div class="pictures">{"".join(figures)}</div>\n'


def _image(picture: Picture, alt: str) -> str:
    small = ' class="small"' if picture.width < LARGEST_SIDE // 2 else ""
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img{small} src="{picture.uri}" {size} alt="{escape(alt)}">'


def _figure(title: str, text: str, picture: Picture, name: str, more: str = "") -> str:
    caption = f"<figcaption><strong>{escape(title)}</strong>{escape(text)}{more}</figcaption>"
    return f"<figure>{_image(picture, f'{title}: {name}')}{caption}</figure>\n"


def _missing(title: str, text: str) -> str:
    return f'<figure class="missing"><figcaption><strong>{title}</strong>{text}</figcaption></figure>\n'


def _heat(report: Report, heat: HeatMap, lossy: bool) -> str:
    share = 100 * heat.mean * report.width * report.height / report.file_bits
    each = f", each patch of {PATCH}\N{MULTIPLICATION SIGN}{PATCH} at its mean" if lossy else ""
    text = (
        f"Bits per pixel{each}: mean {heat.mean:.3f}, largest {heat.largest:.2f}. They are {share:.2f} % of the file; "
        "what belongs to no pixel is not shown."
    )
    texts = ("0", f"{heat.top / 2:.3g}", f"{heat.top:.3g}+ bits per pixel")
    ticks = "".join(f"<span>{text}</span>" for text in texts)
    scale = f'<span class="scale">{_image(colour_scale(), "Scale of colours, from no bits to the most")}</span>'
    more = f'{scale}<span class="ticks">{ticks}</span>'
    return _figure("Where the bits went", text, heat.picture, report.file, more)


def _ledger(report: Report) -> str:
    """Return the rows of the ledger as bars and as a table."""
    rows: dict[str, float] = {
        key.removesuffix("_bits"): value for key in ROWS if (value := float(getattr(report, key)))
    }
    terms = ROW_TERMS | ({"pixel": TENSOR_TERM} if report.fidelity == "lossy" else {})
    names = {key: name for key, (name, _) in terms.items()}
    text = "Rows that count off are drawn back from the end of what is paid; what remains is the file."
    drawn = f'<figure class="ledger"><h3>The file, row by row</h3>{bars(rows, names)}'
    drawn += f"<figcaption>{text}</figcaption></figure>" if min(rows.values()) < 0 else "</figure>"
    rest = {key: value for key, value in rows.items() if key != "pixel"}
    if "pixel" in rows:
        drawn += (
            f'<figure class="rest"><h3>The same without {names["pixel"]}, enlarged</h3>{bars(rest, names)}'
            f"<figcaption>{signed(rows['pixel'])} bits of {names['pixel']} are left out.</figcaption></figure>"
        )
    return drawn + _ledger_table(report, rows, terms)


def _ledger_table(report: Report, rows: Mapping[str, float], terms: Mapping[str, tuple[str, str]]) -> str:
    samples = report.width * report.height * report.channels

    def line(title: str, text: str, bits: float, kind: str = "") -> str:
        cells = (signed(bits), signed(bits / samples, 4), signed(100 * bits / report.file_bits, 2))
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        row = f"<tr{kind}><td>{title}</td>{numbers}</tr>"
        return f'{row}<tr class="says"><td class="soft" colspan="4">{escape(text)}</td></tr>\n'

    body = [
        line(f'<span class="swatch row-{key}"></span>{escape(terms[key][0])}', terms[key][1], bits)
        for key, bits in rows.items()
    ]
    body.append(line("file", "The sum of the rows above.", report.file_bits, ' class="sum"'))
    if report.elbo_bits is not None and report.naive_bits is not None:
        text = "How long the model says that the file is"
        error = f", \N{PLUS-MINUS SIGN} {signed(report.elbo_stderr_bits)} bits" if report.elbo_stderr_bits else ""
        body.append(line("predicted", f"{text}{error}.", report.elbo_bits))
        body.append(line("without bits-back", "The file with all latents paid for.", report.naive_bits))
    headers = "".join(f'<th scope="col" class="number">{text}</th>' for text in ("bits", "per sub-pixel", "% of file"))
    return (
        f'<div class="wide"><table class="rows"><thead><tr><th scope="col">row</th>{headers}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
    )
