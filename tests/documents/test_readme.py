"""What README.md shows is what works."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image
from support import registries
from support.processes import viewing

from codec.commands import cli, demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE_BYTES = 400_000
"""Largest length of a picture, in bytes. A larger one is too slow to load over a slow line."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def shell_lines(start):
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(start)]


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A folder with the files that the examples name, made the working directory."""
    picture = Image.fromarray(demo.draw()[:70, :50])
    picture.save(tmp_path / "photo.png")
    picture.crop((0, 0, 28, 28)).convert("1").save(tmp_path / "digit.png")
    (tmp_path / "photos").mkdir()
    picture.crop((0, 0, 30, 20)).save(tmp_path / "photos" / "small.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return picture


def test_the_set_up_is_two_lines_that_ci_runs():
    lines = shell_lines("python3 -m venv")
    assert [line.rsplit("&& ", 1)[1] for line in lines] == [
        ".venv/bin/vlae demo",
        ".venv/bin/python -m pytest -n auto --dist worksteal",
    ]
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install ") for line in lines)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    wanted = re.findall(r"readme_line '(.*)'", ci)
    assert [line for end in wanted for line in lines if line.endswith(end)] == lines


def test_the_commands_run_in_the_order_shown(photo, tmp_path, capfd):
    lines = shell_lines("vlae ")
    assert {shlex.split(line)[1] for line in lines} == set(cli.vlae.commands) - {"demo"}
    for line in lines:
        if shlex.split(line)[1] == "view":  # it serves until it is interrupted
            with viewing(shlex.split(line, comments=True)[2:]) as address, urlopen(address) as page:  # noqa: S310
                assert page.status == 200, line
            continue
        assert cli.run(shlex.split(line, comments=True)[1:]) == 0, (line, capfd.readouterr().err)
    with Image.open(tmp_path / "back.png") as back:
        assert back.tobytes() == photo.tobytes()
    assert (tmp_path / "photo.vlae").stat().st_size < (tmp_path / "exact.vlae").stat().st_size


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_examples_run(block, capsys, monkeypatch):
    registries.restored(monkeypatch)
    assert block.splitlines()[-1].startswith("assert ")
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert " bytes" in capsys.readouterr().out


def test_the_command_draws_the_picture(tmp_path):
    (line,) = shell_lines("python -m benchmarks.readme_picture")
    *command, name = shlex.split(line)
    committed, drawn = ROOT / name, tmp_path / "readme.png"
    assert committed.stat().st_size < PICTURE_BYTES
    done = subprocess.run(  # noqa: S603
        [sys.executable, *command[1:], str(drawn)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open(committed) as before, Image.open(drawn) as after:
        assert before.size == after.size


def test_links_lead_to_files():
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", README) if not t.startswith("https://")]
    assert targets
    assert [t for t in targets if not (ROOT / t).is_file()] == []


def test_the_tables_of_rates_have_their_place_and_their_commands(photo, tmp_path):
    assert README.count("<!-- rate:begin -->") == README.count("<!-- rate:end -->") == 1
    lines = [shlex.split(line) for line in shell_lines("python -m benchmarks.rate")]
    assert ["kodak" in line for line in lines] == [True, True, False]
    near = lines[1]
    options = ["--lossless", *near[near.index("kodak") + 1 : near.index("--rivals")]]
    command = [sys.executable, "-m", "benchmarks.rate", str(tmp_path / "photos"), *options, "--rivals", "png"]
    done = subprocess.run(  # noqa: S603
        [*command, "--json", str(tmp_path / "rate.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "rate.json").read_text())
    assert [r["max_error"] for r in results] == [0, 1, 2, 5]
    for result in results:
        (row,) = result["files"]
        assert row["samples"] == 30 * 20 * 3
        assert row["error"] <= result["max_error"]
        assert f"{8 * row['bytes']['vlae'] / row['samples']:.3f}" in done.stdout
