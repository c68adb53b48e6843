"""The templates of pages, and what all of them may say."""

from __future__ import annotations

from pathlib import Path

import jinja2

from codec import __version__
from codec.networks.transform import PATCH
from codec.report.charts import signed
from codec.report.pictures import LARGEST_SIDE, SEED, colour_scale
from codec.report.terms import MODES, TERMS

FOLDER = Path(__file__).parent


def environment(*folders: Path) -> jinja2.Environment:
    """Return an environment with the templates of this folder and of ``folders``, which come first.

    What templates say is escaped.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, FOLDER]),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["signed"] = signed
    made.globals |= {
        "version": __version__,
        "largest_side": LARGEST_SIDE,
        "seed": SEED,
        "patch": PATCH,
        "modes": MODES,
        "glossary": TERMS,
        "colour_scale": colour_scale(),
    }
    return made
