"""The page of `vlae view` in a browser: divider, slider, zoom, map of bits, ledger, command, phone, dark, damage."""

import io
import re
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import codec
from codec.commands import cli, demo
from codec.view.server import serve
from codec.view.subjects import subjects_of
from codec.view.worker import Worker

pytestmark = pytest.mark.browser

WIDTH, HEIGHT = 180, 168
"""Just large enough for MS-SSIM."""
PATIENCE_MS = 120_000
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PICTURE_BYTES = 300_000
"""Largest length of the page's picture in README.md."""


@contextmanager
def served(*names):
    server, address = serve(subjects_of(*map(str, names))[0], Worker())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "my photo.png"
    Image.fromarray(np.tile(demo.draw(), (2, 2, 1))[:HEIGHT, :WIDTH]).save(path)
    return path


@pytest.fixture(scope="module")
def address(source):
    with served(source) as found:
        yield found


@pytest.fixture
def page(tab, address):
    """The page of the image, when its first file is shown."""
    tab.goto(address)
    settled(tab)
    yield tab
    # Chromium reports answers that can be dropped as failed even if all of them was read.
    assert [complaint for complaint in tab.complaints if "/result?" not in complaint] == []
    assert {url.split("/")[2] for url in tab.requests if not url.startswith("data:")} == {address.split("/")[2]}


def settled(tab):
    expect(tab.locator("#panel")).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)


def choose(tab, fidelity):
    tab.get_by_role("radio", name=fidelity, exact=True).check()
    settled(tab)


def figures(tab):
    """Return what the page says: bytes, bits a pixel, PSNR, MS-SSIM."""
    size, bpp, psnr, ms_ssim = (tab.locator(f"#{key}").inner_text() for key in ("bytes", "bpp", "psnr", "ms_ssim"))
    return size, bpp, psnr, ms_ssim


def expected_figures(source, **options):
    measured = codec.measure(source, **options)
    length = measured.info.file_bytes
    psnr = "exact" if measured.psnr is None else f"{measured.psnr:.2f} dB"
    return f"{length:,} B", f"{8 * length / (WIDTH * HEIGHT):.3f}", psnr, f"{measured.ms_ssim:.4f}"


def shot(tab):
    """Return the pixels of the stage (H, W, 3)."""
    with Image.open(io.BytesIO(tab.locator("#stage").screenshot())) as image:
        return np.asarray(image.convert("RGB"))


def divider(tab):
    return float(tab.locator("#divider").get_attribute("aria-valuenow"))


def box(tab, selector):
    found = tab.locator(selector).bounding_box()
    return tuple(round(found[key], 2) for key in ("x", "y", "width", "height"))


def zoom(tab):
    return float(tab.locator("#zoom-value").inner_text().removesuffix(" %"))


