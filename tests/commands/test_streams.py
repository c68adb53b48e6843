"""Streams: standard input and output of archives, pipes and devices, and streams that are closed or full."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import codec
from codec.commands import cli, warm_up
from codec.image_files import writing

ROOT = Path(__file__).parents[2]

posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder the working one, with an image that needs no model and its file."""
    for lossy in (False, True):
        warm_up.prepare(lambda line: None, for_lossy=lossy)
    monkeypatch.chdir(tmp_path)
    Image.new("1", (9, 5), 1).save("bits.png")
    Path("bits.vlae").write_bytes(codec.compress("bits.png", lossless=True))
    return tmp_path


def give(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_archives_go_through_standard_streams(tmp_path, capfdbinary, monkeypatch):
    assert cli.run(["archive", "create", "-", "bits.png", "--lossless"]) == 0
    archive, err = capfdbinary.readouterr()
    assert err == b"-: 1 images more\n"
    assert archive[:4] == b"VLAR"
    give(monkeypatch, archive)
    assert cli.run(["archive", "list", "-"]) == 0
    assert capfdbinary.readouterr().out.split()[-1] == b"bits.png"
    give(monkeypatch, archive)
    assert cli.run(["archive", "verify", "-"]) == 0
    give(monkeypatch, archive)
    assert cli.run(["archive", "extract", "-", "--to", "out"]) == 0
    assert Path("out/bits.png").exists()
    assert b"- -> out: 1 images" in capfdbinary.readouterr().err
    give(monkeypatch, archive)
    assert cli.run(["measure", "-", "--json"]) == 0
    assert capfdbinary.readouterr().out.startswith(b'{"file": "-", "images": 1')
    give(monkeypatch, Path("bits.png").read_bytes())
    assert cli.run(["measure", "-", "--lossless", "--json"]) == 0
    assert capfdbinary.readouterr().out.startswith(b'{"file": "-", "width": 9')
    give(monkeypatch, archive[:-1])
    assert cli.run(["archive", "list", "-"]) == 3
    for line in (["archive", "add", "-", "bits.png"], ["archive", "create", "a.vlar", "-"]):
        capfdbinary.readouterr()
        assert cli.run(line) == 2
        assert capfdbinary.readouterr().err.count(b"\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bits.png", "bits.vlae", "out"]


def test_a_folder_that_is_called_as_standard_input_is_another_thing(capfdbinary, monkeypatch):
    Path("-").mkdir()
    give(monkeypatch, Path("bits.vlae").read_bytes())
    assert cli.run(["info", "-"]) == 0
    assert b"stored" in capfdbinary.readouterr().out


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_names_that_are_no_files_are_refused_in_one_line(name, tmp_path, capfd):
    before = sorted(tmp_path.iterdir())
    for line in (
        ["compress", name],
        ["decompress", name],
        ["info", name],
        ["compress", "bits.png", "-o", name],
        ["decompress", "bits.vlae", "-o", name],
        ["measure", "bits.png", "--html", name],
        ["archive", "create", name, "bits.png"],
        ["archive", "add", name, "bits.png"],
        ["archive", "list", name],
        ["archive", "extract", name],
        ["archive", "verify", name],
        *([["measure", name], ["archive", "create", "a.vlar", name]] if name != "." else []),
    ):
        assert cli.run(line) == 2, line
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("vlae: ")
        assert err.count("\n") == 1
        assert "is a folder" in err or "expected" in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_without_images_is_refused(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    assert cli.run(["measure", "empty"]) == 2
    assert "expected images, got none" in capfd.readouterr().err


def test_an_archive_does_not_replace_its_source(capfd):
    before = Path("bits.png").read_bytes()
    assert cli.run(["archive", "create", "bits.png", "bits.png", "--force"]) == 2
    assert "is the source" in capfd.readouterr().err
    assert Path("bits.png").read_bytes() == before


@pytest.mark.slow
@posix
def test_pipes_and_open_files_are_written_into():
    png = writing.image_bytes(codec.decompress(Path("bits.vlae").read_bytes()))
    archive = "$V archive create pipe bits.png --lossless"
    check(
        (
            "echo former > log; $V decompress bits.vlae -q -o /dev/stdout --force >> log; cat log",
            0,
            "",
            b"former\n" + png,
        ),
        ("$V decompress bits.vlae -q -o /dev/stdout | cat", 0, "", png),
        (
            "$V decompress bits.vlae -q -o >(cat > x; : > end); until test -e end; do sleep 0.05; done; cat x",
            0,
            "",
            png,
        ),
        ("cat bits.vlae | $V decompress /dev/stdin -q", 0, "", png),
        ("$V decompress <(cat bits.vlae) -q -o /dev/fd/1", 0, "", png),
        (f"mkfifo pipe; cat pipe > y & {archive} -q; wait; test -p pipe && head -c 4 y", 0, "", b"VLAR"),
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_closed_and_full_streams(tmp_path):
    full, closed = "No space left on device", "Bad file descriptor"
    check(
        ("$V compress bits.png -q -o a.vlae 2>&-; code=$?; cmp a.vlae bits.vlae; exit $code", 0, "", b""),
        ("$V info bits.vlae 2>&- | grep -c stored", 0, "", b"1\n"),
        ("$V info bits.vlae 2>/dev/full | grep -c stored", 0, "", b"1\n"),
        ("$V decompress bits.vlae -o b.png 2>/dev/full && test -s b.png", 0, "", b""),
        ("$V compress none.png 2>/dev/full", 1, "", b""),
        ("$V compress - <&-", 1, "vlae: standard input: is closed\n", b""),
        ("$V archive list - <&-", 1, "vlae: standard input: is closed\n", b""),
        ("$V decompress bits.vlae -o - >&-", 1, f"vlae: standard output: {closed}\n", b""),
        ("$V archive create - bits.png >&-", 1, f"vlae: standard output: {closed}\n", b""),
        ("$V decompress bits.vlae -o - >/dev/full", 1, f"vlae: standard output: {full}\n", b""),
        ("$V info bits.vlae >&-", 1, f"vlae: {closed}\n", b""),
        ("$V info bits.vlae >/dev/full", 1, f"vlae: {full}\n", b""),
        ("set -o pipefail; (sleep 0.3; exec $V info bits.vlae) | true", 141, "", b""),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vlae", "b.png", "bits.png", "bits.vlae"]


def check(*lines):
    """Run lines of a shell, in which V is the command, and compare exit codes and what is said and written."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "V": f"{sys.executable} -m codec"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(["bash", "-c", line[0]], env=environment, **pipes) for line in lines]  # noqa: S603, S607
    for process, (line, code, said, written) in zip(started, lines, strict=True):
        out, err = process.communicate()
        assert (process.returncode, err.decode(), out) == (code, said, written), line
