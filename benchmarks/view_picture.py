"""The picture of `vlae view` in README.md: its page in a browser without a window, with the image of ``vlae demo``.

`python -m benchmarks.view_picture docs/view.png` draws it. It needs the extras view and test, and Chromium.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click
from playwright.sync_api import Page

from benchmarks import chromium
from codec.commands.demo import PICTURE
from codec.view.server import serve
from codec.view.subjects import subjects_of
from codec.view.worker import Worker

WIDTH, HEIGHT = 1180, 720
QUALITY = 20
"""Low, so that the halves differ even in a picture of a page."""
PATIENCE_MS = 600_000


def _take(page: Page, address: str, output: Path) -> None:
    page.goto(address)
    page.locator("#quality").fill(str(QUALITY))
    page.locator("#command").filter(has_text=f"--quality {QUALITY}").wait_for(timeout=PATIENCE_MS)
    page.locator("#panel[aria-busy=false]").wait_for(timeout=PATIENCE_MS)
    page.locator("#quality").blur()
    page.screenshot(path=output)


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def main(output: Path) -> None:
    """Draw the picture into OUTPUT, a PNG."""
    subjects, _ = subjects_of(os.path.relpath(PICTURE))
    server, address = serve(subjects, Worker())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium.started() as browser:
        _take(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), address, output)
    server.shutdown()


if __name__ == "__main__":
    main()
