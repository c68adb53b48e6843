"""Depthwise transforms: their initial values, their contexts and their cost. Needs torch."""

import pytest

torch = pytest.importorskip("torch")

from codec.networks.transform import PATCH, SAMPLES  # noqa: E402
from models.nets.depthwise import DepthwiseAnalysis, DepthwiseBlock, DepthwiseSynthesis, Shape  # noqa: E402
from models.nets.transforms import multiply_adds  # noqa: E402
from models.training.optimizer import MATRICES  # noqa: E402

pytestmark = pytest.mark.train

PLAIN = Shape(width=8, blocks=2)
FINE = Shape(width=8, blocks=1, fine_width=4, fine_blocks=1)
LEVEL = torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize("shape", [PLAIN, FINE])
def test_they_begin_as_a_map_and_its_inverse(shape):
    image = torch.randn(1, 3, 16, 24) * 40
    y = DepthwiseAnalysis(SAMPLES, shape, 2)(image, LEVEL)
    assert y.shape == (1, SAMPLES, 16 // PATCH, 24 // PATCH)
    assert torch.allclose(DepthwiseSynthesis(SAMPLES, shape, 2)(y, LEVEL), image, atol=1e-3)


@pytest.mark.parametrize("shape", [PLAIN, FINE])
def test_every_parameter_learns(shape):
    torch.manual_seed(0)
    image = torch.randn(1, 3, 16, 24) * 40
    transforms = torch.nn.ModuleList([DepthwiseAnalysis(SAMPLES, shape, 2), DepthwiseSynthesis(SAMPLES, shape, 2)])
    with torch.no_grad():
        for transform in transforms:
            transform.output.weight.normal_()
            for block in transform.blocks:
                if isinstance(block, DepthwiseBlock):
                    block.conv2.weight.normal_()
    analysis, synthesis = transforms
    (synthesis(analysis(image, LEVEL), LEVEL) ** 2).mean().backward()
    assert all(p.grad.any() for p in transforms.parameters())


def test_a_block_repeats_the_edge():
    block = DepthwiseBlock(4, 2, 2)
    torch.nn.init.normal_(block.conv2.weight)
    flat = torch.ones(1, 4, 3, 5)
    result = block(flat, LEVEL)
    assert torch.allclose(result, result[:, :, :1, :1].expand_as(result), atol=1e-6)


def test_multiply_adds_of_both_resolutions_are_counted():
    y = torch.zeros(1, SAMPLES, 2, 3)
    pixels = 64 * 6
    plain = multiply_adds(DepthwiseSynthesis(SAMPLES, PLAIN, 2), y, LEVEL, pixels)
    linear, ends = SAMPLES * SAMPLES, 8 * 2 * SAMPLES
    assert 64 * plain == linear + ends + 2 * 8 * (9 + 2 * 16)
    fine = multiply_adds(DepthwiseSynthesis(SAMPLES, FINE, 2), y, LEVEL, pixels)
    coarse = SAMPLES * 8 + 8 * (9 + 2 * 16) + 8 * 4 * 4
    assert 64 * fine == linear + coarse + 4 * (4 * (9 + 2 * 8) + 4 * 3 * 16)


def test_muon_steps_their_matrices():
    names = [name for name, _ in torch.nn.ModuleDict({"synthesis": DepthwiseSynthesis(8, FINE, 2)}).named_parameters()]
    matrices = {name for name in names if MATRICES.fullmatch(name)}
    blocks = {f"synthesis.blocks.{i}.{conv}.weight" for i in (0, 2) for conv in ("conv1", "conv2")}
    assert matrices == blocks | {"synthesis.input.weight", "synthesis.blocks.1.conv1.weight"}
