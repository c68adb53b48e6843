"""A step runs where the model is: no tensor of it is made elsewhere, and the host waits for none. Needs torch.

Tensors on torch's device "meta" have no values: whatever mixes them with others, or asks for a value, fails.
"""

import numpy as np
import pytest
from support.tiny_runs import LOSSY, MAPS, TINY, draw_images

torch = pytest.importorskip("torch")

from codec.frozen import contexts  # noqa: E402
from models.errors import RecipeError  # noqa: E402
from models.nets.inputs import neighbour  # noqa: E402
from models.nets.layers import lowered  # noqa: E402
from models.noise import Noise  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.training.device import Machine, choose_device, has_bfloat16  # noqa: E402
from models.training.loader import Pool, each  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

META = torch.device("meta")
RECIPES = {
    "samples": ("photo", TINY),
    "lossy": ("lossy", LOSSY | {"train.structure": 1400.0, "train.pixels": 176}),
    "bits": ("mnist-dynamic", MAPS | {"train.free_bits": 0.1, "train.drop_latents": 0.5}),
    "colours": ("tiny", MAPS | {"model.neighbours": 4, "model.prior": 2}),
}


class MetaNoise(Noise):
    """Random numbers without values: torch has no generator of them."""

    def __init__(self, *_):
        super().__init__()
        self.device, self.generator = META, None


@pytest.fixture
def run(request, monkeypatch, tmp_path):
    name, changes = RECIPES[request.param]
    monkeypatch.setattr("models.training.learner.Noise", MetaNoise)
    monkeypatch.setattr("models.recipes.tables.Recipe.check_data", lambda *_: None)
    return Run(load_recipe(name, changes), tmp_path, tmp_path / "run", machine=Machine(META, workers=1))


@pytest.mark.parametrize("run", RECIPES, indirect=True)
def test_a_step_stays_on_its_device_and_waits_for_nothing(run):
    channels = 1 if getattr(run.recipe.model, "kind", "samples") == "bits" else 3
    crops = np.random.default_rng(0).integers(0, 2, (2, run.task.crop, run.task.crop, channels), dtype=np.uint8)
    batch = each(lambda t: t.to(META), run.task.batch(crops, np.random.default_rng(0)))
    for _ in range(2):
        loss = run.step(batch)
    assert loss.device == META
    assert all(tensor.device == META for tensor in run.learner.optimizer.state().values())
    assert all(p.device == META for p in run.average.parameters())


@pytest.mark.parametrize("run", ["samples"], indirect=True)
def test_off_the_cpu_steps_draw_from_a_pool(run, tmp_path, monkeypatch):
    draw_images(tmp_path / "some")
    batches = run.batches()
    assert isinstance(batches, Pool)
    for step in range(3):
        batch = batches.batch(step)
        assert {part.device for part in batch} == {META}
        assert batch.samples.shape == (2, run.task.crop, run.task.crop, 3)
        run.step(batch)
    batches.close()


def test_what_the_test_of_a_step_rests_on():
    there = torch.ones(3, device=META)
    with pytest.raises(RuntimeError):
        _ = there + torch.ones(3)
    with pytest.raises(RuntimeError):
        float(there.sum())


@pytest.mark.parametrize("width", [1, 2, 7, 30])
def test_contexts_are_read_where_the_codec_reads_them(width):
    offsets = np.concatenate([contexts.offsets(6), contexts.window(7, 4)])
    y, x = (a.reshape(-1, 1) for a in np.mgrid[0:9, 0:width])
    expected = contexts.neighbour(y, x, *offsets.T, width)
    found = neighbour(*(torch.from_numpy(a.copy()) for a in (y, x, *offsets.T)), width)
    assert np.array_equal(found.numpy(), expected)


def test_bfloat16_is_what_the_tensors_device_computes_in():
    x = torch.ones(2, 2)
    with lowered(x, True):
        assert (x @ x).dtype == torch.bfloat16
    with lowered(x, False):
        assert (x @ x).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_trains():
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    assert not has_bfloat16(torch.device("cpu"))
    with pytest.raises(RecipeError, match="torch sees no GPU"):
        choose_device("cuda")
