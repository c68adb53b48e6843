"""The search of the highest effort: it lowers the cost, and threads and progress are as promised."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from codec.commands import demo
from codec.encoder.neighbours import neighbours
from codec.entropy.rate_distortion import frequency_bits
from codec.frozen.shipped import LOSSY, load_model
from codec.images import lossy_encoder, refinement
from codec.images.lossy_decoder import transforms_of
from codec.images.metrics import ms_ssim, psnr
from codec.networks.quantisation import quantise
from codec.networks.transform import analyse
from codec.vlae.image import Image
from codec.vlae.pixels import intervals

QUALITY = 45


@pytest.fixture(scope="module")
def model():
    return load_model(LOSSY)


@pytest.fixture(scope="module")
def samples():
    return np.tile(demo.draw(), (4, 4, 1))[:200, :183]


def start(model, samples, pool):
    return analyse(samples, transforms_of(model), QUALITY - 1, pool, 1)


def test_more_effort_is_worth_it(model, samples):
    found = [lossy_encoder.encode(model, samples, QUALITY, None, effort=effort) for effort in (2, 3)]
    two, three = ((8 * len(one.encoded.payload), psnr(samples, one.samples)) for one in found)
    # At a high rate, a dB is a sixth of a bit for each sample that is not zero; here far less.
    gained = 1 - three[0] / two[0] + 0.1 * (three[1] - two[1])
    assert gained > 0.03
    assert ms_ssim(samples, found[1].samples) > ms_ssim(samples, found[0].samples) - 0.003


def test_the_cost_falls_with_the_rounds(model, samples, monkeypatch):
    level = QUALITY - 1
    costs = []
    with ThreadPoolExecutor(1) as pool:
        strip = refinement._Strip(model, samples, level, pool, 1)
        y = start(model, samples, pool)
        nearest = quantise(y, transforms_of(model).steps[level], model.layout.high)
        costs.append(strip.state(nearest).cost)
        for rounds in (0, 4, 12):
            monkeypatch.setattr(refinement, "ROUNDS", rounds)
            costs.append(strip.state(refinement.refine(model, samples, y, level, pool, 1)).cost)
    assert costs[0] * 0.99 > costs[1]
    assert costs[1] > costs[2] > costs[3]


@pytest.mark.parametrize("positions", [1 << 14, 100])
def test_threads_change_nothing_and_strips_are_whole(model, samples, positions, monkeypatch):
    monkeypatch.setattr(refinement, "STRIP_POSITIONS", positions)
    monkeypatch.setattr(refinement, "ROUNDS", 2)
    told, found = [], []
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            y = start(model, samples, pool)
            before = y.copy()
            found.append(
                refinement.refine(model, samples, y, QUALITY - 1, pool, workers, lambda *call: told.append(call))
            )
            np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(*found)
    rounds = (2 + refinement.STEPS) * (1 if positions > 1000 else 7)
    assert told == 2 * [(done, rounds) for done in range(1, rounds + 1)]


def test_neighbours_cost_what_the_coder_says(model, samples):
    with ThreadPoolExecutor(2) as pool:
        y = start(model, samples, pool)
        q = quantise(y, transforms_of(model).steps[QUALITY - 1], model.layout.high)
        found = neighbours(model, q, QUALITY - 1, pool, 2)
        image = Image.of(model, q, QUALITY - 1)
        freqs = [intervals(image, index, None).freqs.reshape(-1).tolist() for index in range(image.bands)]
        assert 256 * found.bits == sum(frequency_bits(freq) for band in freqs for freq in band)
        # The last values of the last position are no contexts of others: their neighbours change nothing else.
        for change, more in ((1, found.more), (-1, found.less)):
            changed = q.copy()
            changed[-1, -1, -1] += change
            other = neighbours(model, changed, QUALITY - 1, pool, 1)
            assert 256 * (other.bits - found.bits) == more[-1, -1, -1]


def test_at_the_limits_there_are_no_neighbours(model):
    limit = model.layout.high
    q = np.zeros((2, 2, len(model.layout.order)), dtype=np.int16)
    q[0, 0, 5], q[1, 1, 7] = limit, -limit
    with ThreadPoolExecutor(1) as pool:
        found = neighbours(model, q, 0, pool, 1)
    assert found.more[0, 0, 5] == found.less[1, 1, 7] == 0
    assert (found.more != 0).mean() > 0.9
    assert (found.less != 0).mean() > 0.9


def test_prices_are_those_of_training():
    assert refinement.price(1, 100) == 0.0002
    assert refinement.price(100, 100) == pytest.approx(0.6)
    assert refinement.price(50, 99) == pytest.approx((0.0002 * 0.6) ** 0.5)


def test_the_staircase_meets_integers_and_gets_steeper():
    y = np.linspace(-2, 2, 401)
    for steepness in refinement.STEEPNESS:
        seen, slopes = refinement._staircase(y, steepness)
        whole = np.abs(y - np.rint(y)) < 1e-9
        np.testing.assert_allclose(seen[whole], y[whole], atol=1e-9)
        assert (np.diff(seen) > 0).all()
        numeric = np.gradient(seen, y)
        smooth = (np.abs(y - np.rint(y)) > 0.02) & (np.abs(y - np.floor(y) - 0.5) > 0.02)
        np.testing.assert_allclose(slopes[smooth], numeric[smooth], rtol=0.15)
