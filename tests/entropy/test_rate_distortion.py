"""Rate-distortion optimised quantisation chooses the integer near a value that costs least."""

import numpy as np
import pytest

from codec.constants import COMPONENTS
from codec.entropy.mixtures import interval, load_tables, number_grid, prepare, symbol_of
from codec.entropy.rate_distortion import FINE, PRICE_UNIT, cheapest, frequency_bits, is_zero

TABLE = load_tables()


@pytest.mark.parametrize("freq", [1, 2, 3, 255, 256, 257, 511, 512, 12345, (1 << 24) - 1, 1 << 24])
def test_bits_of_a_frequency(freq):
    assert frequency_bits(freq) == pytest.approx(PRICE_UNIT * (24 - np.log2(freq)), abs=1.5)


def laplacian(mean, scale):
    """Return a prepared mixture of one component; units as in `codec.entropy.mixtures.prepare`."""
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    prepare(np.array([0, mean, scale]), 1, 0, prepared, TABLE)
    return prepared


def test_what_is_chosen_costs_least_of_the_numbers_towards_zero():
    rng = np.random.default_rng(0)
    grid = number_grid(-20, 20)
    moved = 0
    for _ in range(500):
        value = int(rng.integers(-22 * FINE, 22 * FINE + 1))
        price = int(rng.integers(0, 3000))
        prepared = laplacian(int(rng.integers(-500, 500)), int(rng.integers(-60, 90)))
        nearest = min((abs(value) + FINE // 2) // FINE, 20)
        allowed = {nearest, max(nearest - 1, 0)} | ({0} if nearest <= 2 else set())

        def cost(number, value=value, price=price, prepared=prepared):
            _, freq = interval(symbol_of(int(np.sign(value)) * number, grid), grid, prepared, TABLE)
            return frequency_bits(freq) + price * (abs(value) - FINE * number) ** 2 // FINE**2

        chosen = cheapest(value, price, grid, prepared, TABLE) - 20
        assert abs(chosen) in allowed
        assert chosen * value >= 0
        assert cost(abs(chosen)) == min(cost(number) for number in allowed)
        moved += abs(chosen) != nearest
    assert moved > 50


def test_half_a_step_and_less_is_zero():
    assert all(is_zero(np.int16(value)) == (abs(value) <= FINE // 2) for value in range(-40, 41))
