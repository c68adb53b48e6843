"""Mixtures on a grid: their cumulative function under any parameters, its inverse, its ideal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from codec import tables
from codec.distributions import (
    MEAN_STEPS,
    Grid,
    cumulative,
    find,
    ideal_bits,
    latent_grid,
    load_tables,
    prepare,
    sample_grid,
)

TOTAL = 1 << 24
TABLES = load_tables()


# Compiled anew each time: numba's cache does not notice changes in the functions called here.
@njit
def all_cumulative(raw, mixtures, shift, grid, table):
    prepared = np.zeros(3 * mixtures, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    return np.array([cumulative(k, grid, mixtures, prepared, table) for k in range(grid.count + 1)])


@njit
def find_all(targets, raw, mixtures, shift, grid, table):
    prepared = np.zeros(3 * mixtures, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    found = np.zeros((len(targets), 3), dtype=np.int64)
    for i in range(len(targets)):
        found[i, 0], found[i, 1], found[i, 2] = find(targets[i], grid, mixtures, prepared, table)
    return found


@njit
def prepared_of(raw, mixtures, shift, table):
    prepared = np.zeros(3 * mixtures, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    return prepared


grids = st.one_of(st.integers(0, 10).map(sample_grid), st.integers(1, 60).map(latent_grid), st.just(Grid(2, 256, -128)))


def with_extremes(usual, extreme):
    return st.one_of(st.integers(-usual, usual), st.integers(-extreme, extreme), st.sampled_from([-extreme, extreme]))


@st.composite
def parameters(draw):
    """Return (mixtures, raw, shift): usual ones and the largest that a layer can put out."""
    mixtures = draw(st.integers(1, 5))

    def several(strategy):
        return draw(st.lists(strategy, min_size=mixtures, max_size=mixtures))

    raw = (
        several(with_extremes(600, 2**31)) + several(with_extremes(70_000, 2**31)) + several(with_extremes(200, 2**31))
    )
    return mixtures, np.array(raw, dtype=np.int64), draw(with_extremes(70_000, 2**31))


@settings(deadline=None, max_examples=300)
@given(parameters(), grids)
def test_every_symbol_has_a_frequency(model, grid):
    mixtures, raw, shift = model
    cum = all_cumulative(raw, mixtures, shift, grid, TABLES)
    assert cum[0] == 0
    assert cum[-1] == TOTAL
    assert np.diff(cum).min() >= 1


@settings(deadline=None, max_examples=200)
@given(parameters(), grids, st.lists(st.integers(0, TOTAL - 1), max_size=20))
def test_find_inverts_cumulative(model, grid, targets):
    mixtures, raw, shift = model
    cum = all_cumulative(raw, mixtures, shift, grid, TABLES)
    # Both ends of every interval, and numbers within.
    targets = np.concatenate([cum[:-1], cum[1:] - 1, np.array(targets, dtype=np.int64)])
    symbols = np.searchsorted(cum, targets, side="right") - 1
    expected = np.stack([symbols, cum[symbols], cum[symbols + 1]], axis=1)
    np.testing.assert_array_equal(find_all(targets, raw, mixtures, shift, grid, TABLES), expected)


@settings(deadline=None)
@given(parameters())
def test_weights_sum_to_one(model):
    mixtures, raw, shift = model
    prepared = prepared_of(raw, mixtures, shift, TABLES)
    assert prepared[:mixtures].sum() == 1 << 15
    assert prepared[:mixtures].min() >= 0
    assert prepared[:mixtures].argmax() == raw[:mixtures].argmax()
    np.testing.assert_array_equal(prepared[mixtures : 2 * mixtures], raw[mixtures : 2 * mixtures] + shift)


def test_weights_are_in_steps_of_an_octave():
    raw = np.array([128, 64, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(prepared_of(raw, 3, 0, TABLES)[:3], [18725, 9362, 4681])


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10).map(sample_grid), st.integers(1, 4), st.integers(0, 2**32))
def test_ideal_bits_are_close_to_the_frequencies(grid, mixtures, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-300, 300, mixtures)
    means = rng.integers(-20 * 256, 275 * 256, mixtures)
    scales = rng.integers(tables.SCALE_MIN, tables.SCALE_MAX + 1, mixtures)
    raw = np.concatenate([logits, means, scales])
    frequencies = np.diff(all_cumulative(raw, mixtures, 0, grid, TABLES))
    ideal = np.array([ideal_bits(k, grid, mixtures, raw, 0) for k in range(grid.count)])
    # Both are codes: their lengths are those of probabilities that sum to 1.
    assert abs((2.0**-ideal).sum() - 1) < 1e-9
    p = frequencies / TOTAL
    assert -1e-9 < (p * (np.log2(p) + ideal)).sum() < 1e-4
    # Weights are rounded to 2**-15: four of them change a probability of 1/100 by 1/80 at most.
    likely = p > 0.01
    assert np.abs(np.log2(p) + ideal)[likely].max(initial=0) < 0.03


def test_ideal_bits_of_known_values():
    # A logistic of scale 1 about 10; symbol 10 lies between -1/2 and 1/2.
    raw = np.array([0, 10 * MEAN_STEPS, 0])
    mass = 2 / (1 + np.exp(-0.5)) - 1
    exact = -np.log2(mass * (1 - 256 / TOTAL) + 1 / TOTAL)
    assert ideal_bits(10, sample_grid(0), 1, raw, 0) == pytest.approx(exact, rel=1e-12)
    # The same after a shift, and 24 bits where there is no mass.
    assert ideal_bits(30, sample_grid(0), 1, raw, 20 * MEAN_STEPS) == pytest.approx(exact, rel=1e-12)
    assert ideal_bits(200, sample_grid(0), 1, raw, 0) == pytest.approx(24)


@pytest.mark.parametrize("max_error", range(11))
def test_sample_grid_covers_every_sample_within_max_error(max_error):
    grid = sample_grid(max_error)
    samples = np.arange(256)
    symbols = (samples + max_error) // (2 * max_error + 1)
    assert (symbols[0], symbols[-1]) == (0, grid.count - 1)
    decoded = np.minimum(symbols * (2 * max_error + 1), 255)
    assert np.abs(decoded - samples).max() == max_error
    # The edge below a symbol lies half a sample below the first sample that maps to it.
    for k in range(1, grid.count):
        assert k * grid.step + grid.first == (np.argmax(symbols == k) * 2 - 1) * MEAN_STEPS // 2


def test_latent_grid_is_symmetric():
    grid = latent_grid(31)
    raw = np.array([0, 0, 40])
    frequencies = np.diff(all_cumulative(raw, 1, 0, grid, TABLES))
    assert grid.count == 63
    assert frequencies.argmax() == 31
    # Rounding down puts one unit to one side.
    assert np.abs(frequencies - frequencies[::-1]).max() <= 1
