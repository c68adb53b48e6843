"""A run is carried to a machine that is lent, and back. Needs the extra train."""

import json
import time

import pytest
from support.tiny_runs import TINY, draw_images

torch = pytest.importorskip("torch")

from codec.commands import cli  # noqa: E402
from models.recipes.reading import FOLDER, load_recipe, tomllib  # noqa: E402
from models.training import checkpoints, lend  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]


def toml(table):
    """Return a recipe's table as a file's text."""
    lines = [f"{key} = {json.dumps(table[key])}" for key in ("name", "task")]
    for name in ("model", "train", "validation", "rounding"):
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table[name].items())]
    for source in table["data"]:
        lines += ["[[data]]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw_images(folder / "some", 2)
    return folder


@pytest.fixture
def recipe(tmp_path):
    """Return a recipe of many steps, as a file."""
    table = tomllib.loads((FOLDER / "photo.toml").read_text(encoding="utf-8"))
    for key, value in (TINY | {"train.steps": 1000000}).items():
        *section, name = key.split(".")
        (table[section[0]] if section else table)[name] = value
    path = tmp_path / "many.toml"
    path.write_text(toml(table), encoding="utf-8")
    load_recipe(str(path))
    return path


def pack(recipe, data, run, to, *more):
    return cli.run(["lend", "pack", str(recipe), "--data", str(data), "--run", str(run), "--to", str(to), *more])


def test_a_run_goes_and_comes_back_in_time(recipe, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lend, "PIECE_BYTES", 20000)
    run = Run(load_recipe(str(recipe)), data, tmp_path / "run")
    run.train(float("inf"), stop=lambda: run.progress.step == 3)
    assert pack(recipe, data, run.folder, tmp_path / "pieces") == 0
    pieces = list((tmp_path / "pieces").glob("piece-*"))
    assert len(pieces) > 1
    assert max(path.stat().st_size for path in pieces) <= 20000
    begin = time.monotonic()
    train = ["lend", "train", str(tmp_path / "pieces"), "--back", str(tmp_path / "back"), "--minutes", "0.4"]
    assert cli.run([*train, "--options", "--threads 1"]) == 0
    assert time.monotonic() - begin < 30
    assert cli.run(["lend", "unpack", str(tmp_path / "back"), "--run", str(run.folder)]) == 0
    step = Run(run.recipe, data, run.folder).progress.step
    assert step > 3
    assert capsys.readouterr().out.endswith(f"step {step}\n")


def test_pieces_are_checked(recipe, data, tmp_path, capsys):
    assert pack(recipe, data, tmp_path / "none", tmp_path / "pieces") == 0
    assert pack(recipe, data, tmp_path / "none", tmp_path / "pieces") == 1
    assert capsys.readouterr().err.endswith("pieces: not empty\n")
    (piece,) = (tmp_path / "pieces").glob("piece-*")
    piece.write_bytes(piece.read_bytes()[:-1])
    train = ["lend", "train", str(tmp_path / "pieces"), "--back", str(tmp_path / "back"), "--minutes", "1"]
    assert cli.run(train) == 3
    assert "piece-0000: missing or damaged" in capsys.readouterr().err


def test_an_older_checkpoint_does_not_replace_a_newer_one(recipe, data, tmp_path, capsys):
    run = Run(load_recipe(str(recipe)), data, tmp_path / "run")
    run.train(float("inf"), stop=lambda: run.progress.step == 1)
    assert pack(recipe, data, run.folder, tmp_path / "back", "--no-data") == 0
    run.train(float("inf"), stop=lambda: run.progress.step == 2)
    assert cli.run(["lend", "unpack", str(tmp_path / "back"), "--run", str(run.folder)]) == 1
    assert "is of a later step, 2" in capsys.readouterr().err
    assert checkpoints.load(run.folder).progress.step == 2
