"""Recipes are checked when they are read: what is wrong is said in one line. Needs the extra train."""

import re
import sys

import pytest

pytest.importorskip("torch")

from codec.commands import cli
from models.data.rounding import Rounder
from models.errors import RecipeError
from models.recipes.forms import TASKS
from models.recipes.reading import FOLDER, load_recipe
from models.tasks import interface

pytestmark = pytest.mark.train

RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
PHOTO = (FOLDER / "photo.toml").read_text(encoding="utf-8")


def written(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_that_ship_are_right(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert isinstance(recipe.model, TASKS[recipe.task].shape)


def test_all_tasks_are_among_them():
    assert {load_recipe(name).task for name in RECIPES} == set(TASKS) == set(interface.TASKS)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("width = 224", "wdith = 224", "x.toml: model: unknown key wdith, expected some of width, head"),
        ("width = 224", 'width = "wide"', "x.toml: model: Expected `int`, got `str` - at `$.width`"),
        ("width = 224", "width = 224\ncoded = 3", "x.toml: model: unknown key coded"),
        ("posterior = [32, 48, 64]", "posterior = [32, 48]", "length 3, got 2 - at `$.posterior`"),
        ("steps = 19000", "", "missing required field `steps`"),
        ("steps = 19000", "steps = 0", "Expected `int` >= 1 - at `$.steps`"),
        ("learning_rate = 0.0012", "learning_rate = -1", "Expected `float` > 0"),
        ("seed = 2", "seed = 2\nspeed = 2", "x.toml: train: unknown key speed"),
        ('task = "samples"', 'task = "pixels"', "task: expected one of samples, lossy, maps, got 'pixels'"),
        ('task = "samples"', "", "x.toml: task is missing"),
        ('task = "samples"', 'task = "samples"\nnumber = 3', "x.toml: unknown key number"),
        ('task = "samples"', 'task = "maps"', "x.toml: model: unknown key head"),
        ("share = 0.60", "share = 0.70", "data: shares sum to 1.1, expected 1"),
        ("share = 0.60", "share = 1.60", "Expected `float` <= 1.0 - at `$.share`"),
        ("past = 0.45", 'past = "often"', "Expected `float`, got `str`"),
        ("errors = [0.50", "errors = [0.60", "11 that sum to 1.1"),
        ("conditions = [0, 2]", "conditions = [0, 11]", "expected largest errors 0..10"),
        ("conditions = [0, 2]", "", "missing required field `conditions`"),
        ("[rounding]", "[founding]", "unknown key founding"),
        ("[rounding]", "[rounding]\nnumber = 1", "rounding: unknown key number"),
        ("[model]", "[model", "x.toml: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path, old, new, says):
    assert PHOTO.count(old) == 1 or old in ("[model]", "past = 0.45")
    if 'task = "maps"' in new:
        says = says.replace("head", "modulation")
    with pytest.raises(RecipeError, match=re.escape(says)):
        load_recipe(written(tmp_path, PHOTO.replace(old, new, 1)))


def test_errors_need_the_model_that_rounds(tmp_path):
    table = re.search(r"\[rounding\][^\[]*", PHOTO)[0]
    with pytest.raises(RecipeError, match=r"expected a table \[rounding\]"):
        load_recipe(written(tmp_path, PHOTO.replace(table, "")))
    without = {"train.errors": [1.0], "validation.conditions": [0]}
    assert load_recipe(written(tmp_path, PHOTO.replace(table, "")), without).rounding is None


def test_errors_are_of_one_task():
    with pytest.raises(RecipeError, match=r"has no value train\.errors"):
        load_recipe("lossy", {"train.errors": [1.0]})


def test_a_value_that_a_recipe_lacks_cannot_be_changed():
    for key in ("model.wdith", "speed", "train.seed.x"):
        with pytest.raises(RecipeError, match=f"has no value {key}"):
            load_recipe("photo", {key: 3})


def test_there_is_no_such_recipe():
    with pytest.raises(RecipeError, match="no recipe phot: expected one of lossy, "):
        load_recipe("phot")


def test_the_model_that_rounds_is_the_one_that_was_named(tmp_path):
    samples = Rounder(None)  # lossless samples are not rounded
    named = load_recipe("photo").rounding
    assert named.hash.startswith(Rounder(named).model.hash.hex())
    other = load_recipe("photo", {"rounding.hash": "0123456789abcdef"}).rounding
    with pytest.raises(RecipeError, match=f"has hash {named.hash}, expected 0123456789abcdef"):
        _ = Rounder(other).model
    with pytest.raises(RecipeError, match=r"no weights .*photo-0\.safetensors"):
        _ = Rounder(load_recipe("photo", {"rounding.weights": "photo-0"}).rounding).model
    with pytest.raises(RecipeError, match="no table"):
        _ = samples.model


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["phot"], "vlae: no recipe phot"),
        (["photo", "--set", "train.steps=many"], "vlae: Invalid value for --set: expected KEY=VALUE"),
        (["photo", "--set", "train.steps=0"], "vlae: photo.toml: train: Expected `int` >= 1"),
        (["photo"], "vlae: recipe photo: no folder photos_train in "),
    ],
)
def test_the_command_says_it_in_one_line(tmp_path, capsys, arguments, says):
    assert cli.run(["train", *arguments, "--data", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(says)
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train photo --data . --run x", "ship . --number 9", "averages ."])
def test_without_the_extra_the_commands_say_what_to_install(monkeypatch, capsys, command):
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert cli.run(command.split()) == 1
    assert capsys.readouterr().err == "vlae: this needs msgspec: pip install vlae[train]\n"
