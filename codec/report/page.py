"""The report as a page: one HTML file, with its pictures, styles and script inside.

The page may be opened anywhere and asks for nothing. Its content security policy allows just its own style and
script, by their hashes, and pictures in data URIs: a name of a file could not run as script even if its
escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from PIL import Image as PillowImage

from codec.images.decoder import Opened
from codec.ledger.measure import Measurement, total
from codec.report.charts import histogram
from codec.report.pictures import Pictures, pictures
from codec.report.rows import Rows, rows_of
from codec.report.templates import FOLDER, environment


@dataclass(frozen=True)
class Section:
    """What the page shows of an image."""

    measured: Measurement
    pictures: Pictures
    rows: Rows


class Page:
    """Collects what was measured, and makes a page of it."""

    def __init__(self) -> None:
        self.sections: list[Section] = []

    def add(self, measured: Measurement, image: PillowImage.Image, opened: Opened) -> None:
        """Add an image: its measurement, itself, and its decoded file."""
        self.sections.append(
            Section(
                measured=measured,
                pictures=pictures(image, opened, exact=measured.exact),
                rows=rows_of(measured.ledger, lossy=bool(measured.info.quality)),
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
        style = "".join((FOLDER / name).read_text("utf-8") for name in ("shared.css", "page.css"))
        script = (FOLDER / "page.js").read_text("utf-8")
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
    """Return the template of a page."""
    return environment().get_template("page.html")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
