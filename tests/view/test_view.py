"""What the server of `vlae view` answers: to whom, with which pictures and figures, and to what is wrong."""

import io
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from support.processes import viewing

import codec
from codec.commands import cli, demo
from codec.report import heatmap
from codec.view import server
from codec.view.server import application
from codec.view.subjects import subjects_of
from codec.view.worker import Worker

TOKEN = "token"  # noqa: S105
GOLDEN = Path(__file__).parents[1] / "golden"


def photo(height=48, width=64):
    return Image.fromarray(demo.draw()[:height, :width])


class Pages:
    """The pages of a name on the command line."""

    def __init__(self, *names):
        self.subjects, self.left_out = subjects_of(*map(str, names))
        self.client = application(self.subjects, TOKEN, Worker()).test_client()

    def get(self, path="", **options):
        return self.client.get(f"/{TOKEN}/{path}", **options)

    def image(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return Image.open(io.BytesIO(answer.data))

    def result(self, number=0, query=""):
        """Return the facts, the likeness and the error of a result."""
        found = {}
        for line in lines_of(self.get(f"{number}/result?{query}")):
            found |= line
        return found


def lines_of(answer):
    return [json.loads(line) for line in answer.text.splitlines() if line]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "photo.png"
    photo().save(path)
    return path


def test_only_who_knows_the_token_sees_anything(source):
    pages = Pages(source)
    assert pages.get("0/").status_code == 200
    for path in ("/", "/0/", "/wrong/", "/wrong/0/", "/wrong/0/original.png", f"/{TOKEN}x/", "/assets/view.css"):
        answer = pages.client.get(path)
        assert answer.status_code == 404, path
        assert "photo.png" not in answer.text


def test_tokens_are_long_and_differ(source):
    addresses = []
    for _ in range(2):
        made, address = server.serve(subjects_of(str(source))[0], Worker())
        made.server_close()
        assert address.startswith(f"http://127.0.0.1:{made.port}/")
        addresses.append(address.split("/")[3])
    assert addresses[0] != addresses[1]
    assert all(len(token) == 22 for token in addresses)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.1", ""])
def test_another_host_is_refused(source, host):
    answer = Pages(source).get("0/", headers={"Host": host})
    assert answer.status_code == 400
    assert "photo" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:4711", "localhost:4711"])
def test_this_machine_is_served(source, host):
    assert Pages(source).get("0/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["", "0/", "0/original.png", "assets/view.css", "7/", "0/result?quality=900"])
def test_all_answers_forbid_what_pages_do_not_need(source, path):
    headers = Pages(source).get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("1/", "-1/", "x/", "1/original.png", "1/result?quality=60", "99999999999999999999/ledger"),
        *("assets/none.js", "assets/../server.py", "assets/..%2fserver.py", "assets/", "assets//etc/passwd"),
        "0/original.png/../../x",
    ],
)
def test_what_is_not_there_is_not_found(source, path):
    assert Pages(source).get(path).status_code == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("quality=0", "quality: expected 1 to 100, got 0"),
        ("quality=101", "quality: expected 1 to 100, got 101"),
        ("quality=-5", "quality: expected a whole number, got '-5'"),
        ("quality=6.5", "quality: expected a whole number, got '6.5'"),
        ("quality=" + "9" * 5000, "quality: expected a whole number"),
        ("max_error=11", "max_error: expected 0 to 10, got 11"),
        ("quality=60&effort=4", "effort: expected 1 to 3, got 4"),
        ("quality=60&max_error=2", "fidelity: expected one of"),
        ("", "expected a quality or a largest error"),
    ],
)
def test_a_wrong_request_gets_one_line(source, query, message):
    pages = Pages(source)
    answer = pages.get(f"0/result?{query}")
    error = lines_of(answer)[-1]["error"]
    assert message in error
    assert "\n" not in error
    for path in ("decoded.png", "bits.png", "ledger", "scale"):
        answer = pages.get(f"0/{path}?{query}")
        assert (answer.status_code, answer.json["error"]) == (422, error)


@pytest.mark.parametrize(
    ("query", "options", "command"),
    [
        ("quality=40&effort=1", {"quality": 40, "effort": 1}, "--quality 40 --effort 1"),
        ("quality=40", {"quality": 40}, "--quality 40"),
        ("max_error=2", {"max_error": 2}, "--max-error 2"),
        ("max_error=0", {"lossless": True}, "--lossless"),
    ],
)
def test_a_result_is_what_the_codec_makes(source, query, options, command):
    pages, data = Pages(source), codec.compress(source, **options)
    measured = codec.measure(source, **options)
    found = pages.result(0, query)
    assert "error" not in found
    assert found["bytes"] == len(data)
    assert found["bpp"] == pytest.approx(8 * len(data) / (48 * 64))
    assert found["likeness"]["psnr"] == measured.psnr
    assert found["likeness"]["exact"] is measured.exact
    assert found["command"] == f"vlae compress {source} {command}"
    assert pages.image(f"0/decoded.png?{query}").tobytes() == codec.decompress(data).tobytes()
    rows = pages.get(f"0/ledger?{query}").text
    assert f"{measured.ledger.rows['pixel_bits']:,.1f}</td>" in rows
    assert f"{measured.ledger.file_bits:,.1f}</td>" in rows


