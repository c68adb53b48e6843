"""The page of crops: the search for files of equal length, the sheets, and that the page is that of the module."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

# The last one is found from the repository's root, so with `python -m pytest`.
for library in ("pytorch_msssim", "scipy", "ssimulacra2", "benchmarks"):
    pytest.importorskip(library)

from benchmarks import crops  # noqa: E402
from benchmarks.crop_subjects import CROP_PX, FRAME_PX, SUBJECTS, Subject, framed, line_art  # noqa: E402
from benchmarks.quality import SSIMULACRA2_SIDE_PX  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "CROPS.md"
FOLDER_BYTES = 3_000_000


def growing(quality):
    """Stand in for a codec whose files grow by 10 bytes a quality."""
    return bytes(100 + 10 * quality)


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (500, 500),
        (504, 500),
        (506, 510),  # 0.8 % above is nearer
        (108, 110),  # 1.9 % above is allowed
        (107, 100),  # 2.8 % above is not, though it is nearer
        (1100, 1100),
        (9999, 1100),  # the best file is shorter
        (90, 100),  # no file is so short
    ],
)
def test_the_nearest_length_that_is_hardly_above(size, length):
    quality, file = crops.nearest(growing, 0, 100, size)
    assert len(file) == length
    assert file == growing(quality)


def test_the_least_of_the_qualities_with_one_file_and_few_are_tried():
    tried = []

    def steps(quality):
        tried.append(quality)
        return bytes(100 + 100 * (quality // 2))

    assert crops.nearest(steps, 0, 100, 1105)[0] == 20
    assert len(tried) == len(set(tried)) < 20


def test_a_step_back_is_seen():
    lengths = {50: 600, 51: 640, 52: 603, 53: 660}
    assert crops.nearest(lambda quality: bytes(lengths.get(quality, 100 + 10 * quality)), 0, 100, 603)[0] == 52


def shown(colour, codec="AVIF"):
    return crops.Shown(codec, "quality 7", 1234, 0.1512, 30.123, 0.98765, 61.26, Image.new("RGB", (90, 70), colour))


def decoded(codec):
    return replace(shown("red", codec), image=line_art().rotate(180))


def test_a_sheet_shows_the_box_enlarged_and_the_original_in_each_row():
    original = Image.new("RGB", (90, 70), "white")
    original.putpixel((30, 20), (1, 2, 3))
    rows = [[shown("red"), shown("lime")], [shown("blue"), shown("black")]]
    sheet = np.asarray(crops.sheet(original, (30, 20, 70, 50), rows))
    across, down = 80 + crops.MARGIN, 60 + crops.LABEL + crops.MARGIN
    assert sheet.shape == (2 * down + crops.MARGIN, 3 * across + crops.MARGIN, 3)
    for row, colours in enumerate([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (0, 0, 0)]]):
        top = crops.MARGIN + row * down + crops.LABEL
        assert (sheet[top : top + 2, crops.MARGIN : crops.MARGIN + 2] == (1, 2, 3)).all()
        assert (sheet[top : top + 2, crops.MARGIN + 2] == 255).all()
        for column, colour in enumerate(colours, 1):
            left = crops.MARGIN + column * across
            assert (sheet[top : top + 60, left : left + 80] == colour).all()
    assert (sheet[crops.MARGIN : crops.MARGIN + crops.LABEL] < 128).any()


def test_figures_of_labels_and_tables():
    assert crops.label(shown("red")) == ("AVIF: 1,234 bytes, 0.151 bpp\n30.1 dB, MS-SSIM 0.9877, SSIMULACRA2 61")
    assert "| AVIF | quality 7 | 1,234 | 0.151 | 30.12 | 0.9877 | 61.3 |" in crops.table([[shown("red")]])
    assert "| **vlae** | quality 7 |" in crops.table([[shown("red", crops.OURS)]])


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_subjects(subject):
    assert min(subject.corner) >= 0
    assert "kodak" not in subject.source
    assert len(subject.remarks) == len(crops.RATES_BPP)
    assert all(remark.endswith(".") for remark in subject.remarks)


def test_line_art_is_the_same_each_time_and_large_enough():
    (subject,) = (subject for subject in SUBJECTS if subject.name == "line-art")
    image = subject.load(ROOT)
    assert image.tobytes() == line_art().tobytes()
    assert min(image.size) > SSIMULACRA2_SIDE_PX
    levels, counts = np.unique(np.asarray(image.crop(subject.box)), return_counts=True)
    assert (levels[0], levels[-1]) == (0, 255)
    assert counts[0] < counts[-1]


def test_a_frame_is_white_and_keeps_the_photograph():
    photo = Image.new("RGB", (90, 70), "red")
    image = framed(photo)
    assert image.size == (90 + 2 * FRAME_PX, 70 + 2 * FRAME_PX)
    assert image.crop((FRAME_PX, FRAME_PX, FRAME_PX + 90, FRAME_PX + 70)).tobytes() == photo.tobytes()
    assert np.all(np.asarray(image)[:FRAME_PX] == 255)
    assert np.all(np.asarray(image)[:, FRAME_PX + 90 :] == 255)


def test_the_page_is_that_of_the_module():
    text = PAGE.read_text(encoding="utf-8")
    figures = crops.kept(text)
    assert text == crops.page(figures)
    for rows in figures.values():
        assert rows.count("| **vlae** |") == len(crops.RATES_BPP)
    pictures = {PAGE.parent / crops.sheet_name(subject) for subject in SUBJECTS}
    assert pictures == set((PAGE.parent / "crops").iterdir())
    assert sum(file.stat().st_size for file in pictures) < FOLDER_BYTES


def test_the_command(tmp_path, monkeypatch):
    subject = Subject("Small lines", "drawn", lambda folder: line_art(), (10, 20), ("Low.", "High."))
    monkeypatch.setattr(crops, "SUBJECTS", (subject,))
    made = {rate: [decoded(crops.OURS), decoded("AVIF")] for rate in crops.RATES_BPP}
    monkeypatch.setattr(crops, "coded", lambda image, rate: iter(made[rate]))
    done = CliRunner().invoke(crops.main, ["--data", str(tmp_path), "--out", str(tmp_path / "docs")])
    assert done.exit_code == 0, done.output
    table = crops.table(list(made.values()))
    assert table in done.stdout
    text = (tmp_path / "docs" / "CROPS.md").read_text(encoding="utf-8")
    assert table in text
    assert "- 0.15 bpp: Low.\n- 0.5 bpp: High.\n" in text
    assert f"drawn; the box is {CROP_PX}x{CROP_PX} pixels at (10, 20)." in text
    with Image.open(tmp_path / "docs" / "crops" / "small-lines.webp") as picture:
        drawn = np.asarray(picture.convert("RGB"))
    assert (drawn == np.asarray(crops.sheet(line_art(), subject.box, list(made.values())))).all()

    # Without images the remarks are written anew. The sheet and the figures stay.
    monkeypatch.setattr(crops, "SUBJECTS", (replace(subject, remarks=("Lower.", "Higher.")),))
    (tmp_path / "docs" / "crops" / "small-lines.webp").write_bytes(b"kept")
    again = CliRunner().invoke(crops.main, ["--out", str(tmp_path / "docs")])
    assert again.exit_code == 0, again.output
    changed = text.replace("bpp: Low.", "bpp: Lower.").replace("bpp: High.", "bpp: Higher.")
    assert (tmp_path / "docs" / "CROPS.md").read_text(encoding="utf-8") == changed != text
    assert (tmp_path / "docs" / "crops" / "small-lines.webp").read_bytes() == b"kept"


def test_files_of_one_image_have_like_lengths():
    pytest.importorskip("pillow_jxl")
    y, x = np.mgrid[:240, :240]
    waves = np.stack([128 + 90 * np.sin(x / 19 + y / k) for k in (11, 17, 29)], axis=-1)
    grain = np.random.default_rng(3).normal(0, 12, waves.shape)
    image = Image.fromarray(np.clip(waves + grain, 0, 255).astype(np.uint8))
    ours, *rivals = crops.coded(image, 1.0)
    assert ours.codec == crops.OURS
    assert ours.setting.startswith("quality ")
    assert ours.bpp == 8 * ours.bytes / (image.width * image.height) <= 1
    assert [file.codec for file in rivals] == ["AVIF 4:4:4 speed 6", "JPEG XL effort 7"]
    for file in rivals:
        assert 0.85 * ours.bytes < file.bytes <= 1.02 * ours.bytes
        assert file.image.size == image.size
        assert file.ssimulacra2 < 100
