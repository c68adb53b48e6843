"""Nothing that ships is ever replaced: neither by training, nor by Ctrl-C, nor by shipping. Needs the extra train."""

import hashlib
import json
import os
import shutil
import signal

import pytest
from support.tiny_runs import TINY, draw_images

torch = pytest.importorskip("torch")

from codec.commands import cli  # noqa: E402
from codec.errors import CorruptDataError  # noqa: E402
from codec.frozen import shipped  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from models.errors import RecipeError, TrainingError  # noqa: E402
from models.freezing.freeze import UNSHIPPED  # noqa: E402
from models.recipes.reading import load_recipe, tomllib  # noqa: E402
from models.training import run as training  # noqa: E402
from models.training import ship as shipping  # noqa: E402
from models.training.finish import CARD, FROZEN, finish  # noqa: E402
from models.training.ship import NUMBERS, ship  # noqa: E402

pytestmark = pytest.mark.train

FREEZABLE = TINY | {"model.tile": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw_images(folder / "some")
    return folder


def command(data, run, *more):
    pairs = [f"{key}={json.dumps(value)}" for key, value in FREEZABLE.items()]
    options = [option for pair in pairs for option in ("--set", pair)]
    return ["train", "photo", "--data", str(data), "--run", str(run), "--threads", "1", *options, *more]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run = training.Run(load_recipe("photo", FREEZABLE), data, folder)
    assert run.train(float("inf"))
    finish(run)
    return folder


@pytest.fixture
def package(tmp_path):
    """Return copies of what ships: the folder of weights, and the file of numbers."""
    weights, numbers = tmp_path / "weights", tmp_path / "numbers.toml"
    shutil.copytree(shipped.WEIGHTS, weights)
    shutil.copy(NUMBERS, numbers)
    return weights, numbers


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def unharmed():
    before = contents(shipped.WEIGHTS), NUMBERS.read_bytes()
    yield
    assert (contents(shipped.WEIGHTS), NUMBERS.read_bytes()) == before


def test_training_to_the_end_writes_into_its_own_folder(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert cli.run(command(data, run)) == 0
    card = json.loads(capsys.readouterr().out)
    assert json.loads((run / CARD).read_text()) == card
    assert {path.name for path in run.iterdir()} == {"checkpoint", FROZEN, CARD}
    assert parse_model((run / FROZEN).read_bytes()).number == UNSHIPPED
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_there_is_no_other_place_to_write(data, tmp_path, capsys):
    assert cli.run(command(data, tmp_path / "run", "--out", str(tmp_path))) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step(data, tmp_path, capsys, monkeypatch, number):
    step = training.Run.step

    def interrupted(run, batch):
        if run.progress.step == 3:
            os.kill(os.getpid(), number)
        return step(run, batch)

    monkeypatch.setattr(training.Run, "step", interrupted)
    run = tmp_path / "run"
    handler = signal.getsignal(number)
    assert cli.run(command(data, run)) == 128 + number
    error = capsys.readouterr().err
    assert f"stopped by {number.name} at step 4: the same command goes on" in error
    assert signal.getsignal(number) is handler
    assert {path.name for path in run.iterdir()} == {"checkpoint"}
    with pytest.raises(TrainingError, match="not finished"):
        ship(run, 60, "new")
    monkeypatch.undo()
    assert cli.run(command(data, run)) == 0
    assert json.loads((run / CARD).read_text())["steps"] == 6


@pytest.mark.parametrize("where", ["models.training.run.Run.evaluate", "models.training.finish.freeze"])
def test_a_signal_breaks_off_what_takes_minutes(data, tmp_path, capsys, monkeypatch, where):
    def slow(*_):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")

    monkeypatch.setattr(where, slow)
    run = tmp_path / "run"
    assert cli.run(command(data, run)) == 130
    assert "stopped by SIGINT at step 6: the same command goes on" in capsys.readouterr().err
    assert {path.name for path in run.iterdir()} == {"checkpoint"}


def test_shipping_adds_a_model(finished, package, monkeypatch):
    weights, numbers = package
    before = contents(weights)
    card = ship(finished, 60, "photo-b", weights, numbers)
    after = contents(weights)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"photo-b-60.safetensors", "photo-b-60.json"}
    model = parse_model((weights / "photo-b-60.safetensors").read_bytes())
    assert (model.number, model.hash.hex()) == (60, card["hash"])
    assert json.loads((weights / "photo-b-60.json").read_text()) == card
    assert (card["name"], card["number"], card["steps"]) == ("photo-b", 60, 6)
    assert tomllib.loads(numbers.read_text())["60"] == "photo-b"
    monkeypatch.setattr(shipped, "WEIGHTS", weights)
    assert shipped.weights_path("photo-b").name == "photo-b-60.safetensors"


@pytest.mark.parametrize(
    ("number", "name", "says"),
    [
        (0, "new", "was used by photo"),
        (2, "new", "was used by lossy"),
        (60, "photo", "photo-9.json exists|photo-9.safetensors exists"),
        (60, None, "photo-9"),  # the recipe's name
        (UNSHIPPED, "new", "expected 0..65534"),
        (-1, "new", "expected 0"),
        (60, "../new", "expected small letters"),
    ],
)
def test_a_number_or_name_that_exists_is_refused(finished, package, number, name, says):
    weights, numbers = package
    before = contents(weights), numbers.read_bytes()
    with pytest.raises(RecipeError, match=says):
        ship(finished, number, name, weights, numbers)
    assert (contents(weights), numbers.read_bytes()) == before


def test_a_number_that_ships_no_more_is_refused(finished, package):
    weights, numbers = package
    for path in weights.glob("tiny-12.*"):
        path.unlink()
    with pytest.raises(RecipeError, match="was used by tiny"):
        ship(finished, 5, "tiny", weights, numbers)
    numbers.unlink()
    with pytest.raises(RecipeError, match="mnist-static-4"):  # what ships says it, too
        ship(finished, 4, "new", weights, numbers)


def test_what_ships_has_its_number_in_the_table():
    used = tomllib.loads(NUMBERS.read_text(encoding="utf-8"))
    names = {f"{name}-{number}" for number, name in used.items()}
    assert {path.stem for path in shipped.WEIGHTS.glob("*.safetensors")} <= names


def test_the_command_ships_nothing_onto_what_ships(finished, capsys):
    assert cli.run(["ship", str(finished), "--number", "0", "--name", "new"]) == 2
    assert capsys.readouterr().err.startswith("vlae: --number 0: was used by photo")
    assert cli.run(["ship", str(finished)]) == 2


def damaged(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["weights", "end", "card", "other card", "no card", "no weights"])
def test_what_is_damaged_or_unfinished_is_not_shipped(finished, package, tmp_path, kind):
    weights, numbers = package
    before = contents(weights), numbers.read_bytes()
    run = tmp_path / "copy"
    shutil.copytree(finished, run)
    if kind == "weights":
        damaged(run / FROZEN, -5)
    elif kind == "end":
        (run / FROZEN).write_bytes((run / FROZEN).read_bytes()[:-9])
    elif kind == "card":
        (run / CARD).write_text("{")
    elif kind == "other card":
        (run / CARD).write_text('{"name": "photo", "hash": "00000000"}')
    else:
        (run / (CARD if kind == "no card" else FROZEN)).unlink()
    with pytest.raises(TrainingError if kind.startswith("no") else CorruptDataError):
        ship(run, 60, "new", weights, numbers)
    assert (contents(weights), numbers.read_bytes()) == before


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_full_disk_leaves_nothing_half(finished, package, monkeypatch, fails):
    weights, numbers = package
    before, calls, whole = contents(weights), [], shipping.write_file

    def full(path, data, *, force=False):
        calls.append(path)
        if len(calls) > fails:
            raise OSError(28, "No space left on device", str(path))
        whole(path, data, force=force)

    monkeypatch.setattr(shipping, "write_file", full)
    with pytest.raises(TrainingError, match="No space left on device: nothing was shipped"):
        ship(finished, 60, "new", weights, numbers)
    assert contents(weights) == before


def test_who_comes_first_is_not_replaced(finished, package, monkeypatch):
    weights, numbers = package
    monkeypatch.setattr(shipping, "_check_new", lambda *_: None)  # two saw that the number was new
    ship(finished, 60, "new", weights, numbers)
    before = contents(weights)
    with pytest.raises(TrainingError, match="exists: nothing was shipped"):
        ship(finished, 60, "new", weights, numbers)
    assert contents(weights) == before