def test_the_map_of_bits_has_its_colours_and_its_scale(source):
    pages, found = Pages(source), []
    codec.measure(source, quality=40, visit=lambda measured, image, opened: found.append(opened.raster))
    bits = heatmap.pixel_bits(found[0], 48, 64)
    top = heatmap.scale_top(bits)
    assert (np.asarray(pages.image("0/bits.png?quality=40")) == heatmap.colour(bits, top)).all()
    scale = pages.get("0/scale?quality=40").json
    assert scale == {"top": top, "mean": pytest.approx(float(bits.mean())), "largest": float(bits.max())}


def test_a_stored_file_has_no_map_of_bits(tmp_path):
    grain = np.random.default_rng(0).integers(0, 2, (40, 40))
    Image.fromarray(np.where(grain, 200, 40).astype(np.uint8)).save(tmp_path / "grain.png")
    pages = Pages(tmp_path / "grain.png")
    assert pages.result(0, "max_error=0")["fidelity"] == "stored"
    assert pages.get("0/scale?max_error=0").json == {"top": None}
    assert pages.get("0/bits.png?max_error=0").status_code == 404
    assert "stored PNG" in pages.get("0/ledger?max_error=0").text


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_the_original_is_shown_as_it_is(tmp_path, mode):
    image = photo().convert("RGB").convert(mode)
    image.save(tmp_path / "photo.png")
    shown = Pages(tmp_path / "photo.png").image("0/original.png")
    assert shown.tobytes() == image.convert("RGBA" if mode in ("LA", "RGBA") else "RGB").tobytes()


