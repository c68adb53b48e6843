"""The page of `vlae measure --html` in a browser: it loads without a complaint or a request, and its table sorts."""

import numpy as np
import pytest
from PIL import Image

from codec.commands import cli, demo

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The URL of a page with four images, one of which is stored."""
    folder = tmp_path_factory.mktemp("page")
    drawn = demo.draw()
    for name, size in ((HOSTILE, (64, 48)), ("image 10.png", (100, 80)), ("image 9.png", (80, 70))):
        Image.fromarray(drawn[: size[1], : size[0]]).save(folder / name)
    grain = np.random.default_rng(0).integers(0, 2, (40, 40))
    Image.fromarray(np.where(grain, 200, 40).astype(np.uint8)).save(folder / "stored.png")
    target = folder / "page.html"
    assert cli.run(["measure", str(folder), "--quality", "60", "--html", str(target)]) == 0
    return target.as_uri()


def requests(tab):
    """Return the URLs that were requested, without data that the page itself contains."""
    return [url for url in tab.requests if not url.startswith("data:")]


def click(tab, column):
    """Click a header's button, and return how its column is sorted then."""
    header = tab.locator(".sortable thead th").nth(column)
    header.locator("button").click()
    return header.get_attribute("aria-sort")


def test_the_page_loads_without_complaint_or_request(tab, page):
    tab.goto(page)
    assert tab.evaluate("document.querySelectorAll('section[id^=image-]').length") == 4
    assert tab.complaints == []
    assert requests(tab) == [page]


def test_complaints_and_requests_would_be_seen(tab, tmp_path):
    (tmp_path / "bad.html").write_text("<img src='none.png'><script>console.error(1); nothing();</script>")
    tab.goto((tmp_path / "bad.html").as_uri())
    assert len(requests(tab)) == 2
    assert "1" in tab.complaints
    assert any("nothing is not defined" in complaint for complaint in tab.complaints)


def test_all_pictures_show_and_differ(tab, page):
    tab.goto(page)
    assert tab.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    drawn = tab.evaluate("""
        [...document.querySelectorAll("#image-2 .pictures figure > img")].map((image) => {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          return [image.alt, [...context.getImageData(0, 0, canvas.width, canvas.height).data].join()];
        })
    """)
    titles = [alt.split(":")[0] for alt, _ in drawn]
    assert titles == ["Original", "Decoded", "Latents only", "Latents and a sample", "Where the bits went"]
    assert len({pixels for _, pixels in drawn}) == len(drawn)


def test_a_click_on_a_header_sorts_and_another_reverses(tab, page):
    tab.goto(page)

    def rows():
        """Return the rows of the table, each as its cells' texts."""
        return tab.evaluate("[...document.querySelectorAll('.sortable tbody tr')].map((r) => r.innerText.split('\\t'))")

    before = rows()
    assert len(before) == 4

    def number(text):
        return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))

    for column in range(1, 6):
        known = [row for row in before if row[column] != "\N{EN DASH}"]
        ordered = sorted(number(row[column]) for row in known)
        assert len(set(ordered)) > 1
        for sort, expected in (("ascending", ordered), ("descending", ordered[::-1])):
            assert click(tab, column) == sort
            texts = [row[column] for row in rows()]
            assert [number(text) for text in texts[: len(known)]] == expected
            assert set(texts[len(known) :]) <= {"\N{EN DASH}"}
        assert sorted(rows()) == sorted(before)
    assert len(known) == 3  # the stored one has no prediction
    names = [HOSTILE, "image 9.png", "image 10.png", "stored.png"]
    for sort, expected in (("ascending", names), ("descending", names[::-1])):
        assert click(tab, 0) == sort
        assert [row[0].rsplit("/", 1)[1] for row in rows()] == expected
    assert tab.complaints == []


def test_numbers_are_not_sorted_as_text(tab, page):
    tab.goto(page)
    tab.evaluate("""
        [...document.querySelectorAll(".sortable tbody tr")].forEach((row, number) => {
          row.cells[5].dataset.value = ["0.25", "0.125", "-3", "1e-7"][number];
        })
    """)
    assert click(tab, 5) == "ascending"
    values = "[...document.querySelectorAll('.sortable tbody tr')].map((row) => row.cells[5].dataset.value)"
    assert tab.evaluate(values) == ["-3", "1e-7", "0.125", "0.25"]


def test_the_page_fits_a_phone_and_follows_the_scheme(tab, page):
    tab.set_viewport_size({"width": 360, "height": 740})
    grounds = set()
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        tab.goto(page)
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
