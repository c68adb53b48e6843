"""The experiment on latents in the entropy model of the lossy mode's y. Needs torch."""

import pytest

# The last one is found from the repository's root, so with `python -m pytest`.
for library in ("torch", "pytorch_msssim", "scipy", "benchmarks"):
    pytest.importorskip(library)

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.experiments import decoder, lossy_latents  # noqa: E402
from benchmarks.experiments.lossy_latents import ARMS, cost, new_model  # noqa: E402
from benchmarks.experiments.training import SoftFreeBits  # noqa: E402
from models.noise import Noise  # noqa: E402
from models.training.optimizer import Optimizer  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return decoder.shipped()


def numbers(count, side=8):
    """Return numbers like those of y: large in the first channels, sparse in the last."""
    sizes = torch.exp2(3 - torch.arange(128) / 20)[:, None, None]
    return (torch.randn(count, 128, side, side, generator=torch.Generator().manual_seed(0)) * sizes).round()


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_learns_with_all_its_parameters(base, name):
    model, bits = new_model(name, base.config), SoftFreeBits(target=0.015)
    model.set_bfloat16(True)
    given, optimizer, costs = (numbers(2, 4), torch.tensor([0.3, 0.8])), Optimizer(model), []
    for step in range(3):
        lost = cost(model, base, given, step, 1.0, bits)
        lost.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step(0.002)
        costs.append(float(lost.detach()))
    assert costs[-1] < costs[0]
    assert (bits.steps > 0) == bool(ARMS[name].latents)


def test_twins_have_equal_multiply_adds_and_they_are_those_computed(base):
    macs = {name: new_model(name, base.config).multiply_adds() for name in ARMS}
    for name, arm in ARMS.items():
        if arm.twin:
            assert macs[name] == pytest.approx(macs[arm.twin], rel=0.01), name
    model, q = new_model("latents", base.config), numbers(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(q, base.level(torch.tensor([0.5])), Noise())
    assert counter.get_total_flops() / 2 / (64 * 64) == pytest.approx(macs["latents"], rel=0.001)


def test_latents_are_those_of_any_square(base):
    model, level = new_model("blind-z", base.config), base.level(torch.tensor([0.5]))
    with torch.no_grad():
        for side in (4, 8, 16):
            terms = model(numbers(1, side), level, Noise())
            assert terms.features.shape == (1, 16, side, side)
            assert terms.kl.shape == terms.bits.shape == (1,)


def test_hidden_contexts_are_not_seen(base):
    model, level, hidden = new_model("dropped", base.config), base.level(torch.tensor([0.5])), torch.tensor([False])
    q = numbers(1)
    with torch.no_grad():
        model.generator.output.weight.zero_()
        before = [float(model(q, level, Noise(), shown).bits) for shown in (None, hidden)]
        model.likelihood.hidden1.weight.mul_(2)
        after = [float(model(q, level, Noise(), shown).bits) for shown in (None, hidden)]
    assert before[0] != after[0]
    assert before[1] == pytest.approx(after[1], rel=1e-5)


def test_the_price_of_latents_follows_their_share():
    for share, way in ((0.02, 1), (0.01, -1), (0.0153, 0)):
        bits = SoftFreeBits(target=0.015)
        for _ in range(SoftFreeBits.PERIOD):
            bits.step(share)
        assert bits.price == pytest.approx(SoftFreeBits.FIRST * SoftFreeBits.FACTOR**way)
        for _ in range(60 * SoftFreeBits.PERIOD):
            bits.step(share)
        assert bits.price == pytest.approx({1: 1.0, -1: SoftFreeBits.LOW, 0: SoftFreeBits.FIRST}[way])


def test_the_table_compares_with_the_plain_arm_and_the_twin():
    def figures(bits):
        return {"steps": 7, "macs": 9932.0, "figures": dict.fromkeys(decoder.FOLDERS, [[bits, 0.01]] * 5)}

    lines = lossy_latents.table({"plain": figures(1.0), "wide": figures(0.8), "latents": figures(0.9)}).splitlines()
    assert "| 9.93 |" in lines[2]
    assert "| 1.11 % | -10.00 % | +12.50 % |" in lines[4]
