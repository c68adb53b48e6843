"""The way back through the frozen synthesis gives torch's gradient, with any threads and strips. Needs torch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from codec.encoder import synthesis_gradient  # noqa: E402
from codec.frozen import transform_weights  # noqa: E402
from codec.networks import quantisation, transform  # noqa: E402
from models.freezing.freeze_transforms import freeze_transforms, gains, watch_transforms  # noqa: E402
from models.freezing.peaks import Peaks  # noqa: E402
from models.nets.depthwise import DepthwiseBlock  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402

pytestmark = pytest.mark.train

SHAPE = {
    "model.channels": 24,
    "model.width": 24,
    "model.analysis_blocks": 0,
    "model.synthesis_blocks": 2,
    "model.fine_width": 8,
    "model.synthesis_fine_blocks": 3,
    "model.levels": 3,
    "model.groups": 4,
    "model.planes": 6,
}
LEVEL = 40
HEIGHT, WIDTH = 93, 70


@pytest.fixture(scope="module")
def both():
    """Return a random model, whose networks say something, and its frozen transforms."""
    torch.set_num_threads(1)
    model = task_of(load_recipe("lossy", SHAPE)).new_model()
    torch.manual_seed(5)
    with torch.no_grad():
        model.synthesis.output.weight.normal_(0, 0.05)
        for block in model.synthesis.blocks:
            if isinstance(block, DepthwiseBlock):
                block.conv2.weight.normal_(0, 0.1)
                block.levels.weight.normal_(0, 0.3)
    images = 60 * torch.randn(4, 3, 96, 96)
    level = model.level(torch.full((4,), LEVEL / 99))
    peaks = Peaks()
    watch_transforms(model, peaks)
    with torch.no_grad():
        model.synthesise(model.analyse(images, level), level)
    peaks.stop()
    frozen = freeze_transforms(model, peaks.values, gains(model, images, np.random.default_rng(0)), np.ones(24))
    return model, transform_weights.parse(frozen.tensors, frozen.config)


@pytest.fixture(scope="module")
def case(both):
    """Return dequantised y of an image, and derivatives of some distortion by its samples, of which few are large."""
    _, transforms = both
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    with ThreadPoolExecutor(1) as pool:
        y = transform.analyse(samples, transforms, LEVEL, pool, 1)
    steps = transforms.steps[LEVEL]
    values = quantisation.dequantise(quantisation.quantise(y, steps, 511), steps)
    scale = np.exp(2 * rng.normal(size=(HEIGHT, WIDTH, 1)))
    return values, (scale * rng.normal(size=(HEIGHT, WIDTH, 3))).astype(np.float32)


def gradient(transforms, case, workers):
    with ThreadPoolExecutor(workers) as pool:
        return synthesis_gradient.Backward(transforms, LEVEL, pool, workers).gradient(*case)


def test_it_is_the_gradient_of_the_float_synthesis(both, case):
    model, transforms = both
    values, lost = case
    y = torch.tensor(values / 16).permute(2, 0, 1)[None].float().requires_grad_()
    whole = model.synthesise(y, model.level(torch.tensor([LEVEL / 99])))
    mapped = torch.nn.functional.pixel_shuffle(model.synthesis.mapped(y), 8)
    by_samples = torch.tensor(lost).permute(2, 0, 1)[None]
    expected, linear = (
        torch.autograd.grad(samples[..., :HEIGHT, :WIDTH], y, by_samples, retain_graph=True)[0] / 16
        for samples in (whole, mapped)
    )
    expected, linear = (part[0].permute(1, 2, 0).numpy() for part in (expected, linear))
    found = gradient(transforms, case, 1)
    # Hidden units near zero differ between integers and floats. Places at the border see fewer others.
    inner = (slice(2, -2), slice(2, -2))
    for part in (..., inner, (slice(0, 1),), (slice(-1, None),), (slice(None), slice(0, 1))):
        assert np.linalg.norm((found - expected)[part]) < 0.15 * np.linalg.norm((expected - linear)[part])


@pytest.mark.parametrize("rows", [1, 5, 128])
def test_threads_and_strips_change_nothing(both, case, rows, monkeypatch):
    _, transforms = both
    expected = gradient(transforms, case, 1)
    monkeypatch.setattr(synthesis_gradient, "STRIP_ROWS", rows)
    np.testing.assert_array_equal(gradient(transforms, case, 3), expected)
