"""Checkpoints are written completely or not at all, in small files, and belong to one recipe. Needs the extra train."""

import errno
import json
import re
import shutil

import numpy as np
import pytest
from support.tiny_runs import TINY, draw_images

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from codec.commands import cli  # noqa: E402
from codec.errors import CorruptDataError  # noqa: E402
from models.errors import RecipeError, TrainingError  # noqa: E402
from models.recipes.reading import FOLDER, load_recipe  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.training import checkpoints  # noqa: E402
from models.training.optimizer import Optimizer  # noqa: E402
from models.training.progress import Progress  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

LONG = TINY | {"train.steps": 200, "train.decay_steps": 100}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw_images(folder / "some", 2)
    return folder


def run_to(step, data, folder, recipe=LONG, **options):
    """Return a run that was stopped after a step."""
    torch.set_num_threads(1)
    run = Run(load_recipe("photo", recipe), data, folder, **options)
    run.train(float("inf"), stop=lambda: run.progress.step == step)
    return run


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    return run_to(100, data, tmp_path_factory.mktemp("stopped"))


def values(run):
    tensors = run.learner.optimizer.state()
    for part in ("model", "average"):
        tensors |= {f"{part}.{name}": p.detach() for name, p in getattr(run, part).named_parameters()}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def copied(stopped, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(stopped.folder, folder)
    return folder


def test_a_hundred_steps_and_a_hundred_are_two_hundred_to_the_bit(data, stopped, copied, tmp_path):
    whole = run_to(200, data, tmp_path / "whole")
    second = run_to(200, data, copied)
    assert equal(values(second), values(whole))


def test_without_the_exact_moments_the_curve_is_the_same(data, stopped, copied, tmp_path):
    travelled = tmp_path / "travelled"
    (travelled / checkpoints.FOLDER).mkdir(parents=True)
    for path in checkpoints.travelling(copied):
        shutil.copy(path, travelled / checkpoints.FOLDER)
    runs = [Run(stopped.recipe, data, folder) for folder in (copied, travelled)]
    before, after = (values(run) for run in runs)
    assert before.keys() == after.keys()
    moments = [name for name in before if not name.startswith(checkpoints.WEIGHTS)]
    assert equal({n: before[n] for n in before.keys() - moments}, {n: after[n] for n in after.keys() - moments})
    assert not equal({n: before[n] for n in moments}, {n: after[n] for n in moments})
    assert all(torch.allclose(before[n], after[n], rtol=2**-8) for n in moments)
    losses = []
    for run in runs:
        batches = run.batches()
        losses.append([float(run.step(batches.batch(step))) for step in range(100, 150)])
        batches.close()
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_checkpoints_of_recipes_that_ship_travel(name, tmp_path):
    recipe = load_recipe(name)
    model = task_of(recipe).new_model()
    optimizer = Optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(0.001)
    tensors = optimizer.state()
    for part in ("model", "average"):
        tensors |= {f"{part}.{n}": p.detach().clone() for n, p in model.named_parameters()}
    checkpoints.save(tmp_path, tensors, Progress(step=1), checkpoints.shape_of(recipe))
    files = checkpoints.travelling(tmp_path)
    assert max(path.stat().st_size for path in files) <= checkpoints.SHARD_BYTES
    assert sum(path.stat().st_size for path in files) <= checkpoints.TRAVELLING_BYTES
    assert equal(checkpoints.load(tmp_path).tensors, tensors)
    averages = checkpoints.save_averages(tmp_path)
    assert averages.name == "averages-1.safetensors"
    assert averages.stat().st_size < 10_000_000


@pytest.mark.parametrize("written", range(4))
def test_a_full_disk_leaves_the_last_checkpoint(data, copied, monkeypatch, capsys, written):
    before, files = checkpoints.load(copied), {path.name for path in (copied / checkpoints.FOLDER).iterdir()}
    calls, whole = [], checkpoints.write_file

    def full(path, data, *, force):
        calls.append(path)
        if len(calls) > written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, data, force=force)

    monkeypatch.setattr(checkpoints, "write_file", full)
    with pytest.raises(TrainingError, match=r"No space left .*: cannot write the checkpoint of step 102, the last one"):
        run_to(102, data, copied)
    assert {path.name for path in (copied / checkpoints.FOLDER).iterdir()} == files
    after = checkpoints.load(copied)
    assert after.progress == before.progress
    assert equal(after.tensors, before.tensors)


def test_only_the_last_checkpoint_stays(data, copied):
    (copied / checkpoints.FOLDER / ".vlae-0123456789abcdef.tmp").write_bytes(b"of a process that was killed")
    before = set((copied / checkpoints.FOLDER).iterdir())
    run = run_to(101, data, copied)
    after = set((copied / checkpoints.FOLDER).iterdir())
    assert len(after) == 4
    assert {path.name for path in before & after} == {checkpoints.INDEX}
    run.save()  # again at the same step: the same files
    assert set((copied / checkpoints.FOLDER).iterdir()) == after
    assert Run(run.recipe, data, copied).progress.step == 101


@pytest.mark.parametrize("kind", ["weights", "moments", "exact"])
@pytest.mark.parametrize("how", ["flipped", "short", "gone"])
def test_a_damaged_checkpoint_is_refused(data, copied, kind, how, capsys):
    (path,) = (copied / checkpoints.FOLDER).glob(f"{kind}-*")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content if how == "flipped" else content[:-5])
    if (kind, how) == ("exact", "gone"):  # they may stay behind
        assert Run(load_recipe("photo", LONG), data, copied).progress.step == 100
        return
    with pytest.raises(CorruptDataError, match=f"{path.name}: missing or damaged"):
        Run(load_recipe("photo", LONG), data, copied)


