"""Many files on the command line: the tree, what is said, exit codes, and how a batch goes on that was ended."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.processes import is_gone, wait_until

from codec.commands import cli, console, warm_up

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder the working one, with a folder of images that need no model."""
    for lossy in (False, True):
        warm_up.prepare(lambda line: None, for_lossy=lossy)
    for number, name in enumerate(("a/one.png", "two.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (64, 65 + number), 1).save(path, "PPM")  # larger than its compressed file
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_goes_in_and_comes_back_and_one_line_says_so(capfd):
    Path("photos/notes.txt").write_text("no image")
    assert cli.run(["compress", "photos", "--to", "out", "--lossless", "--jobs", "1"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    first, rest = err.split("\n", 1)
    assert first.startswith("out: 2 files made of ")
    assert rest == "vlae: photos: left out 1 file that is no image (notes.txt)\n"
    assert cli.run(["decompress", "out", "--to", "back", "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    for name in ("a/one.png", "two.png"):
        with Image.open(f"photos/{name}") as before, Image.open(f"back/{name}") as after:
            assert before.tobytes() == after.tobytes()
    assert cli.run(["compress", "photos", "--to", "out", "--lossless"]) == 0
    assert "out: 0 files made; 2 were there already, --force makes them again\n" in capfd.readouterr().err


def test_json_has_a_line_for_each_file(capfd):
    Path("text.png").write_bytes(b"no image at all")
    line = ["compress", "photos", "text.png", "--to", "out", "--lossless", "--json", "-q"]
    assert cli.run(line) == 1
    out, err = capfd.readouterr()
    found = {Path(each["file"]).name: each for each in lines_of(out)}
    assert {name: each["status"] for name, each in found.items()} == {
        "one.png": "made",
        "two.png": "made",
        "text.png": "failed",
    }
    one = found["one.png"]
    assert list(one) == ["file", "output", "status", "source_bytes", "output_bytes", "seconds", "error"]
    assert one["output"] == str(Path("out/a/one.vlae"))
    assert one["output_bytes"] == Path("out/a/one.vlae").stat().st_size
    assert one["source_bytes"] == Path("photos/a/one.png").stat().st_size
    assert found["text.png"]["error"] == "not an image that Pillow knows"
    assert err == "vlae: text.png: not an image that Pillow knows\n"
    assert cli.run(line) == 1
    assert sorted(each["status"] for each in lines_of(capfd.readouterr().out)) == ["failed", "skipped", "skipped"]


def test_verbose_says_a_line_for_each_file(capfd):
    line = ["compress", "photos", "--to", "out", "--lossless", "-v"]
    assert cli.run(line) == 0
    err = capfd.readouterr().err
    size = Path("out/two.vlae").stat().st_size
    assert f"photos/two.png -> out/two.vlae: {size} bytes, " in err
    assert cli.run(line) == 0
    assert "photos/two.png -> out/two.vlae: was there already\n" in capfd.readouterr().err


def test_a_list_of_files_comes_from_a_file_or_from_standard_input(monkeypatch, capfd):
    Path("list").write_bytes(b"photos/a/one.png\r\n\nphotos/two.png")
    for name in ("list", "-"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("list").read_bytes())))
        assert cli.run(["compress", "--from", name, "--to", f"to {name}", "--lossless", "--json"]) == 0
        assert {each["output"] for each in lines_of(capfd.readouterr().out)} == {
            f"to {name}/photos/a/one.vlae",
            f"to {name}/photos/two.vlae",
        }


def test_what_is_larger_and_what_is_lost_is_counted_and_said_of_one_file(capfd):
    rng = np.random.default_rng(0)
    for number in range(2):
        noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
        path = Path(f"photos/noise{number}.jpg")
        noise.save(path, quality=30)
        path.write_bytes(path.read_bytes() + b"something behind the image")
    assert cli.run(["compress", "photos", "--to", "out", "--lossless"]) == 0
    err = capfd.readouterr().err
    assert "vlae: 2 of the files are larger than their sources\n" in err
    assert "vlae: not kept: trailing data (2 files)" in err
    assert cli.run(["compress", "photos/noise0.jpg", "--lossless"]) == 0
    size = Path("photos/noise0.jpg").stat().st_size
    line = f"vlae: photos/noise0.vlae: is larger than its source, which has {size} bytes\n"
    assert line in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compress photos", "photos: is a folder, expected --to DIR"),
        ("compress photos/*.png", "photos/*.png: is a pattern, expected --to DIR"),
        ("compress photos/two.png photos/a/one.png", "photos/two.png and 1 more: expected --to DIR"),
        ("compress photos/two.png -q 80", "80: no such file, and -q is --quiet; expected --quality 80?"),
        ("compress photos/two.png --jobs 2", "--jobs: expected --to DIR, too"),
        ("compress photos/two.png --json", "--json: expected --to DIR, too"),
        ("compress photos/two.png -v", "--verbose: expected --to DIR, too"),
        ("compress --from list", "--from: expected --to DIR, too"),
        ("compress photos --to out -o out.vlae", "--to: is a folder for all outputs, expected no -o"),
        ("compress - --to out", "-: has no name"),
        ("compress --to out", "Missing argument"),
        ("compress photos --to photos/two.png", "two.png is no folder"),
        ("compress photos --to ", "got an empty name"),
        ("compress photos --to out --effort 4", "effort: expected 1 to 3"),
        ("compress photos --to out --lossless --model none", "none"),
        ("compress photos photos/a/two.png --to out", "would be that of photos/two.png and of photos/a/two.png"),
        ("decompress photos --to out", "photos: expected images, got none"),
    ],
)
def test_mistakes_are_told_before_anything_starts(line, message, tmp_path, capfd):
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(line.split(" ")) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bar_shows_rate_and_time_left_on_a_terminal_only(capfd, monkeypatch):
    assert cli.run(["compress", "photos", "--to", "out", "--lossless", "--jobs", "1"]) == 0
    assert "image/s" not in capfd.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress_bar(False, "image") as show:
        show(1, 3)
        console.say("a line")
    err = capfd.readouterr().err
    assert "1/3" in err
    assert "a line\n" in err
    assert "image/s" in err or "s/image" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vlae compress --qua", {"--quality"}),
        ("vlae comp", {"compress"}),
        ("vlae desktop ", {"install", "remove"}),
        ("vlae archive ", {"create", "add", "list", "extract", "verify"}),
        ("vlae decompress --l", {"--latents-only"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(words, expected, shell):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "_VLAE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words}
    last = words.split(" ")[-1]
    environment["COMP_CWORD"] = last if shell == "fish" else str(len(words.split(" ")) - 1)
    done = subprocess.run([sys.executable, "-m", "codec"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert expected <= set(done.stdout.replace(",", "\n").replace("\t", "\n").splitlines())


def test_shells_get_their_scripts_and_complete_names_of_files():
    for shell in ("bash", "zsh", "fish"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "_VLAE_COMPLETE": f"{shell}_source"}
        command = [sys.executable, "-m", "codec"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0
        assert f"_VLAE_COMPLETE={shell}_complete" in done.stdout
    environment |= {"_VLAE_COMPLETE": "bash_complete", "COMP_WORDS": "vlae compress pho", "COMP_CWORD": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.stdout == "file,pho\n"


@pytest.fixture
def slow_photos():
    """Fill a folder with images that take a while, and return their names."""
    rng = np.random.default_rng(0)
    Path("slow").mkdir()
    names = [f"{number}.png" for number in range(8)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8)).save(f"slow/{name}")
    return names


def start(*signals):
    for number in signals:
        signal.signal(number, signal.SIG_DFL)
    return subprocess.Popen(
        [sys.executable, "-m", "codec", "compress", "slow", "--to", "out", "--max-error", "1", "--json", "--jobs", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_batch_that_is_ended_goes_on_with_what_is_left(slow_photos, number):
    before = signal.getsignal(signal.SIGINT)
    process = start(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    wait_until(lambda: len(list(Path("out").glob("*.vlae"))) >= len(slow_photos) // 2, 120)
    workers = children(process)
    assert len(workers) == 2
    os.killpg(process.pid, number)
    _, err = process.communicate()
    wait_until(lambda: all(map(is_gone, workers)), 5)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "vlae: interrupted; the same command goes on with what is left\n"
    there = {path.stem: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert 4 <= len(there) < len(slow_photos)
    assert {path.suffix for path in Path("out").iterdir()} == {".vlae"}  # nothing is half written
    inodes = {path.stem: path.stat().st_ino for path in Path("out").iterdir()}

    out, err = start().communicate()
    results = {Path(each["file"]).stem: each["status"] for each in lines_of(out)}
    assert results == {Path(name).stem: "skipped" if Path(name).stem in there else "made" for name in slow_photos}
    after = {path.stem: path.stat().st_ino for path in Path("out").iterdir()}
    assert set(after) == {Path(name).stem for name in slow_photos}
    assert inodes.items() <= after.items()


@pytest.mark.slow
def test_a_reader_of_json_may_go(slow_photos):
    process = start()
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
