"""The lossy model in float: its transforms, its coder of y, and that training lowers its cost. Needs torch."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

torch = pytest.importorskip("torch")

from torch.nn.functional import pixel_unshuffle  # noqa: E402

from codec.encoder import masking  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from codec.images.metrics import ms_ssim  # noqa: E402
from codec.networks.transform import SAMPLES, analyse, synthesise  # noqa: E402
from models.data.crops import centre, load_images  # noqa: E402
from models.errors import RecipeError  # noqa: E402
from models.freezing.freeze_transforms import gains  # noqa: E402
from models.freezing.thaw_lossy import thaw_lossy  # noqa: E402
from models.nets import lossy  # noqa: E402
from models.nets.depthwise import DepthwiseBlock  # noqa: E402
from models.nets.latents import bin_mass, rounded  # noqa: E402
from models.nets.lossy import COARSEST, compress, first_steps, mixtures, near, price, tensor_bits  # noqa: E402
from models.nets.structure import ms_ssim as structure_alike  # noqa: E402
from models.nets.transforms import linear_rows  # noqa: E402
from models.noise import Noise  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks.compare import float_code, frozen_code, lossy_figures  # noqa: E402
from models.tasks.distortion import distortion  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.training.finish import CARD, FROZEN, finish, freeze  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

SMALL = {
    "model.channels": 24,
    "model.width": 16,
    "model.analysis_blocks": 1,
    "model.synthesis_blocks": 1,
    "model.fine_width": 8,
    "model.synthesis_fine_blocks": 1,
    "model.levels": 3,
    "model.groups": 4,
    "model.planes": 6,
    "train.steps": 12,
    "train.decay_steps": 6,
    "train.warmup_steps": 2,
    "train.batch": 2,
    "train.pixels": 64,
    "train.average": 0.5,
    "train.structure": 0.0,  # the crops are too small for it
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


def test_steps_are_those_at_which_a_bit_costs_what_it_saves():
    steps, prices = first_steps(5), price(torch.linspace(0, 1, 5))
    fine = steps > 1
    assert (steps.diff() <= 0).all()
    assert torch.allclose((prices * steps**2 / 6)[fine], torch.tensor(3 / math.log(2)))


def test_levels_are_interpolated(recipe):
    model = task_of(recipe).new_model()
    level = model.level(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert torch.equal(level, torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]))


def test_distortion_is_squared_error_and_lost_structure():
    train = load_recipe("lossy", {"train.squared_error": 0.5, "train.structure": 300.0}).train
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (2, 176, 180, 3), dtype=np.uint8)
    images[1] //= 4
    others = np.clip(images + rng.normal(0, [[[[20]]], [[[5]]]], images.shape), 0, 255).astype(np.uint8)
    found = distortion(*(torch.tensor(x).permute(0, 3, 1, 2).float() - 128 for x in (others, images)), train)
    pairs = list(zip(images, others, strict=True))
    lost = [0.5 * ((a.astype(float) - b) ** 2).mean() + 300 * (1 - ms_ssim(a, b)) for a, b in pairs]
    assert found.tolist() == pytest.approx(lost, rel=1e-3)


def test_ms_ssim_has_the_gradient_of_the_reference():
    reference = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(0)
    x = 255 * torch.rand(2, 3, 165, 178)
    y = (x + 20 * torch.randn_like(x)).clamp(0, 255).requires_grad_()
    found, expected = structure_alike(x, y), reference.ms_ssim(x, y, data_range=255, size_average=False)
    assert torch.allclose(found, expected, rtol=1e-4)
    own, other = (torch.autograd.grad(value.sum(), y)[0] for value in (found, expected))
    assert (own - other).norm() < 1e-3 * other.norm()


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
        tensor_bits(model, values, None, model.coder.biases_off(model.level(torch.zeros(1)))[:, None])
    first, second = (mass.detach()[0, 0] for mass in kept)
    assert torch.equal(first[:12], second[:12])
    assert (first[18:] != second[18:]).any()


def test_compress_is_odd_and_grows():
    values = torch.arange(-50.0, 51.0)
    seen = compress(values)
    assert torch.equal(seen, -seen.flip(0))
    assert (seen.diff() > 0).all()


def test_compress_has_a_gradient_at_zero_too():
    values = torch.tensor([-0.001, 0.0, 0.001], requires_grad=True)
    compress(values).sum().backward()
    assert values.grad.tolist() == pytest.approx([0.5 / math.log(2)] * 3, rel=1e-3)


def test_training_lowers_the_cost_and_resumes(recipe, data, tmp_path):
    torch.set_num_threads(1)
    run = Run(recipe, data, tmp_path / "a")
    run.evaluate()
    assert run.train(float("inf"))
    before, after = run.progress.history
    for quality in ("0.0", "0.6", "1.0"):
        assert after[f"some q={quality}"] < before[f"some q={quality}"]
    again = Run(recipe, data, tmp_path / "a")
    assert again.progress.step == recipe.train.steps
    for a, b in zip(again.average.parameters(), run.average.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def lively(recipe):
    """Return a random model whose networks say something, as those of trained ones do."""
    torch.manual_seed(5)
    model = task_of(recipe).new_model()
    with torch.no_grad():
        for transform in (model.analysis, model.synthesis):
            transform.output.weight.normal_(0, 0.02)
            transform.output.bias.normal_(0, 0.1)
            for block in transform.blocks:
                if isinstance(block, DepthwiseBlock):
                    block.conv2.weight.normal_(0, 0.1)
                    block.levels.weight.normal_(0, 0.3)
                else:
                    block.conv1.bias.normal_(0, 0.3)
        model.coder.condition.weight.normal_(0, 0.1)
        model.log_steps.add_(0.1 * torch.randn_like(model.log_steps))
    return model


@pytest.fixture(scope="module")
def weights(recipe, lively, data):
    torch.set_num_threads(1)
    return freeze(task_of(recipe), lively, task_of(recipe).material(data, 2))


@pytest.fixture(scope="module")
def frozen(weights):
    return parse_model(weights)


@pytest.mark.parametrize("condition", [0, 31, 50, 99])
def test_a_frozen_model_is_the_float_one(lively, frozen, data, condition):
    samples = centre(load_images(data / "some")[1], 96, 8)
    before, after = float_code(lively, samples, condition / 99, sample=False), frozen_code(frozen, samples, condition)
    assert after.bits == pytest.approx(before.bits, rel=0.01)
    assert after.psnr == pytest.approx(before.psnr, abs=0.05)
    # Another quality has other biases and steps.
    other = float_code(lively, samples, (condition / 99 + 0.5) % 1, sample=False)
    assert abs(other.psnr - before.psnr) > 0.5


@pytest.mark.parametrize("condition", [0, 31, 99])
def test_a_thawed_model_computes_what_the_frozen_one_does(recipe, weights, frozen, data, condition):
    thawed = task_of(recipe).new_model()
    thaw_lossy(weights, thawed)
    samples = centre(load_images(data / "some")[1], 96, 8)
    before, after = frozen_code(frozen, samples, condition), float_code(thawed, samples, condition / 99, sample=False)
    assert after.bits == pytest.approx(before.bits, rel=0.005)
    assert after.psnr == pytest.approx(before.psnr, abs=0.02)
    steps = thawed.steps(thawed.level(torch.tensor([condition / 99])))[0, :, 0, 0]
    np.testing.assert_allclose(steps.detach(), frozen.transforms.steps[condition] / 65536, rtol=1e-3)


@torch.no_grad()
def test_a_larger_coder_goes_on_from_frozen_weights(recipe, weights):
    larger = load_recipe("lossy", SMALL | {"model.coder": recipe.model.vlae | {"width": 512}})
    fresh, thawed = (task_of(one).new_model() for one in (larger, recipe))
    for model in (fresh, thawed):
        thaw_lossy(weights, model)
    level = thawed.level(torch.tensor([0.4]))
    y = torch.randint(-3, 4, (1, 24, 6, 7), generator=torch.Generator().manual_seed(0)).float()
    bits = [float(tensor_bits(model, y, None, model.coder.biases_off(level)[:, None])) for model in (fresh, thawed)]
    assert bits[0] == pytest.approx(bits[1], rel=1e-4)


def test_a_model_without_latents_learns_and_pays_nothing_for_them(data):
    task = task_of(load_recipe("lossy", SMALL))
    model = task.new_model()
    assert not [name for name, _ in model.named_parameters() if "posterior" in name or "prior" in name]
    loss = task.loss(model, task.batch(task.material(data, 1).batch(0, 2), np.random.default_rng(0)), Noise(0), 0)
    loss.backward()
    assert torch.isfinite(loss)
    coded = float_code(model, centre(load_images(data / "some")[1], 64, 8), 0.5, sample=True)
    assert coded.bits > coded.latent_bits == 0


def test_encoders_know_how_much_structure_counts_in_training():
    assert load_recipe("lossy").train.structure == masking.TRAINED


def test_the_rows_of_biases_are_those_of_levels(weights):
    rows = {len(tensor) for name, tensor in load(weights).items() if name.endswith("biases") and tensor.ndim == 2}
    assert rows == {SMALL["model.levels"]}


def test_a_model_without_latents_is_not_thawed_into_one_with_latents(weights):
    with pytest.raises(ValueError, match="latents is 0, not 4"):
        thaw_lossy(weights, task_of(load_recipe("lossy", SMALL | {"model.coder.latents": 4})).new_model())


def test_blocks_at_a_quarter_of_the_resolution_count_four_times():
    found = []
    for more in (0, 5):
        recipe = load_recipe("lossy", SMALL | {"model.synthesis_fine_blocks": 1 + more})
        task = task_of(recipe)
        found.append(task.multiply_adds(task.new_model())["synthesis"])
    block = 8 * (9 + 2 * recipe.model.expansion * 8)
    assert found[1] - found[0] == pytest.approx(5 * 4 * block / 64, abs=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model.limit": 255}, "limit is 511, not 255"),
        ({"model.synthesis_blocks": 2}, "coarse has 1 blocks, not 2"),
        ({"model.width": 24}, "a tensor has|a layer has shape"),
        ({"model.levels": 4}, "a tensor has"),
        ({"model.coder": load_recipe("lossy").model.vlae | {"width": 128}}, "width is 480, not 128"),
    ],
)
def test_a_lossy_model_of_another_shape_is_not_thawed(weights, change, says):
    with pytest.raises(ValueError, match=says):
        thaw_lossy(weights, task_of(load_recipe("lossy", SMALL | change)).new_model())


def test_frozen_transforms_are_near_the_float_ones(lively, frozen, data):
    samples = centre(load_images(data / "some")[0], 96, 8)
    x = torch.tensor(samples).permute(2, 0, 1)[None].float() - 128
    level = lively.level(torch.tensor([40 / 99]))
    with ThreadPoolExecutor(1) as pool, torch.no_grad():
        y = analyse(samples, frozen.transforms, 40, pool, 1) / 256
        expected = lively.analyse(x, level)[0].permute(1, 2, 0).numpy()
        network = expected - lively.analysis.mapped(pixel_unshuffle(x, 8))[0].permute(1, 2, 0).numpy()
        assert np.abs(y - expected).max() < 0.05 * network.std()
        values = np.rint(16 * y).astype(np.int16)
        decoded = synthesise(values, frozen.transforms, 40, *samples.shape[:2], pool, 1)
        back = lively.synthesise(torch.from_numpy(values / 16).permute(2, 0, 1)[None].float(), level)
        back = (back[0].permute(1, 2, 0) + 128).clamp(0, 255).numpy()
    assert np.abs(decoded - back).max() < 0.7


def test_steps_and_prices_are_those_of_each_quality(lively, frozen):
    quality = torch.arange(100) / 99
    steps = lively.steps(lively.level(quality)).detach()[:, :, 0, 0].double().numpy()
    np.testing.assert_allclose(frozen.transforms.steps / 65536, steps, rtol=1e-4)
    assert (steps[0, :3] < COARSEST).all()
    assert steps[0, 3:].min() > max(COARSEST)
    assert (np.diff(steps, axis=0) < 0).all()
    worth = frozen.transforms.prices / steps**2 / price(quality)[:, None].numpy()
    gain = np.median(worth, 0) * 3 / 256
    np.testing.assert_allclose(worth * 3 / 256, np.broadcast_to(gain, worth.shape), rtol=0.02)


def test_gains_are_the_squared_error_that_a_unit_makes(recipe):
    # The map begins orthonormal. Then one channel counts twice in samples.
    model = task_of(recipe).new_model()
    with torch.no_grad():
        model.synthesis.linear.weight[:, 3] *= 2
    images = 50 * torch.randn(2, 3, 32, 32)
    expected = np.ones(24)
    expected[3] = 4
    np.testing.assert_allclose(gains(model, images, np.random.default_rng(0)), expected, rtol=0.4)


def test_the_card_says_what_freezing_costs(recipe, data, tmp_path):
    torch.set_num_threads(1)
    run = Run(recipe, data, tmp_path / "run")
    assert run.train(float("inf"))
    card = finish(run)
    assert json.loads((run.folder / CARD).read_text()) == card
    weights = (run.folder / FROZEN).read_bytes()
    model = parse_model(weights)
    assert (model.hash.hex(), len(weights)) == (card["hash"], card["weights_bytes"])
    assert (model.kind.name, model.conditions) == ("tensor", 100)
    assert set(card["validation"]) == {"some q=0.0", "some q=0.6", "some q=1.0"}
    figures = list(card["validation"].values())
    assert all(abs(row["freezing_percent"]) < 1 for row in figures)
    crops = [centre(image, recipe.validation_pixels, 8) for image in load_images(data / "some")]
    coded = [float_code(run.average, crop, 59 / 99, sample=False) for crop in crops]
    assert figures[1]["bpp"] == pytest.approx(np.mean([code.bits / 48**2 for code in coded]))
    assert figures[1]["psnr_db"] == pytest.approx(np.mean([code.psnr for code in coded]))
    assert "ms_ssim" not in figures[0]  # crops are too small
    assert figures[0]["psnr_db"] < figures[1]["psnr_db"] < figures[2]["psnr_db"]
    coarse, fine, channels = 16, 8, 24
    blocks = [width * (9 + 2 * 2 * width) for width in (coarse, fine)]
    linear, ends = channels * SAMPLES, coarse * channels + 4 * fine * SAMPLES // 4
    network = round((linear + ends + coarse * 4 * fine + blocks[0] + 4 * blocks[1]) / 64)
    assert card["multiply_adds_per_pixel"]["analysis"] == card["multiply_adds_per_pixel"]["synthesis"] == network
    assert set(card["multiply_adds_per_pixel"]) == {"analysis", "synthesis", "likelihood"}


def test_figures_have_ms_ssim_where_images_are_large_enough(lively, frozen, data):
    figures = lossy_figures(lively, frozen, data / "some", 0.6, 88)
    assert "ms_ssim" not in figures
    folder = data / "large"
    folder.mkdir()
    samples = np.tile(load_images(data / "some")[0], (2, 2, 1))
    Image.fromarray(samples).save(folder / "x.png")
    figures = lossy_figures(lively, frozen, folder, 0.6, 176)
    coded = float_code(lively, centre(samples, 176, 8), 59 / 99, sample=False)
    assert figures["ms_ssim"] == ms_ssim(centre(samples, 176, 8), coded.samples)


def test_a_run_begins_from_frozen_weights(recipe, weights, data, tmp_path):
    start = tmp_path / "x.safetensors"
    start.write_bytes(weights)
    run = Run(recipe, data, tmp_path / "b", start)
    samples = centre(load_images(data / "some")[1], 96, 8)
    before, after = (
        frozen_code(parse_model(weights), samples, 50),
        float_code(run.model, samples, 50 / 99, sample=False),
    )
    assert after.bits == pytest.approx(before.bits, rel=0.005)
    with pytest.raises(RecipeError, match=r"x\.safetensors: the frozen model differs: limit is 511, not 255"):
        Run(load_recipe("lossy", SMALL | {"model.limit": 255}), data, tmp_path / "c", start)


def test_the_coder_learns_from_integers_and_the_transforms_from_noise(recipe):
    model = task_of(recipe).new_model()
    biases = model.coder.biases_off(model.level(torch.zeros(1)))[:, None]
    source = (2 * torch.randn(1, 24, 4, 5)).requires_grad_()
    y, noisy = rounded(source), source + torch.rand(source.shape) - 0.5
    coder = [p for p in model.coder.parameters() if p.requires_grad]

    def gradients(bits, *of):
        return torch.autograd.grad(bits.sum(), of, allow_unused=True, retain_graph=True)

    bits, plain = tensor_bits(model, y, noisy, biases), tensor_bits(model, y.detach(), None, biases)
    assert torch.allclose(bits, plain)
    for own, expected in zip(gradients(bits, *coder), gradients(plain, *coder), strict=True):
        assert (own is None and expected is None) or torch.allclose(own, expected)
    (own,) = gradients(bits, source)
    there = noisy.detach().requires_grad_()
    (expected,) = gradients(mixtures(model, y.detach(), biases).bits(there, model.config.limit), there)
    assert own.abs().sum() > 0
    assert torch.allclose(own, expected)
