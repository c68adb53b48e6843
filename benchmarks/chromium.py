"""Chromium without a window, driven by playwright: the one that is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def found() -> str | None:
    """Return the path of Chromium, or None if none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """Yield Chromium.

    Raises
    ------
    FileNotFoundError
        None is installed.
    """
    path = found()
    if path is None:
        raise FileNotFoundError(f"expected one of {', '.join(NAMES)}, found none")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=OPTIONS) as browser:
        yield browser
