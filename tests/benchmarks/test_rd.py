"""The comparison of lossy codecs: its measures, and the command from images to tables and plots."""

import json
import math
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

# The last one is found from the repository's root, so with `python -m pytest`.
for library in ("matplotlib", "pytorch_msssim", "scipy", "ssimulacra2", "benchmarks"):
    pytest.importorskip(library)

import codec  # noqa: E402
from benchmarks import rd  # noqa: E402
from benchmarks.lossy import CODECS  # noqa: E402
from benchmarks.quality import SSIMULACRA2_SIDE_PX, bd_rate, ms_ssim, ms_ssim_db, ssimulacra2  # noqa: E402
from codec.commands.demo import PICTURE  # noqa: E402
from codec.images.metrics import psnr  # noqa: E402

ALL = (1e-3, 1e3)
"""A range that contains all rates."""
CURVE = [(0.1, 27.0), (0.25, 30.1), (0.5, 33.0), (1.0, 36.4), (2.0, 40.2), (3.0, 43.0)]
OTHER = [(0.08, 26.0), (0.3, 31.7), (0.7, 35.0), (1.6, 39.9), (2.5, 42.0)]
VTM = [
    (0.0482, 26.145),
    (0.1125, 28.493),
    (0.2458, 31.200),
    (0.4905, 34.262),
    (0.8748, 37.420),
    (1.4308, 40.424),
    (2.3246, 43.506),
    (3.6326, 46.592),
]
MEAN_SCALE = [
    (0.1239, 27.699),
    (0.1980, 29.359),
    (0.3072, 31.129),
    (0.4606, 32.951),
    (0.6617, 34.968),
    (0.9144, 36.911),
    (1.2342, 38.838),
    (1.6191, 40.633),
]
BJONTEGAARD = 21.28654816562654
"""MEAN_SCALE against VTM in percent, by the package bjontegaard 1.3.0 (pchip); both are CompressAI's for Kodak."""

VSZIP = {5: -63.06, 20: 13.60, 50: 59.76, 80: 78.77, 95: 88.57}
"""SSIMULACRA2 of JPEG 4:2:0 files of `photo` by quality, by the package vapoursynth-vszip 23.1.0."""


def scaled(curve, factor):
    return [(factor * rate, quality) for rate, quality in curve]


