"""The lossy model in float: its transforms, its coder of y, and that training lowers its cost. Needs torch."""

import math

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from models import lossy  # noqa: E402
from models.lossy import compress, first_steps, near, price, rounded, tensor_bits  # noqa: E402
from models.networks import bin_mass  # noqa: E402
from models.recipe import load_recipe  # noqa: E402
from models.tasks import task_of  # noqa: E402
from models.train import Run  # noqa: E402
from models.transforms import PATCH, SAMPLES, Analysis, Synthesis, linear_rows  # noqa: E402

pytestmark = pytest.mark.train

SMALL = {
    "model.channels": 24,
    "model.width": 16,
    "model.analysis_blocks": 1,
    "model.synthesis_blocks": 1,
    "model.levels": 3,
    "model.groups": 4,
    "model.planes": 6,
    "train.steps": 12,
    "train.decay_steps": 6,
    "train.warmup_steps": 2,
    "train.batch": 2,
    "train.pixels": 64,
    "train.average": 0.5,
    "data": [{"folder": "some", "share": 1.0, "past": 0.3}],
    "validation.folders": ["some"],
    "validation.pixels": 48,
    "validation.conditions": [0.0, 0.6, 1.0],
}


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("lossy", SMALL)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "some").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:90, 0:100] / 12.0
    for seed in range(2):
        planes = np.stack([np.sin(x * (1 + c) / 2 + seed) * np.cos(y) for c in range(3)], -1)
        samples = np.clip(128 + 70 * planes + rng.normal(0, 2, planes.shape), 0, 255).astype(np.uint8)
        Image.fromarray(samples).save(folder / "some" / f"{seed}.png")
    return folder


def test_the_first_linear_map_is_orthonormal_and_coarse_first():
    rows = linear_rows(SAMPLES)
    assert np.allclose(rows @ rows.T, np.eye(SAMPLES))
    means = rows[:3].reshape(3, 3, -1)
    assert np.allclose(means, means[..., :1])  # the three block means


def test_transforms_begin_as_a_map_and_its_inverse():
    image = torch.randn(2, 3, 16, 24) * 40
    level = torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    analysis, synthesis = Analysis(SAMPLES, 8, 1, 2), Synthesis(SAMPLES, 8, 1, 2)
    y = analysis(image, level)
    assert y.shape == (2, SAMPLES, 16 // PATCH, 24 // PATCH)
    assert torch.allclose(synthesis(y, level), image, atol=1e-3)


def test_steps_are_those_at_which_a_bit_costs_what_it_saves():
    steps, prices = first_steps(5), price(torch.linspace(0, 1, 5))
    fine = steps > 1
    assert (steps.diff() <= 0).all()
    assert torch.allclose((prices * steps**2 / 6)[fine], torch.tensor(3 / math.log(2)))


def test_levels_are_interpolated(recipe):
    model = task_of(recipe).new_model()
    level = model.level(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert torch.equal(level, torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]))


def test_rounding_has_the_gradient_of_the_identity():
    x = torch.tensor([0.2, -1.7], requires_grad=True)
    (rounded(x) * torch.tensor([2.0, 3.0])).sum().backward()
    assert torch.equal(x.grad, torch.tensor([2.0, 3.0]))
    assert torch.equal(rounded(x).detach(), torch.tensor([0.0, -2.0]))


def test_bits_of_y_depend_on_what_was_coded_before_only(recipe):
    # Changing a position changes the inputs of later waves alone.
    model = task_of(recipe).new_model()
    y = torch.round(torch.randn(1, 24, 6, 7) * 5)
    before, _ = near(y, model.config, model.offsets)
    changed = y.clone()
    changed[0, :, 3, 4] += 2
    after, _ = near(changed, model.config, model.offsets)
    different = (before != after).any(-1)[0].view(6, 7)
    rows, columns = np.mgrid[0:6, 0:7]
    earlier = columns + 2 * rows <= 4 + 2 * 3
    assert different.any()
    assert not different.numpy()[earlier].any()


def test_groups_see_groups_before_only(recipe, monkeypatch):
    model = task_of(recipe).new_model()
    kept = []
    monkeypatch.setattr(lossy, "bin_mass", lambda *args: kept.append(bin_mass(*args)) or kept[-1])
    y = torch.round(torch.randn(1, 24, 1, 1) * 3)  # one position: there is nothing around
    changed = y.clone()
    changed[:, 12:18] += 1  # the third of four groups
    for values in (y, changed):
        tensor_bits(model, values, values, model.coder.biases(None, model.level(torch.zeros(1)))[:, None])
    first, second = (mass.detach()[0, 0] for mass in kept)
    assert torch.equal(first[:12], second[:12])
    assert (first[18:] != second[18:]).any()


def test_compress_is_odd_and_grows():
    values = torch.arange(-50.0, 51.0)
    seen = compress(values)
    assert torch.equal(seen, -seen.flip(0))
    assert (seen.diff() > 0).all()


def test_training_lowers_the_cost_and_resumes(recipe, data, tmp_path):
    torch.set_num_threads(1)
    run = Run(recipe, data, tmp_path / "a")
    before = run.evaluate()
    assert run.train(float("inf"))
    after = run.progress.history[-1]
    for quality in ("0.0", "0.6", "1.0"):
        assert after[f"some q={quality}"] < before[f"some q={quality}"]
    again = Run(recipe, data, tmp_path / "a")
    assert again.progress.step == recipe.train.steps
    for a, b in zip(again.average.parameters(), run.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_does_not_begin_from_frozen_weights(recipe, data, tmp_path):
    start = tmp_path / "x.safetensors"
    start.write_bytes(b"")
    with pytest.raises(ValueError, match="random weights"):
        Run(recipe, data, tmp_path / "b", start)
