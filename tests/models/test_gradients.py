"""The encoder's gradients, of the bits of y and of distortion, are those of torch. Needs torch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from codec.encoder.bits_gradient import bits_gradient  # noqa: E402
from codec.entropy.rate_distortion import FINE  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from codec.images.distortion import distortion  # noqa: E402
from models.freezing.thaw_lossy import thaw_lossy  # noqa: E402
from models.nets.lossy import mixtures  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks import distortion as torch_distortion  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.training.finish import freeze  # noqa: E402

pytestmark = pytest.mark.train

SHAPE = {
    "model.channels": 24,
    "model.width": 8,
    "model.analysis_blocks": 0,
    "model.synthesis_blocks": 1,
    "model.fine_width": 4,
    "model.synthesis_fine_blocks": 1,
    "model.levels": 3,
    "model.groups": 4,
    "model.planes": 6,
    "model.coder.width": 64,
    "model.coder.head": 16,
    "train.pixels": 64,
    "train.structure": 0.0,  # the crops are too small for it
    "data": [{"folder": "some", "share": 1.0, "past": 0.0}],
}
CONDITION = 60


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return a random model whose coder sees much in its contexts, thawed, and the same frozen."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    (folder / "some").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:90, 0:100] / 12.0
    planes = np.stack([np.sin(x * (1 + c) / 2) * np.cos(y) for c in range(3)], -1)
    Image.fromarray(np.clip(128 + 70 * planes + rng.normal(0, 9, planes.shape), 0, 255).astype(np.uint8)).save(
        folder / "some" / "x.png"
    )
    task = task_of(load_recipe("lossy", SHAPE))
    torch.manual_seed(5)
    model = task.new_model()
    with torch.no_grad():
        for layer in model.coder.likelihood.outputs:
            layer.weight.mul_(3)
    data = freeze(task, model, task.material(folder, 2))
    thaw_lossy(data, model)
    model.requires_grad_(False)
    return model, parse_model(data)


def alike(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_the_gradient_of_bits(both):
    model, frozen = both
    rng = np.random.default_rng(1)
    values = np.rint(FINE * rng.laplace(0, 2, (20, 33, 24))).astype(np.int16)
    with ThreadPoolExecutor(1) as pool:
        found = sum(bits_gradient(frozen, values, CONDITION, pool, 1))
    y = torch.tensor(values / FINE).permute(2, 0, 1)[None].float()
    seen, coded = y.clone().requires_grad_(), y.clone().requires_grad_()
    biases = model.coder.biases_off(model.level(torch.tensor([CONDITION / 99])))[:, None]
    parts = torch.autograd.grad(mixtures(model, seen, biases).bits(coded, model.config.limit).sum(), (seen, coded))
    # Torch looks not through the rounding of references, which the first channels have.
    by_context, own = (part[0].permute(1, 2, 0).numpy()[..., model.config.references :] for part in parts)
    found = found[..., model.config.references :]
    assert np.linalg.norm(by_context) > 0.2 * np.linalg.norm(own)
    assert alike(found, own + by_context) > 0.99
    assert alike(found - own, by_context) > 0.98
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(own + by_context), rel=0.02)


@pytest.mark.parametrize("shape", [(176, 192), (161, 167)])
def test_the_gradient_of_distortion(shape):
    train = load_recipe("lossy").train
    rng = np.random.default_rng(2)
    samples = np.clip(rng.normal(128, 30, (*shape, 3)).cumsum(1) % 256, 0, 255).astype(np.uint8)
    restored = np.clip(samples + rng.normal(0, 6, samples.shape), 0, 255).astype(np.uint8)
    with ThreadPoolExecutor(1) as pool:
        value, gradient = distortion(restored, samples, train.squared_error, train.structure, pool, 1)
    x, y = (torch.tensor(image).permute(2, 0, 1)[None].float() - 128 for image in (samples, restored))
    lost = torch_distortion.distortion(y.requires_grad_(), x, train).sum()
    (expected,) = torch.autograd.grad(lost, y)
    assert value == pytest.approx(float(lost.detach()), rel=1e-3)
    assert np.linalg.norm(gradient - expected[0].permute(1, 2, 0).numpy()) < 1e-3 * np.linalg.norm(gradient)
