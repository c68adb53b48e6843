"""The benchmark of archives: its images, and the table that its command prints."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

# The last one is found from the repository's root, so with `python -m pytest`.
for library in ("pillow_jxl", "matplotlib", "benchmarks"):
    pytest.importorskip(library)

from benchmarks import archives  # noqa: E402
from codec.commands import demo  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    np.savez(tmp_path / "small/binarized_mnist.npz", test=rng.integers(0, 2, (4, 784), dtype=np.uint8))
    for folder in archives.PHOTOS:
        (tmp_path / folder).mkdir()
        Image.fromarray(demo.draw()).save(tmp_path / folder / "photo.png")
    return tmp_path


def test_thumbnails_are_squares_of_all_photographs(data):
    found = archives.thumbnails(data, 6)
    assert {image.size for image in found.values()} == {(archives.THUMBNAIL_PX,) * 2}
    assert len({image.tobytes() for image in found.values()}) > 1


def test_the_command_prints_a_row_for_each_subject(data):
    arguments = ["--data", str(data), "--images", "3"]
    for subject in ("static digits, grey", "mixed"):
        arguments += ["--subject", subject]
    result = CliRunner().invoke(archives.main, arguments)
    assert result.exit_code == 0, result.output
    head, _, *rows = (line.strip("| ").split(" | ") for line in result.output.strip().splitlines())
    assert [row[0] for row in rows] == ["static digits, grey", "mixed"]
    assert [row[1] for row in rows] == ["3", "7"]
    for row in rows:
        assert len(row) == len(head)
        assert float(row[4]) == pytest.approx(float(row[2]) + float(row[3]), abs=0.02)
