"""The page of `vlae measure --html`: its numbers are the ledger's, its pictures the codec's, it asks for nothing."""

import base64
import hashlib
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import codec
from codec import api
from codec.commands import cli, demo
from codec.constants import PRECISION
from codec.format import container
from codec.format.headers import Latents
from codec.images import decoder
from codec.report import charts, heatmap, pictures
from codec.report.page import Page
from codec.vlae.pixels import intervals

HOSTILE = "<img src=x onerror=alert(1)>&\"'.png"
VOID = {"meta", "link", "img", "wbr"}


def photo(height=75, width=107):
    return Image.fromarray(demo.draw()[:height, :width])


def image_of(data):
    return decoder.opened(container.unpack(data)).raster


def page_of(*images, **options):
    """Return the text of a page of pairs of names and images, and what was measured of them."""
    page = Page()
    found = [codec.measure(image, name=name, visit=page.add, **options) for name, image in images]
    return page.encode().decode(), found


class Document(HTMLParser):
    """What is in a page: elements as (tag, attributes), and its text outside of style and script."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.words += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self):
        """Return the pictures by what their alternative text begins with."""
        found = {}
        for attributes in self.all("img"):
            kind, data = attributes["src"].split(",")
            assert kind == "data:image/webp;base64"
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert image.size == (int(attributes["width"]), int(attributes["height"]))
                found[attributes["alt"].split(":")[0]] = np.asarray(image)
        return found


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 2}, {"quality": 60}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_heat_map_has_all_coded_bits(options, mode):
    data = api.compress(photo().convert(mode), **options)
    image = image_of(data)
    bits = heatmap.pixel_bits(image, 75, 107)
    assert bits.shape == (75, 107)
    coded = sum(intervals(image, index, z).coded_bits for index, z in enumerate(image.z))
    assert bits.mean(dtype=np.float64) == pytest.approx(coded / (75 * 107), rel=1e-6)
    ledger = codec.measure(photo().convert(mode), **options).ledger
    assert bits.sum(dtype=np.float64) == pytest.approx(ledger.rows["pixel_bits"], rel=1e-3)


def test_a_pixel_has_the_bits_of_its_samples():
    image = image_of(api.compress(photo(), lossless=True))
    freqs = intervals(image, 1, image.z[1]).freqs
    bits = heatmap.pixel_bits(image, 75, 107)
    for y, x in ((0, 0), (3, 100), (10, 50)):
        expected = sum(PRECISION - math.log2(f) for f in freqs[y, x].tolist())
        assert bits[64 + y, x] == pytest.approx(expected, rel=1e-6)


def test_a_patch_of_a_lossy_file_shares_its_bits():
    image = image_of(api.compress(photo(), quality=60))
    bits = heatmap.pixel_bits(image, 75, 107)
    rows = [intervals(image, i, z).freqs for i, z in enumerate(image.z)]
    places = (PRECISION - np.log2(np.concatenate(rows))).sum(-1)
    for y, x, pixels in ((0, 0, 64), (4, 5, 64), (9, 2, 3 * 8), (1, 13, 8 * 3), (9, 13, 3 * 3)):
        patch = bits[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
        assert patch.size == pixels
        assert (patch == patch[0, 0]).all()
        assert patch.sum() == pytest.approx(places[y, x], rel=1e-5)


def test_shrinking_keeps_the_mean():
    bits = np.random.default_rng(1).exponential(5, (600, 900)).astype(np.float32)
    small = heatmap.shrink(bits, (300, 200))
    assert small.shape == (200, 300)
    assert small == pytest.approx(bits.reshape(200, 3, 300, 3).mean((1, 3)), rel=1e-4)


def test_colours_go_from_dark_to_light():
    top = heatmap.scale_top(np.linspace(0, 12.34, 1000, dtype=np.float32)[None])
    assert top == pytest.approx(13)
    colours = heatmap.colour(np.linspace(0, 2 * top, 512, dtype=np.float32)[None], top)[0]
    assert bytes(colours[0]).hex() == heatmap.COLOURS[0][1:]
    assert bytes(colours[-1]).hex() == heatmap.COLOURS[-1][1:]
    assert (colours[256:] == colours[-1]).all()
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > -1).all()


@pytest.mark.parametrize("options", [{"lossless": True, "latents": Latents.BITS_BACK}, {"quality": 60}])
def test_pictures_are_what_the_codec_gives(options):
    image = photo()
    text, (found,) = page_of(("a.png", image), **options)
    data = api.compress(image, **options)
    shown = Document(text).pictures()
    assert (shown["Original and decoded" if found.exact else "Original"] == np.asarray(image)).all()
    if not found.exact:
        assert (shown["Decoded"] == np.asarray(api.decompress(data))).all()
    alone = api.decompress(data, latents_only=True)
    drawn = api.decompress(data, latents_only=True, sample=pictures.SEED)
    assert (shown["Latents only"] == np.asarray(alone)).all()
    assert (shown["Latents and a sample"] == np.asarray(drawn)).all()
    bits = heatmap.pixel_bits(image_of(data), image.height, image.width)
    assert (shown["Where the bits went"] == heatmap.colour(bits, heatmap.scale_top(bits))).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L"])
def test_originals_of_other_modes_are_shown(mode):
    image = photo(40, 50).convert("RGBA")
    image.putalpha(Image.fromarray(np.arange(2000).reshape(40, 50).astype(np.uint8)))
    image = image.convert(mode)
    text, _ = page_of(("a.png", image), max_error=2, latents=Latents.TWO_PART)
    shown = Document(text).pictures()["Original"]
    expected = np.asarray(image.convert("RGBA"))[..., : shown.shape[-1]]
    visible = np.asarray(image.convert("RGBA"))[..., 3] > 0
    assert shown.shape[-1] == (3 if mode == "L" else 4)
    assert (shown[visible] == expected[visible]).all()


def test_large_pictures_are_shown_shrunken():
    assert pictures.shown_size(640, 640) == (640, 640)
    assert pictures.shown_size(100_000, 10) == (640, 1)
    image = photo(24, 160).resize((1120, 24))
    text, _ = page_of(("wide.png", image), lossless=True)
    shown = Document(text).pictures()
    assert {shown[name].shape for name in ("Original and decoded", "Where the bits went")} == {(14, 640, 3)}


@pytest.mark.parametrize(
    "options",
    [
        {"lossless": True, "latents": Latents.BITS_BACK},
        {"lossless": True, "latents": Latents.NONE},
        {"max_error": 1, "latents": Latents.TWO_PART},
        {"quality": 30},
    ],
)
def test_bars_sum_to_the_file(options):
    text, (found,) = page_of(("a.png", photo()), **options)
    whole, rest = re.findall(r'<div class="bars">.*?</div>\s*</div>', text, flags=re.DOTALL)
    rows, file_bits = found.ledger.rows, found.ledger.file_bits
    for drawing, expected in ((whole, file_bits), (rest, file_bits - rows["pixel_bits"])):
        bars = dict(re.findall(r'data-bar="(\w+)"(.*?)</svg>', drawing, flags=re.DOTALL))
        bits = {name: [float(b) for b in re.findall(r'data-bits="([^"]+)"', bar)] for name, bar in bars.items()}
        assert all(b > 0 for b in bits["paid"])
        assert all(b < 0 for b in bits.get("returned", []))
        assert math.fsum(bits["paid"] + bits.get("returned", [])) == pytest.approx(expected, abs=0.01)
        if "returned" in bits:
            assert bits["remains"] == [pytest.approx(expected, abs=0.01)]
    assert (rows["posterior_bits"] < 0) == ("row-posterior" in whole)


def test_bars_lie_on_one_axis():
    def spans(rows):
        return {bar.kind: [(part.x, part.x + part.width) for part in bar.parts] for bar in charts.bars(rows, {}).bars}

    assert spans({"pixel": 70.0, "prior": 30.0, "posterior": -20.0, "rounding": -5.0}) == {
        "paid": [(0, 700), (700, 1000)],
        "returned": [(800, 1000), (750, 800)],
        "remains": [(0, 750)],
    }
    below = spans({"prior": 20.0, "posterior": -30.0})
    assert below == {
        "paid": [pytest.approx((1000 / 3, 1000))],
        "returned": [pytest.approx((0, 1000))],
        "remains": [pytest.approx((0, 1000 / 3))],
    }
    assert spans({"stored": 5.0}) == {"paid": [(0, 1000)]}


def test_numbers_have_a_minus_only_if_they_show_one():
    assert charts.signed(-1234.5) == "\N{MINUS SIGN}1,234.5"
    assert charts.signed(-0.04) == "0.0"
    assert charts.signed(1234567, 0) == "1,234,567"


@given(st.lists(st.floats(1e-3, 30), min_size=1, max_size=60))
def test_a_histogram_counts_every_image_in_its_interval(values):
    chart = charts.histogram(values)
    assert chart.count == sum(bar.count for bar in chart.bins) == len(values)
    assert 1 <= len(chart.bins) <= charts.MOST_BINS
    near = 1e-6 * max(values)
    for bar in chart.bins:
        low, high = float(bar.low) - near, float(bar.high) + near
        assert bar.count <= sum(low <= value <= high for value in values)
        assert chart.left <= bar.x < bar.x + bar.width < chart.right + 1e-6
        assert charts.HISTOGRAM_TOP - 1e-6 <= bar.y <= chart.bottom
    assert 1 < len(chart.ticks) <= charts.MOST_TICKS


def test_the_page_asks_for_nothing_and_runs_no_name():
    text, _ = page_of((HOSTILE, photo(30, 40)), (f"folder/{HOSTILE}", photo(20, 40)), lossless=True)
    document = Document(text)
    assert re.findall(r"[a-z]+://[^\"'<\s]*", re.sub(r"base64,[\w+/=]*", "", text)) == []
    for tag, attributes in document.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:,"))
        assert tag not in ("iframe", "object", "embed", "base", "form")
    assert document.words.count(HOSTILE) == 4  # in the table and above each image
    assert all(attributes["alt"] for attributes in document.all("img"))
    identities = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    targets = {attributes["href"][1:] for attributes in document.all("a")}
    assert targets <= set(identities)
    policy = next(a["content"] for a in document.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_table_has_the_numbers_of_the_measurements():
    stored = Image.fromarray(np.zeros((9, 5), np.uint8)).convert("P")
    text, measured = page_of(("b.png", photo(30, 40)), ("a.png", stored), lossless=True)
    rows = re.findall(r'<tr><td class="names" data-value.*?</tr>', text, flags=re.DOTALL)
    for row, found in zip(rows, measured, strict=True):
        values = re.findall(r'data-value="([^"]*)"', row)
        known = [found.ledger.promises.elbo.bits, found.ledger.overhead_percent] if found.ledger.promises.images else []
        pixels = found.info.width * found.info.height
        assert values == [found.name, *map(repr, [pixels, found.ledger.bpsp, found.info.file_bytes, *known])]


def test_the_page_says_what_is_not_there():
    stored = Image.fromarray(np.zeros((9, 5), np.uint8)).convert("P")
    text, _ = page_of(("a.png", stored), lossless=True)
    assert "No latents, no heat map" in text
    assert list(Document(text).pictures()) == ["Original and decoded"]
    assert "sortable" not in text.split("</style>")[1].split("<script>")[0]
    text, _ = page_of(("a.png", photo(30, 40)), lossless=True, latents=Latents.NONE)
    assert "coded without latents" in text
    assert "Latents only" not in text
    assert "Where the bits went" in Document(text).pictures()
    with pytest.raises(ValueError, match="expected images, got none"):
        Page().encode()


def test_names_that_are_no_text_are_shown_somehow():
    text, _ = page_of(("a\udcff\n.png", photo(20, 20)), lossless=True)
    assert "a?\n.png" in text


def test_the_command_writes_a_page(tmp_path, capfd):
    photo(30, 40).save(tmp_path / "a.png")
    target = tmp_path / "page.html"
    command = ["measure", str(tmp_path), "--lossless", "--html", str(target)]
    assert cli.run(command) == 0
    out, err = capfd.readouterr()
    assert "a.png: 40x30, lossless" in out
    assert f"{target}: {target.stat().st_size} bytes" in err
    Document(target.read_text("utf-8"))
    assert cli.run(command) == 2
    assert capfd.readouterr().err == f"vlae: output {target}: exists, expected --force\n"
    target.write_bytes(b"old")
    assert cli.run([*command, "--force"]) == 0
    assert target.read_bytes().startswith(b"<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "page.html"]


def test_what_the_command_refuses(tmp_path, capfd):
    source = tmp_path / "a.png"
    photo(30, 40).save(source)
    (tmp_path / "empty").mkdir()
    for path, html, message in (
        (source, "-", "expected a file, got standard output"),
        (source, tmp_path, "is a folder"),
        (source, tmp_path / "none" / "a.html", "its folder does not exist"),
        (source, source, "is the source"),
        (Path(__file__).parents[1] / "golden" / "archive.vlar", tmp_path / "a.html", "an archive is measured as it is"),
        (tmp_path / "empty", tmp_path / "a.html", "expected images, got none"),
    ):
        assert cli.run(["measure", str(path), "--html", str(html), "--force"]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "empty"]
