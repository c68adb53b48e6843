"""The report as a page: one HTML file, with its pictures, styles and script inside.

The page may be opened anywhere and asks for nothing. Its content security policy allows just its own style and
script, by their hashes, and pictures in data URIs: a name of a file could not run as script even if its
escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from PIL import Image as PillowImage

from codec import __version__
from codec.images.decoder import Opened
from codec.ledger.measure import Measurement, total
from codec.networks.transform import PATCH
from codec.report.charts import Bars, bars, histogram, signed
from codec.report.pictures import LARGEST_SIDE, SEED, Pictures, colour_scale, pictures
from codec.report.terms import MODES, ROW_TERMS, TENSOR_TERM, TERMS

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """What the page shows of an image.

    Attributes
    ----------
    measured : Measurement
    pictures : Pictures
    rows : dict of str to float
        Bits of the ledger's rows, by their terms' keys; rows of no bits are left out.
    terms : dict of str to (str, str)
        What a row is called, and what it is.
    bars : Bars
        All rows.
    rest : Bars or None
        All rows but the pixels'; None of a stored file.
    """

    measured: Measurement
    pictures: Pictures
    rows: Mapping[str, float]
    terms: Mapping[str, tuple[str, str]]
    bars: Bars
    rest: Bars | None


class Page:
    """Collects what was measured, and makes a page of it."""

    def __init__(self) -> None:
        self.sections: list[Section] = []

    def add(self, measured: Measurement, image: PillowImage.Image, opened: Opened) -> None:
        """Add an image: its measurement, itself, and its decoded file."""
        rows = {name.removesuffix("_bits"): float(bits) for name, bits in measured.ledger.rows.items() if bits}
        terms = ROW_TERMS | ({"pixel": TENSOR_TERM} if measured.info.quality else {})
        names = {row: name for row, (name, _) in terms.items()}
        rest = {row: bits for row, bits in rows.items() if row != "pixel"}
        self.sections.append(
            Section(
                measured=measured,
                pictures=pictures(image, opened, exact=measured.exact),
                rows=rows,
                terms=terms,
                bars=bars(rows, names),
                rest=bars(rest, names) if "pixel" in rows else None,
            )
        )

    def encode(self) -> bytes:
        """Return the page as a file.

        Raises
        ------
        ValueError
            It has no images.
        """
        if not self.sections:
            raise ValueError("page: expected images, got none")
        measured = [section.measured for section in self.sections]
        style, script = ((_FOLDER / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
        text = _template().render(
            title=f"{len(measured)} images" if len(measured) > 1 else Path(measured[0].name).name,
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
            style=style,
            script=script,
            sections=self.sections,
            total=total(measured),
            distribution=histogram([found.ledger.bpsp for found in measured]),
        )
        # Names of files may hold bytes that are no text.
        return text.encode("utf-8", "replace")


@cache
def _template() -> jinja2.Template:
    """Return the template of a page; what it says is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["signed"] = signed
    environment.globals |= {
        "version": __version__,
        "largest_side": LARGEST_SIDE,
        "seed": SEED,
        "patch": PATCH,
        "modes": MODES,
        "glossary": TERMS,
        "colour_scale": colour_scale(),
    }
    return environment.get_template("page.html")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
