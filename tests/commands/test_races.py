"""Several processes at once, and files that appear during the work: nothing is replaced without permission."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec import api
from codec.archive import reader, writer
from codec.commands import cli, warm_up

ROOT = Path(__file__).parents[2]
ROUNDS = 4

RACER = """
import sys
from codec.archive import writer
from codec.commands import cli, warm_up
warm_up.prepare(print, for_lossy=True)
print("ready", flush=True)
for line in sys.stdin:
    print(cli.run(line.split()), flush=True)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder the working one, with two images whose files would have one name."""
    warm_up.prepare(lambda line: None, for_lossy=True)
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "a.bmp")):
        rows = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(rows).save(name)
    return tmp_path


@pytest.fixture
def racers():
    """Start two processes that wait for lines, which they do at the same time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", RACER], env=environment, **pipes) for _ in range(2)]  # noqa: S603
    for process in started:
        assert process.stdout.readline() == "ready\n"
    yield started
    for process in started:
        process.communicate()


def race(racers, *lines):
    for process, line in zip(racers, lines, strict=True):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    return [int(process.stdout.readline()) for process in racers]


@pytest.mark.slow
def test_of_two_at_once_one_succeeds_and_one_is_refused(tmp_path, racers):
    for _ in range(ROUNDS):
        codes = race(racers, "compress a.png -q", "compress a.bmp -q")
        assert sorted(codes) == [0, 2]
        assert Path("a.vlae").read_bytes() == codec.compress(("a.png", "a.bmp")[codes.index(0)])
        Path("a.vlae").unlink()

        codes = race(racers, "archive create x.vlar a.png -q", "archive create x.vlar a.bmp -q")
        assert sorted(codes) == [0, 2]
        with codec.Archive("x.vlar") as opened:
            assert list(opened) == [("a.png", "a.bmp")[codes.index(0)]]
            opened.verify()

        codes = race(racers, "archive extract x.vlar --to out -q", "archive extract x.vlar --to out -q")
        assert sorted(codes) == [0, 2]
        shutil.rmtree("out")
        Path("x.vlar").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bmp", "a.png"]


@pytest.mark.parametrize(
    ("line", "target", "module", "work"),
    [
        ("compress a.png -o new", "new", api, "compress"),
        ("decompress a.vlae -o new.png", "new.png", api, "decoded"),
        ("measure a.png --html new.html", "new.html", api, "compress"),
        ("archive create new.vlar a.png --processes 1", "new.vlar", writer, "encode_block"),
        ("archive extract a.vlar --to out --processes 1", "out/a.png", reader, "open_block"),
    ],
)
def test_what_appears_during_the_work_is_kept(tmp_path, monkeypatch, capfd, line, target, module, work):
    Path("a.vlae").write_bytes(codec.compress("a.png"))
    codec.create_archive("a.vlar", {"a": "a.png"})
    Path("out").mkdir()
    before = sorted(tmp_path.rglob("*"))
    do = getattr(module, work)

    def meanwhile(*arguments, **options):
        Path(target).write_text("precious")
        return do(*arguments, **options)

    monkeypatch.setattr(module, work, meanwhile)
    assert cli.run(line.split()) == 2
    assert f"vlae: output {target}: exists, expected --force\n" in capfd.readouterr().err
    assert Path(target).read_text() == "precious"
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / target])
    assert cli.run([*line.split(), "--force"]) == 0
    assert Path(target).read_bytes() != b"precious"


def test_in_python_an_archive_is_replaced_unless_that_is_forbidden():
    for image in ("a.png", "a.bmp"):
        codec.create_archive("x.vlar", {image: image})
    with pytest.raises(ValueError, match="exists, expected --force"):
        codec.create_archive("x.vlar", {"new": "a.png"}, force=False)
    with codec.Archive("x.vlar") as opened:
        assert list(opened) == ["a.bmp"]
    file = io.BytesIO()
    codec.create_archive(file, {"a.bmp": "a.bmp"})
    assert file.getvalue() == Path("x.vlar").read_bytes()
