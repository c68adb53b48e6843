"""Fixtures of tests in several folders: a browser, and tabs of it."""

import os

import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; REQUIRE_BROWSER makes its absence a failure."""
    from benchmarks import chromium

    if chromium.found() is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("no Chromium found")
        pytest.skip("no Chromium found")
    with chromium.started() as started:
        yield started


@pytest.fixture
def tab(browser):
    """A tab, with a touch screen, that records the errors and the requests of its pages."""
    with browser.new_context(has_touch=True) as context, context.new_page() as page:
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("requestfailed", lambda request: page.complaints.append(request.url))
        page.on("dialog", lambda dialog: (page.complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.requests.append(request.url))
        yield page