def test_pictures_stand_upright_and_keep_their_profile(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().save(tmp_path / "photo.png", exif=exif, icc_profile=b"profile")
    pages = Pages(tmp_path / "photo.png")
    for path in ("original.png", "decoded.png?max_error=0"):
        shown = pages.image(f"0/{path}")
        assert shown.tobytes() == photo().transpose(Image.Transpose.ROTATE_270).tobytes()
        assert shown.info["icc_profile"] == b"profile"
    assert pages.image("0/bits.png?max_error=0").size == (48, 64)
    assert pages.image("0/thumbnail.webp").size == (48, 64)


def test_a_file_alone_is_shown_as_it_is():
    path = GOLDEN / "lossless-rgb-bits-back.vlae"
    pages = Pages(path)
    found = pages.result()
    assert found["bytes"] == path.stat().st_size
    assert found["likeness"] == {}
    assert found["command"] is None
    assert pages.image("0/decoded.png").tobytes() == codec.decompress(path).tobytes()
    assert pages.get("0/original.png").status_code == 404
    assert "returned latents" in pages.get("0/ledger").text
    assert "the original is not known" in pages.result(0, "quality=60")["error"]


def test_a_file_with_its_original_is_compared(source, tmp_path):
    path = tmp_path / "photo.vlae"
    path.write_bytes(codec.compress(source, quality=30))
    pages = Pages(path, source)
    assert pages.result()["likeness"]["psnr"] == codec.measure(source, quality=30).psnr
    assert pages.result(0, "quality=60&effort=1")["bytes"] == len(codec.compress(source, quality=60, effort=1))
    photo(40, 40).save(tmp_path / "other.png")
    assert Pages(path, tmp_path / "other.png").result()["error"] == "original: expected 64x48 pixels, got 40x40"


def test_an_archive_shows_its_images(source, tmp_path):
    path = tmp_path / "two.vlar"
    photo(30, 40).save(tmp_path / "other.png")
    codec.create_archive(path, {"first": source, "second": tmp_path / "other.png"}, lossless=True)
    pages = Pages(path)
    assert "first" in pages.get().text
    assert "second" in pages.get().text
    asked = 0.0
    with pages.subjects[0].archive, codec.Archive(path) as archive:
        for number, name in reversed(list(enumerate(archive))):
            assert pages.image(f"{number}/decoded.png").tobytes() == archive[name].tobytes()
            found = pages.result(number)
            assert found["likeness"] == {}
            asked += 8 * found["bytes"]
    whole = codec.measure_archive(path)
    shared = sum(whole.rows[f"{name}_bits"] for name in ("index", "header", "rans", "checksum"))
    assert asked == pytest.approx(whole.file_bits - shared, abs=16)


def test_a_folder_shows_all_images_below_it(source, tmp_path):
    (tmp_path / "below").mkdir()
    photo(20, 30).save(tmp_path / "below" / "a.jpg")
    (tmp_path / "below" / "b.vlae").write_bytes((GOLDEN / "lossy-rgb.vlae").read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    pages = Pages(tmp_path)
    names = ["below/a.jpg", "below/b.vlae", "photo.png"]
    assert [Path(subject.name).relative_to(tmp_path).as_posix() for subject in pages.subjects] == names
    assert pages.left_out.endswith("left out 1 file that is no image (notes.txt)")
    for number in range(3):
        assert pages.image(f"{number}/thumbnail.webp").size[0] > 0
        assert pages.get(f"{number}/").status_code == 200
    assert pages.get("3/").status_code == 404


def damaged(path, kind):
    """Write a file that cannot be shown, and return a word of its message."""
    data = (GOLDEN / "lossy-rgb.vlae").read_bytes()
    buffer = io.BytesIO()
    photo().save(buffer, "PNG")
    contents = {
        "cut.png": (buffer.getvalue()[:2000], "truncated"),
        "text.png": (b"no image", "not an image"),
        "cut.vlae": (data[:-3], "checksum"),
        "flipped.vlae": (data[:40] + bytes([data[40] ^ 1]) + data[41:], "checksum"),
        "empty.png": (b"", "not an image"),
    }
    path.write_bytes(contents[kind][0])
    return contents[kind][1]


@pytest.mark.parametrize("kind", ["cut.png", "text.png", "cut.vlae", "flipped.vlae", "empty.png"])
def test_a_damaged_file_is_one_clear_message(tmp_path, kind):
    word = damaged(tmp_path / kind, kind)
    pages = Pages(tmp_path / kind)
    page = pages.get("0/")
    assert page.status_code == 422
    assert page.text.count('role="alert"') == 1
    assert word in page.text
    assert "Traceback" not in page.text
    assert word in pages.get("0/thumbnail.webp").json["error"]


def test_a_file_that_vanishes_is_one_clear_message(source):
    pages = Pages(source)
    source.unlink()
    assert "No such file" in pages.get("0/").text
    assert "No such file" in pages.result(0, "quality=60")["error"]


def test_names_are_escaped(tmp_path):
    name = "<img src=x onerror=alert(1)>&\"'.png"
    photo().save(tmp_path / name)
    photo().save(tmp_path / "other.png")
    pages = Pages(tmp_path)
    for path in ("", "0/", "1/"):
        assert "<img src=x" not in pages.get(path).text
    assert pages.result(0, "quality=60&effort=1")["command"].startswith("vlae compress '")


def test_nothing_is_written_to_disk(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    pages = Pages(source)
    for path in ("", "result", "original.png", "decoded.png", "bits.png", "ledger", "scale", "thumbnail.webp"):
        assert pages.get(f"0/{path}?quality=30").status_code == 200
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_work_that_nobody_waits_for_is_dropped():
    worker, began, ended = Worker(), [], []

    def work(report):
        began.append("slow")
        try:
            while True:
                report({"done": 0.5})
        finally:
            ended.append("slow")

    with closing(worker.lines(work)) as slow, closing(worker.lines(lambda report: began.append("never"))) as waiting:
        assert json.loads(next(slow)) == {"done": 0.5}
        assert next(waiting) == "\n"
    assert worker.do(lambda: "free") == "free"
    assert (began, ended) == (["slow"], ["slow"])


def test_an_unexpected_error_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(Worker().lines(lambda report: report({"done": 1 / 0})))


def test_ctrl_c_ends_the_command(source):
    with viewing([str(source)]) as address:
        assert address.startswith("http://127.0.0.1:")
        with urlopen(f"{address}0/") as page:  # noqa: S310
            assert "photo.png" in page.read().decode()
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(address, headers={"Host": "evil.example"}))  # noqa: S310
        refused.value.close()
        assert refused.value.code == 400
        busy = urlopen(f"{address}0/result?quality=60")  # noqa: S310
        busy.readline()
        busy.close()
        with urlopen(f"{address}0/original.png") as picture:  # noqa: S310
            assert picture.status == 200  # the closed connection did not end the server


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "expected a file or a folder, got standard input"),
        (["empty"], "empty: expected images, got none"),
        (["photo.png", "photo.png"], "original photo.png: expected only with a .vlae file"),
        (["none.png"], "none.png: No such file or directory"),
    ],
)
def test_wrong_use(source, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    assert cli.run(["view", *arguments, "--no-browser"]) == (1 if "No such" in message else 2)
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_without_the_extra_one_line_says_what_to_install(source, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "flask", None)
    assert cli.run(["view", str(source)]) == 1
    assert capfd.readouterr().err == "vlae: this needs flask: pip install 'vlae[view]'\n"


def test_images_of_16_bits_and_of_inks_are_shown_as_they_look(tmp_path):
    deep, inks = tmp_path / "deep.png", tmp_path / "inks.tif"
    samples = np.full((9, 7), 40000, dtype=np.uint16)
    Image.fromarray(samples).save(deep)
    Image.new("CMYK", (7, 9), (0, 255, 255, 0)).save(inks)
    for path, shown in ((deep, (156, 156, 156)), (inks, (255, 0, 0))):
        coded = path.with_suffix(".vlae")
        coded.write_bytes(codec.compress(path, lossless=True))
        pages = Pages(coded, path)
        found = pages.result()
        assert (found["likeness"]["exact"], found["fidelity"]) == (True, "lossless")
        for name in ("original.png", "decoded.png"):
            assert pages.image(f"0/{name}").getpixel((3, 3)) == shown
        assert pages.get("0/").status_code == 200