def test_a_damaged_index_is_refused(copied):
    (copied / checkpoints.FOLDER / checkpoints.INDEX).write_text('{"files": [')
    with pytest.raises(CorruptDataError, match=r"index\.json: damaged"):
        checkpoints.load(copied)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"model.width": 16}, "model.width is 8, not 16"), ({"model.latents": 4}, "model.latents is 2, not 4")],
)
def test_a_checkpoint_of_another_recipe_is_refused(data, copied, change, says):
    with pytest.raises(RecipeError, match=f"a checkpoint of another recipe: {says}"):
        Run(load_recipe("photo", LONG | change), data, copied)


def test_a_checkpoint_of_another_task_is_refused(data, copied):
    lossy = {key: value for key, value in LONG.items() if not key.startswith(("model", "train.errors"))}
    with pytest.raises(RecipeError, match="a checkpoint of another recipe: "):
        Run(load_recipe("lossy", lossy), data, copied)


def test_the_command_says_it_in_one_line(data, copied, capsys):
    changes = LONG | {"model.width": 16}
    options = [option for key, value in changes.items() for option in ("--set", f"{key}={json.dumps(value)}")]
    assert cli.run(["train", "photo", "--data", str(data), "--run", str(copied), *options]) == 2
    assert capsys.readouterr().err.endswith("a checkpoint of another recipe: model.width is 8, not 16\n")


def as_single_file(run, folder):
    """Write a checkpoint as runs did before there were folders."""
    folder.mkdir()
    progress = {"step": run.progress.step, "seconds": 1.0, "machine": "x", "history": [], "start": None}
    tensors = {name: tensor.contiguous() for name, tensor in values(run).items()}
    save_file(tensors, folder / checkpoints.SINGLE, {"progress": json.dumps(progress)})


def test_a_run_of_one_file_goes_on_and_becomes_a_folder(data, stopped, tmp_path):
    as_single_file(stopped, tmp_path / "old")
    run = Run(stopped.recipe, data, tmp_path / "old")
    assert run.progress.step == 100
    assert equal(values(run), values(stopped))
    run.save()
    assert [path.name for path in (tmp_path / "old").iterdir()] == [checkpoints.FOLDER]
    assert equal(values(Run(stopped.recipe, data, tmp_path / "old")), values(stopped))


def test_one_file_of_another_recipe_is_refused(data, stopped, tmp_path):
    as_single_file(stopped, tmp_path / "old")
    with pytest.raises(RecipeError, match=r"of another recipe: average\.condition\.weight is "):
        Run(load_recipe("photo", LONG | {"model.width": 16}), data, tmp_path / "old")
    (tmp_path / "old" / checkpoints.SINGLE).write_bytes(b"nothing")
    with pytest.raises(CorruptDataError, match="not a checkpoint"):
        Run(stopped.recipe, data, tmp_path / "old")


@pytest.mark.parametrize("kind", ["folder", "single", "averages"])
def test_a_run_begins_from_averages(data, stopped, copied, tmp_path, kind):
    start = copied
    if kind == "single":
        as_single_file(stopped, tmp_path / "old")
        start = tmp_path / "old" / checkpoints.SINGLE
    elif kind == "averages":
        start = checkpoints.save_averages(copied)
    run = Run(stopped.recipe, data, tmp_path / "new", start)
    assert (run.progress.step, run.progress.start["steps"]) == (0, 100)
    for a, b in zip(run.model.parameters(), stopped.average.parameters(), strict=True):
        assert torch.equal(a, b.half().float() if kind == "averages" else b)
    with pytest.raises(RecipeError, match="averages of another recipe: "):
        Run(load_recipe("photo", LONG | {"model.width": 16}), data, tmp_path / "other", start)


def test_the_log_says_how_fast_crops_were_made(data, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("models.training.run.REPORT_STEPS", 2)
    with caplog.at_level("INFO"):
        run_to(4, data, tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert re.fullmatch(r"step 4, loss \d+\.\d{4}, \d+ s, \d+ crops/s, \d+\.\d % waited", lines[1])


def test_a_loss_that_is_no_number_is_not_kept(data, copied):
    run = Run(load_recipe("photo", LONG), data, copied)
    with torch.no_grad():
        run.model.likelihood.hidden1.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 101: the loss is nan; the last checkpoint stays"):
        run.train(float("inf"), stop=lambda: True)
    assert Run(run.recipe, data, copied).progress.step == 100


@pytest.mark.parametrize("kind", ["broken", "empty", "no folder"])
def test_data_that_cannot_be_read_is_named(data, copied, tmp_path, capsys, kind):
    other = tmp_path / "data"
    other.mkdir()
    if kind != "no folder":
        draw_images(other / "some", 2 if kind == "broken" else 0)
    if kind == "broken":
        path = other / "some" / "1.png"
        path.write_bytes(path.read_bytes()[:300])
    options = [option for key, value in LONG.items() for option in ("--set", f"{key}={json.dumps(value)}")]
    says = {"broken": "1.png: not an image that can be read: ", "empty": "no images in ", "no folder": "no folder some"}
    assert cli.run(["train", "photo", "--data", str(other), "--run", str(copied), *options]) == 1 + (
        kind == "no folder"
    )
    error = capsys.readouterr().err
    assert says[kind] in error
    assert error.count("\n") == 1
    assert checkpoints.load(copied).progress.step == 100