def picture(seed, width, height):
    """Draw waves with grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 80 * np.sin(x / rng.uniform(5, 30) + y / rng.uniform(5, 30)) for _ in range(3)]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def test_a_curve_saves_nothing_against_itself():
    assert bd_rate(CURVE, CURVE, *ALL) == 0
    assert bd_rate(CURVE, CURVE, 0.15, 2.0) == 0


@pytest.mark.parametrize("limits", [ALL, (0.15, 2.0), (0.3, 0.4)])
def test_a_fifth_less_rate_everywhere_is_minus_20_percent(limits):
    assert bd_rate(CURVE, scaled(CURVE, 0.8), *limits) == pytest.approx(-20, abs=1e-6)


def test_by_hand():
    # Two points make a line. log2 of the rate runs from -2 to 0 and from -2 to -1 over the same 10 dB:
    # the difference runs from 0 to -1, its mean is -1/2.
    reference, tested = [(0.25, 30), (1.0, 40)], [(0.25, 30), (0.5, 40)]
    assert bd_rate(reference, tested, *ALL) == pytest.approx(100 * (2**-0.5 - 1), abs=1e-9)
    # Up to 0.5 bpp the reference reaches 35 dB, where the difference is -1/2.
    assert bd_rate(reference, tested, 0.1, 0.5) == pytest.approx(100 * (2**-0.25 - 1), abs=1e-9)
    # From 2**-1.5 bpp on, the reference has 32.5 dB or more, and the tested 35 dB: the mean of -1/2 and -1.
    assert bd_rate(reference, tested, 2**-1.5, 9.0) == pytest.approx(100 * (2**-0.75 - 1), abs=1e-9)


def test_as_another_implementation():
    assert bd_rate(VTM, MEAN_SCALE, *ALL) == pytest.approx(BJONTEGAARD, abs=1e-6)


@pytest.mark.parametrize("limits", [ALL, (0.15, 2.0)])
def test_there_and_back(limits):
    there, back = bd_rate(CURVE, OTHER, *limits), bd_rate(OTHER, CURVE, *limits)
    assert there < -5
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-9)


def test_points_in_any_order_and_twice():
    assert bd_rate(CURVE[::-1], [OTHER[3], *OTHER], *ALL) == bd_rate(CURVE, OTHER, *ALL)


@pytest.mark.parametrize(
    ("tested", "limits"),
    [
        ([(0.2, 10.0), (1.0, 20.0)], ALL),  # other qualities
        (CURVE, (3.5, 9.0)),  # rates that neither reaches
        (scaled(CURVE, 10), (0.1, 0.9)),  # rates that the tested does not reach
        ([(0.2, 34.0), (1.0, 43.0)], (0.1, 0.3)),  # qualities that the reference reaches at higher rates
    ],
)
def test_curves_without_a_common_quality(tested, limits):
    with pytest.raises(ValueError, match=f"no quality that both reach between {limits[0]} and {limits[1]} bpp"):
        bd_rate(CURVE, tested, *limits)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ([], "at least 2 different points, got 0"),
        ([(0.5, 30.0)], "at least 2 different points, got 1"),
        ([(0.5, 30.0), (0.5, 30.0)], "at least 2 different points, got 1"),
        ([(0.0, 30.0), (0.5, 31.0)], "rates above 0"),
        ([(0.2, 30.0), (0.5, math.inf)], "finite"),
        ([(0.2, 30.0), (0.5, 29.0), (0.7, 31.0)], r"got 30.000 at 0.200 bpp, then 29.000 at 0.500 bpp"),
        ([(0.2, 30.0), (0.5, 30.0)], "quality to rise with rate"),
    ],
)
def test_what_is_no_curve(curve, message):
    for pair in ((CURVE, curve), (curve, CURVE)):
        with pytest.raises(ValueError, match=message):
            bd_rate(*pair, *ALL)


@pytest.mark.parametrize("limits", [(2.0, 0.15), (0.5, 0.5), (0.0, 1.0)])
def test_rates_that_are_no_range(limits):
    with pytest.raises(ValueError, match="expected 0 < low < high"):
        bd_rate(CURVE, OTHER, *limits)


def test_identical_images():
    a = picture(0, 176, 176)
    assert ms_ssim(a, a) == 1
    assert ms_ssim_db(1.0) == math.inf


def test_ms_ssim():
    a = picture(0, 180, 176)
    grain = np.random.default_rng(1).normal(0, 1, a.shape)
    noisy = [ms_ssim(a, np.clip(a + s * grain, 0, 255).astype(np.uint8)) for s in (2, 10, 40)]
    assert 1 > noisy[0] > noisy[1] > noisy[2] > 0
    assert ms_ssim_db(0.99) == pytest.approx(20)


def test_a_stretched_or_moved_scale_of_quality_changes_nothing():
    moved = [[(rate, 3 * quality - 120) for rate, quality in curve] for curve in (CURVE, OTHER)]
    assert bd_rate(*moved, 0.15, 2.0) == pytest.approx(bd_rate(CURVE, OTHER, 0.15, 2.0), abs=1e-9)


def jpeg(samples, quality):
    buffer = BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(buffer))


def test_ssimulacra2():
    a = picture(0, 240, 226)
    assert ssimulacra2(a, a) == 100
    grain = np.random.default_rng(1).normal(0, 1, a.shape)
    noisy = [ssimulacra2(a, np.clip(a + s * grain, 0, 255).astype(np.uint8)) for s in (1, 3, 10, 40)]
    assert 100 > noisy[0] > noisy[1] > noisy[2] > noisy[3]
    assert ssimulacra2(a, jpeg(a, 50)) == ssimulacra2(a.copy(), jpeg(a, 50))
    # An edge that is gained weighs otherwise than one that is lost.
    assert ssimulacra2(a, jpeg(a, 20)) != ssimulacra2(jpeg(a, 20), a)


def photo():
    """Return the picture of ``vlae demo``, enlarged without smoothing, so that it keeps its edges."""
    with Image.open(PICTURE) as small:
        return np.asarray(small.convert("RGB").resize((480, 360), Image.Resampling.NEAREST))


def test_ssimulacra2_rises_with_the_quality_of_jpeg():
    a = photo()
    scores = [ssimulacra2(a, jpeg(a, quality)) for quality in (5, 10, 20, 35, 50, 65, 80, 90, 95)]
    assert scores == sorted(set(scores))


@pytest.mark.parametrize(("quality", "points"), VSZIP.items())
def test_ssimulacra2_as_another_implementation(quality, points):
    a = photo()
    # They differ in what lies beyond the image's borders.
    assert ssimulacra2(a, jpeg(a, quality)) == pytest.approx(points, abs=4.5)


@pytest.mark.parametrize("shape", [(SSIMULACRA2_SIDE_PX, 300, 3), (300, SSIMULACRA2_SIDE_PX, 3)])
def test_an_image_too_small_for_all_scales_has_no_ssimulacra2(shape):
    a = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=f"over 224 pixels for SSIMULACRA2, got {shape[1]}x{shape[0]}"):
        ssimulacra2(a, a)
    larger = np.zeros([side + 1 for side in shape[:2]] + [3], np.uint8)
    assert ssimulacra2(larger, larger) == 100


def coded(psnr, similarity=0.9, bpp=1.0, points=50.0):
    return rd.Coded("a.png", 100, bpp, psnr, similarity, points)


def test_a_point_is_the_mean_over_images():
    point = rd.Point("jpeg", 50, [coded(30, 0.9, 0.5, -20), coded(40, 0.99, 1.5, 60)])
    assert (point.bpp, point.psnr_db, point.ssimulacra2, point.exact) == (1, 35, 20, 0)
    assert point.ms_ssim_db == pytest.approx(-10 * math.log10(0.055))


def test_an_exact_image_makes_the_mean_psnr_infinite_and_leaves_it_out():
    points = [
        rd.Point("jpeg", 50, [coded(30), coded(34)]),
        rd.Point("jpeg", 99, [coded(50, 0.99), coded(math.inf, 1.0)]),
    ]
    result = rd.Result("", points)
    assert points[1].psnr_db == math.inf
    assert points[1].exact == 1
    assert result.curve("jpeg", "psnr") == [(1, 32)]
    assert [q for _, q in result.curve("jpeg", "ms_ssim")] == pytest.approx([10, -10 * math.log10(0.005)])
    facts = result.summary()["points"][1]
    assert facts["psnr_db"] is None
    assert [image["psnr_db"] for image in facts["images"]] == [50, None]
    assert "| 99 | 1.000 | inf |" in rd.curve_table(result)


@pytest.mark.parametrize("name", [name for name in CODECS if name != rd.OURS])
def test_rivals_write_files_that_grow_with_quality(name):
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    image = Image.fromarray(picture(0, 240, 226))
    qualities = CODECS[name].qualities
    low, high = (rd.measure("a.png", image, name, quality) for quality in (qualities[0], qualities[-1]))
    assert low.bytes < high.bytes
    assert low.psnr_db < high.psnr_db < math.inf
    assert low.ms_ssim < high.ms_ssim < 1
    assert low.ssimulacra2 < high.ssimulacra2 < 100
    assert list(qualities) == sorted(set(qualities))


def compress(image, *, quality):
    """Stand in for our codec: samples on a coarser grid, as PNG; exact at the best quality."""
    buffer = BytesIO()
    Image.fromarray(np.asarray(image) // (101 - quality) * (101 - quality)).save(buffer, "PNG")
    return buffer.getvalue()


def decompress(data):
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(codec, "compress", compress)
    monkeypatch.setattr(codec, "decompress", decompress)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "some photos"
    path.mkdir()
    Image.fromarray(picture(1, 226, 250)).save(path / "a.png")
    Image.fromarray(picture(2, 258, 226)).save(path / "b.png")
    return path


def run(*arguments):
    return CliRunner().invoke(rd.main, list(map(str, arguments)))


@pytest.mark.usefixtures("stub")
def test_rates_count_whole_files():
    image = Image.fromarray(picture(3, 227, 240))
    found = rd.measure("a.png", image, rd.OURS, 95)
    assert found.bytes == len(compress(image, quality=95))
    assert found.bpp == 8 * found.bytes / (227 * 240)
    assert found.psnr_db == psnr(np.asarray(image), np.asarray(image) // 6 * 6)


def test_what_comes_back_as_another_image_is_no_result(monkeypatch):
    monkeypatch.setattr(codec, "compress", lambda image, quality: compress(image.convert("L"), quality=quality))
    monkeypatch.setattr(codec, "decompress", decompress)
    with pytest.raises(RuntimeError, match=r"^a.png: vlae gave back L \(176, 180\) for RGB"):
        rd.measure("a.png", Image.fromarray(picture(3, 176, 180)), rd.OURS, 95)


@pytest.mark.usefixtures("stub")
def test_the_command(folder, tmp_path):
    outputs = ["--json", tmp_path / "rd.json", "--markdown", tmp_path / "rd.md", "--plots", tmp_path / "new" / "plots"]
    done = run(folder, "--codec", "webp", "--codec", "vlae", "--codec", "jpeg", *outputs, "--published")
    assert done.exit_code == 0, done.output
    command = "python -m benchmarks.rd 'some photos' --codec webp --codec vlae --codec jpeg"

    facts = json.loads((tmp_path / "rd.json").read_text(encoding="utf-8"))
    assert facts["command"] == command
    assert [p["codec"] for p in facts["points"]] == ["webp"] * 11 + ["vlae"] * 11 + ["jpeg"] * 11
    for point in facts["points"]:
        assert [image["file"] for image in point["images"]] == ["a.png", "b.png"]
        for key in ("bpp", "ms_ssim", "ssimulacra2"):
            assert point[key] == pytest.approx(np.mean([image[key] for image in point["images"]]))
        assert point["images"][0]["bpp"] == 8 * point["images"][0]["bytes"] / (226 * 250)
    best = next(p for p in facts["points"] if (p["codec"], p["quality"]) == ("vlae", 100))
    assert (best["exact"], best["psnr_db"], best["ms_ssim_db"], best["ssimulacra2"]) == (2, None, None, 100)
    assert facts["bd_rate_percent"]["psnr"]["jpeg"].keys() == {"webp"}
    assert facts["bd_rate_percent"]["ms_ssim"]["vlae"].keys() == {"webp", "jpeg"}

    text = (tmp_path / "rd.md").read_text(encoding="utf-8")
    assert text.startswith(f"`{command}`\n")
    assert text in done.stdout
    assert "means over the images (2)" in text
    assert f"| **vlae** | 100 | {best['bpp']:.3f} | inf | 1.0000 | inf | 100.0 | 2/2 |" in text
    rate = facts["bd_rate_percent"]["psnr"]["jpeg"]["webp"]
    assert f"| JPEG 4:2:0 optimised | {rate:+.1f} % |  |" in text
    assert rate == pytest.approx(
        bd_rate(
            *([(p["bpp"], p["psnr_db"]) for p in facts["points"] if p["codec"] == c] for c in ("webp", "jpeg")),
            *facts["bd_range_bpp"],
        )
    )

    plots = tmp_path / "new" / "plots"
    drawn = {f"{metric}.{kind}" for metric in ("psnr", "ms_ssim", "ssimulacra2") for kind in ("png", "svg")}
    assert {file.name for file in plots.iterdir()} == drawn
    for name in ("psnr.png", "ms_ssim.png", "ssimulacra2.png"):
        with Image.open(plots / name) as image:
            image.load()
    assert "CompressAI" in (plots / "psnr.svg").read_text(encoding="utf-8")
    assert "CompressAI" not in (plots / "ms_ssim.svg").read_text(encoding="utf-8")


def test_a_missing_bd_rate_is_explained(capsys):
    result = rd.Result("", [rd.Point("jpeg", 50, [coded(30)]), rd.Point("webp", 50, [coded(30)])])
    assert result.bd_rates["psnr"] == {"jpeg": {"webp": None}, "webp": {"jpeg": None}}
    assert "no BD-rate of jpeg against webp, PSNR: curve: expected at least 2" in capsys.readouterr().err
    assert "| JPEG 4:2:0 optimised |  | none |" in rd.bd_table(result, "psnr")


def test_a_limit_takes_the_first_images(folder):
    (point, *_) = rd.measure_folder(folder, ["jpeg"], 1)
    assert [image.file for image in point.images] == ["a.png"]
    assert rd.command_line(folder, list(CODECS), 1) == "python -m benchmarks.rd 'some photos' --limit 1"


def test_what_cannot_be_measured_is_left_out_in_one_line_each(folder):
    Image.fromarray(picture(1, 300, 224)).save(folder / "low.png")
    Image.fromarray(picture(1, 176, 176)).convert("RGBA").save(folder / "alpha.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:5000])
    (folder / "text.jpg").write_text("no image")
    Image.fromarray(picture(1, 226, 226)[..., 0]).save(folder / "gray.png")
    done = run(folder, "--codec", "jpeg")
    assert done.exit_code == 0, done.output
    assert "means over the images (3)" in done.stdout
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["left out", name] for name in ("alpha.png", "broken.png", "low.png", "text.jpg")
    ]
    assert lines[0].endswith("expected an image without transparency")
    assert lines[2].endswith("expected sides over 224 pixels for SSIMULACRA2, got 300x224")


def test_bad_input_is_one_clear_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, code, message in (
        ([tmp_path / "empty"], 1, "no image found that can be measured"),
        ([tmp_path / "missing"], 2, "does not exist"),
        ([folder, "--codec", "gif"], 2, "'gif' is not one of"),
        ([folder, "--limit", "0"], 2, "not in the range"),
        ([folder, "--published"], 2, "--published needs --plots"),
        ([folder, "--codec", "jpeg", "--limit", "1", "--json", tmp_path / "missing" / "rd.json"], 1, "No such file"),
    ):
        done = run(*arguments)
        assert done.exit_code == code, done.output
        last = done.stderr.splitlines()[-1]
        assert last.startswith("Error: ")
        assert message in last


def test_a_file_that_may_not_be_opened_is_one_clear_line(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("benchmarks.common.loading.load_image", refuse)
    done = run(folder, "--codec", "jpeg")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == f"Error: [Errno 13] Permission denied: '{folder / 'a.png'}'"
