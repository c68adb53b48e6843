"""The lossy experiments: what they compute, and the tables that their commands print. Needs torch."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

# The last one is found from the repository's root, so with `python -m pytest`.
for library in ("torch", "pytorch_msssim", "scipy", "benchmarks"):
    pytest.importorskip(library)

import torch  # noqa: E402

from benchmarks.experiments import decoder, layers, refinement, training  # noqa: E402
from codec.format.headers import Latents  # noqa: E402
from codec.images import lossy_encoder  # noqa: E402
from codec.networks.convolutions import blank_plane  # noqa: E402
from models.training.optimizer import orthogonal  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def case():
    torch.set_num_threads(1)
    y, x = np.mgrid[0:176, 0:176] / 9.0
    planes = np.stack([np.sin(x * (1 + c) / 2) * np.cos(y) for c in range(3)], -1)
    noise = np.random.default_rng(0).normal(0, 3, planes.shape)
    samples = np.clip(128 + 90 * planes + 8 * noise, 0, 255).astype(np.uint8)  # lively: numbers have neighbours
    return refinement.Case(refinement.Tools(), samples, 40)


def test_roundings_become_whole_numbers():
    y = torch.tensor([0.1, -0.3, 2.8, -4.7], requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    for rounding in (refinement.staircase, lambda y, done: refinement.at_random(y, done, generator)):
        late = rounding(y, 1.0)
        assert (late - late.round()).abs().max() < 0.07
        (gradient,) = torch.autograd.grad(rounding(y, 0.0).sum(), y)
        assert (gradient >= 0).all()
        assert gradient.any()


def test_efforts_are_those_of_the_codec(case):
    coded = lossy_encoder.encode(case.tools.frozen, case.samples, 40, Latents.NONE, effort=2, threads=1)
    assert np.array_equal(refinement.Effort(2)(case), coded.encoded.samples)


@pytest.mark.parametrize("method", [refinement.Descent(6), refinement.Bounded(4)])
def test_descent_lowers_the_cost_that_files_have(case, method):
    nearest = refinement.measure(case, refinement.Effort(1))
    found = refinement.measure(case, method)
    assert found["cost_bpp"] < 0.99 * nearest["cost_bpp"]


def test_float_costs_are_those_of_files(case):
    numbers = refinement.Effort(1)(case)
    q = refinement.to_tensor(numbers)
    file = refinement.measure(case, lambda _: numbers)
    with torch.no_grad():
        bits, lost = float(case.bits(q, q)), float(case.lost(q))
    heads = 2 * 64  # of the messages of both lanes
    assert bits + heads == pytest.approx(file["bpp"] * case.pixels, rel=0.005)
    assert bits + heads + lost == pytest.approx(file["cost_bpp"] * case.pixels, rel=0.005)


def test_a_step_moves_y_against_the_gradient(case):
    before, after = refinement.Steps(0)(case), refinement.Steps(1)(case)
    assert np.array_equal(before, case.quantised(case.y))
    assert (before != after).any()


def test_the_table_compares_with_effort_2(tmp_path):
    def cost(quality, decibels):
        return refinement.price_of(quality) * 10 ** (5 - decibels / 10)

    rows = [
        {"image": "a", "quality": quality, "method": method, "bpp": share * rate, "psnr_db": decibels}
        | {"ms_ssim": 1 - 10 ** (-decibels / 20), "cost_bpp": share * rate + cost(quality, decibels), "seconds": 1.0}
        for method, share in (("effort 2", 1.0), ("Adam 10", 0.9))
        for quality, rate, decibels in ((20, 0.2, 28.0), (40, 0.5, 31.0), (60, 1.0, 35.0), (80, 2.0, 39.0))
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = CliRunner().invoke(refinement.main, ["table", "--results", str(file)])
    assert found.exit_code == 0, found.output
    assert "| Adam 10 | 4 | -10.0 % | -10.0 % | -10.0 % | " in found.output


def test_arms_differ_in_what_they_train_alone():
    base = decoder.shipped()
    q, level = torch.zeros(1, 128, 2, 2), torch.full((1, 9), 1 / 9)
    for name, arm in decoder.ARMS.items():
        model = decoder.new_model(arm, base)
        learns = {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad}
        assert learns == {"coder" if arm.width else "synthesis"}, name
        same = decoder.restored if arm.width else decoder.coded_bits
        assert torch.allclose(same(model, q, level), same(base, q, level), rtol=1e-3, atol=1e-3), name
        assert decoder.trained(model, arm) is not decoder.trained(base, arm), name
    assert decoder.multiply_adds_of(decoder.new_model(decoder.ARMS["dense"], base), decoder.ARMS["dense"]) == 35520


def test_training_an_arm_lowers_its_cost():
    torch.set_num_threads(1)
    base, arm = decoder.shipped(), decoder.Arm("small", decoder.Shape(width=16, blocks=1))
    crops = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    quality = torch.full((8,), 0.5)
    images = decoder.to_images(crops)
    q = decoder.quantised(base, images, quality)
    model = decoder.new_model(arm, base)
    before = float(decoder.costs(model, arm, images, q, quality).detach().mean())
    pool = decoder.Pool(crops, q.numpy().astype(np.int16), quality.numpy())
    average, _ = decoder.fit(model, arm, pool, 12)
    assert float(decoder.costs(average, arm, images, q, quality).detach().mean()) < before


def test_the_table_compares_arms_of_a_kind(tmp_path):
    def write(name, bits, decibels):
        points = [[share * bits, 28 + 6 * np.log2(share) / 2 + decibels] for share in (0.25, 0.5, 1.0, 2.0, 4.0)]
        values = {"steps": 5, "minutes": 1.0, "macs": 35520, "figures": dict.fromkeys(decoder.FOLDERS, points)}
        (tmp_path / f"{name}.json").write_text(json.dumps(values))

    write("dense", 0.4, 0.0)
    write("depthwise", 0.4, 0.1)
    write("entropy-256", 0.4, 0.0)
    write("entropy-512", 0.36, 0.0)
    found = CliRunner().invoke(decoder.main, ["table", "--runs", str(tmp_path)])
    assert found.exit_code == 0, found.output
    lines = {line.split(" | ")[0].strip("| "): line for line in found.output.splitlines()}
    assert "| +0.0 % |" in lines["dense 3 x 3, 3 blocks of 192"]
    assert "| -2.3 % |" in lines["depthwise, 8 blocks of 256, hidden 512"]  # 0.1 of 3 dB an octave
    assert "| -10.0 % |" in lines["width 512"]


def test_the_depthwise_prototype_is_a_convolution():
    rng = np.random.default_rng(0)
    shape, channels = (3, 4), 5
    x, inner = blank_plane(shape, channels)
    inner[...] = rng.integers(-99, 100, inner.shape)
    weight = rng.integers(-9, 10, (9, channels)).astype(np.int16)
    bias, shift = rng.integers(-50, 50, channels).astype(np.int32), np.arange(channels, dtype=np.int32)
    out, result = blank_plane(shape, channels)
    layers.depthwise(shape, x, weight, bias, shift, 200, out)
    full = x.reshape(5, 6, channels).astype(np.int64)
    sums = sum(full[r : r + 3, c : c + 4] * weight[3 * r + c] for r in range(3) for c in range(3))
    assert np.array_equal(result, np.clip((sums + bias) >> shift, -200, 200))


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_bfloat16_finds_about_the_same_orthogonal_matrix(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    exact, quick = orthogonal(matrix), training.orthogonal_bfloat16(matrix)
    assert quick.dtype == matrix.dtype
    assert (exact - quick).norm() < 0.06 * exact.norm()