def swipe(tab, *places):
    """Put fingers down, move them and lift them; each has a pair of places."""
    session = tab.context.new_cdp_session(tab)
    for kind, index in (("touchStart", 0), ("touchMove", 1), ("touchEnd", None)):
        points = [] if index is None else [dict(zip("xy", pair[index], strict=True)) for pair in places]
        numbered = [point | {"id": number} for number, point in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": numbered})


def test_the_page_shows_both_pictures(page, source):
    assert figures(page) == expected_figures(source, quality=65)
    for layer in ("original", "decoded"):
        assert page.locator(f"#{layer} img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [
            WIDTH,
            HEIGHT,
        ]
    assert len(np.unique(shot(page).reshape(-1, 3), axis=0)) > 1000
    assert re.match(rf"{WIDTH}\s.\s{HEIGHT}, RGB, ", page.locator(".top p").inner_text())
    assert "Lossy, quality 65" in page.locator("#status").inner_text()


def test_the_divider_shows_the_original_on_the_left(page, source):
    page.locator("#quality").fill("5")
    settled(page)
    page.locator("#divider").focus()
    page.keyboard.press("Home")
    decoded = shot(page)
    page.keyboard.press("End")
    original = shot(page)
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    assert divider(page) == 50
    both, middle = shot(page), original.shape[1] // 2
    inside = slice(middle - 120, middle - 40), slice(middle + 40, middle + 120)
    rows = slice(len(both) // 2 - 60, len(both) // 2 - 40)
    assert (both[rows, inside[0]] == original[rows, inside[0]]).all()
    assert (both[rows, inside[1]] == decoded[rows, inside[1]]).all()
    assert (original[rows, inside[0]] != decoded[rows, inside[0]]).any()


def test_the_divider_is_dragged_by_mouse_touch_and_keys(page):
    x, y, width, height = box(page, "#divider")
    stage = box(page, "#stage")
    place = x + width / 2, y + height / 2
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.move(stage[0] + 0.25 * stage[2], place[1], steps=4)
    assert divider(page) == 25
    page.mouse.up()
    page.mouse.move(*place)
    assert divider(page) == 25
    swipe(page, ((stage[0] + 0.25 * stage[2], place[1]), (stage[0] + 0.8 * stage[2], place[1])))
    assert divider(page) == 80
    for key, value in (("ArrowLeft", 79), ("ArrowRight", 80), ("Home", 0), ("PageUp", 10), ("End", 100)):
        page.keyboard.press(key)
        assert divider(page) == value
    assert page.locator("#divider").get_attribute("aria-valuetext") == "100 % original"


def test_the_slider_changes_the_file(page, source):
    before = figures(page)
    slider = page.locator("#quality")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    settled(page)
    assert page.locator("#quality-value").inner_text() == "60"
    assert figures(page) == expected_figures(source, quality=60) != before
    slider.fill("12")
    settled(page)
    assert figures(page) == expected_figures(source, quality=12)


def test_a_slider_that_moves_gets_quick_files_first(page):
    page.locator("#quality").fill("33")
    expect(page.locator("#command")).to_have_text(re.compile("--quality 33 --effort 1$"), timeout=PATIENCE_MS)
    settled(page)
    expect(page.locator("#command")).to_have_text(re.compile("--quality 33$"))
    efforts = [url[-1] for url in page.requests if "result?quality=33" in url]
    assert efforts == ["1", "2"]


def test_other_fidelities_are_offered(page, source):
    choose(page, "Near-lossless")
    assert figures(page) == expected_figures(source, max_error=2)
    assert "Near-lossless, within 2" in page.locator("#status").inner_text()
    page.keyboard.press("]")
    settled(page)
    assert figures(page) == expected_figures(source, max_error=1)
    choose(page, "Lossless")
    assert figures(page) == expected_figures(source, lossless=True)
    assert page.locator("#quality").is_hidden()
    assert page.locator("#max_error").is_hidden()


def test_the_command_makes_this_very_file(page, tmp_path):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "Lossless")
    size = page.locator("#bytes").inner_text()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator("#command").inner_text()
    program, *arguments = shlex.split(command)
    assert program == "vlae"
    target = tmp_path / "file.vlae"
    assert cli.run([*arguments, "-o", str(target)]) == 0
    assert f"{target.stat().st_size:,} B" == size


def test_zoom_and_pan_move_both_pictures_alike(page):
    def both():
        original, decoded = box(page, "#original img"), box(page, "#decoded img")
        assert original == decoded
        return original

    fitted, stage = both(), box(page, "#stage")
    assert zoom(page) == 100 * min(stage[2] // WIDTH, stage[3] // HEIGHT)
    page.locator("#zoom-one").click()
    assert zoom(page) == 100
    assert both()[2:] == (WIDTH, HEIGHT)
    assert page.locator("#original img").evaluate("e => getComputedStyle(e).imageRendering") == "auto"
    place = stage[0] + 300, stage[1] + 200
    page.mouse.move(*place)

    def under_pointer():
        x, y, width, height = both()
        return (place[0] - x) / width, (place[1] - y) / height

    before = under_pointer()
    page.mouse.wheel(0, -300)
    expect(page.locator("#zoom-value")).not_to_have_text("100 %")
    assert zoom(page) > 150
    assert under_pointer() == pytest.approx(before, abs=0.01)
    assert page.locator("#decoded img").evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"
    x, y = both()[:2]
    page.mouse.down()
    page.mouse.move(place[0] + 40, place[1] - 25, steps=3)
    page.mouse.up()
    assert both()[:2] == pytest.approx((x + 40, y - 25), abs=1)
    page.keyboard.press("0")
    assert both() == fitted
    level = zoom(page)
    page.keyboard.press("+")
    assert zoom(page) == pytest.approx(1.25 * level, abs=1)
    page.locator("#zoom-out").click()
    assert zoom(page) == level
    page.locator("#stage").focus()
    x = both()[0]
    page.keyboard.press("ArrowLeft")
    assert both()[0] > x


def test_two_fingers_zoom(page):
    page.keyboard.press("1")
    x, y, width, height = box(page, "#stage")
    middle, down = x + width / 4, y + height / 2
    swipe(page, ((middle - 30, down), (middle - 90, down)), ((middle + 30, down), (middle + 90, down)))
    assert zoom(page) == pytest.approx(300, abs=2)


def test_the_map_of_bits_and_the_ledger(page, source):
    decoded = shot(page)
    page.keyboard.press("b")
    expect(page.locator("#decoded img")).to_have_attribute("alt", "Where the bits went", timeout=PATIENCE_MS)
    assert (shot(page) != decoded).any()
    assert re.match(r"Bits a pixel: mean \d\.\d{3}, largest ", page.locator("#scale-says").inner_text())
    page.get_by_text("Every bit of the file").click()
    page.locator("#ledger table").wait_for(timeout=PATIENCE_MS)
    rows = page.locator("#ledger tbody tr:not(.says)").all_inner_texts()
    cells = {row.split("\t")[0].strip(): row.split("\t")[1] for row in rows}
    measured = codec.measure(source, quality=65).ledger
    assert cells["file"] == f"{measured.file_bits:,.1f}"
    assert cells["transformed samples"] == f"{measured.rows['pixel_bits']:,.1f}"
    assert cells["header"] == f"{measured.rows['header_bits']:,.1f}"


def test_the_page_fits_a_phone_and_follows_the_scheme(page):
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (320, 390):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert box(page, "#stage")[2] == width
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_everything_has_a_name_and_is_reached_by_keys(page):
    for element in page.locator("button, a, input, [role=slider], output, progress").all():
        named = element.evaluate("e => e.ariaLabel || e.innerText.trim() || e.labels?.[0]?.innerText")
        assert named, element.evaluate("e => e.outerHTML")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("d")
    assert page.evaluate("document.activeElement.id") == "divider"
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"zoom-in", "zoom-fit", "fidelity", "quality", "right", "command", "copy", "help-button", "stage"} <= seen


def test_a_folder_has_a_gallery(tab, source, tmp_path):
    image = Image.open(source)
    for name in ("a", "b"):
        image.crop((0, 0, 60, 40)).save(tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes(source.read_bytes()[:3000])
    with served(tmp_path) as address:
        tab.goto(address)
        expect(tab.locator(".thumbnail .failure")).to_have_text(re.compile("cut.png: .*truncated"))
        assert tab.locator(".thumbnail img").count() == 2
        tab.get_by_role("link", name="b.png").click()
        expect(tab.locator("h1")).to_have_text(re.compile("b.png$"))
        tab.get_by_role("link", name="Previous picture").click()
        expect(tab.locator("h1")).to_have_text(re.compile("a.png$"))
        settled(tab)
        tab.goto(f"{address}2/")
        expect(tab.get_by_role("alert")).to_have_text(re.compile("cut.png: .*truncated"))
        assert tab.locator("#stage").count() == 0
        tab.keyboard.press("p")
        expect(tab.locator("h1")).to_have_text(re.compile("b.png$"))


def test_a_file_alone_has_no_divider(tab):
    with served(GOLDEN / "lossy-rgb.vlae") as address:
        tab.goto(address)
        settled(tab)
        assert tab.locator("#divider, #wish, #copy").count() == 0
        size = (GOLDEN / "lossy-rgb.vlae").stat().st_size
        expect(tab.locator("#bytes")).to_have_text(f"{size:,} B")
        assert len(np.unique(shot(tab).reshape(-1, 3), axis=0)) > 50


def test_a_file_that_cannot_be_decoded_says_so_on_the_page(tab, source, tmp_path):
    path = tmp_path / "photo.vlae"
    path.write_bytes(codec.compress(Image.open(source).crop((0, 0, 40, 40)), quality=30, effort=1))
    with served(path, source) as address:  # the original has other sides
        tab.goto(address)
        settled(tab)
        expect(tab.locator("#failure")).to_have_text("original: expected 40x40 pixels, got 180x168")
        tab.get_by_role("radio", name="Lossy").check()
        settled(tab)
        expect(tab.locator("#failure")).to_be_hidden()


@pytest.mark.usefixtures("browser")
def test_the_command_takes_the_picture_of_the_readme(tmp_path):
    (line,) = re.findall(r"^python (-m benchmarks.view_picture) (.*)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    committed, taken = ROOT / line[1], tmp_path / "view.png"
    command = [sys.executable, *line[0].split(), str(taken)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert committed.stat().st_size < PICTURE_BYTES
    with Image.open(committed) as before, Image.open(taken) as after:
        assert before.size == after.size
