"""Mixtures on a grid: their cumulative function under any parameters, its inverse, its ideal."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from codec.constants import COMPONENTS, MEAN_STEPS
from codec.entropy import tables
from codec.entropy.mixtures import (
    Grid,
    cumulative,
    distribution_function,
    find,
    ideal_bits,
    load_tables,
    mean,
    number_grid,
    prepare,
    sample_grid,
    symbol_of,
    value_of,
)

TOTAL = 1 << 24
TABLES = load_tables()
NORMAL = load_tables(normal=True)


@njit
def all_cumulative(raw, mixtures, shift, grid, table):
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    return np.array([cumulative(k, grid, prepared, table) for k in range(grid.count + 1)])


@njit
def find_all(targets, raw, mixtures, shift, grid, table):
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    found = np.zeros((len(targets), 3), dtype=np.int64)
    for i in range(len(targets)):
        found[i, 0], found[i, 1], found[i, 2] = find(targets[i], grid, prepared, table)
    return found


@njit
def prepared_of(raw, mixtures, shift, table):
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    return prepared


sample_grids = st.builds(sample_grid, st.integers(0, 255), st.integers(0, 10))
number_grids = st.builds(number_grid, st.integers(-127, -1), st.integers(1, 127))
grids = st.one_of(sample_grids, number_grids, st.just(Grid(2, 256, -128)))


def with_extremes(usual, extreme):
    return st.one_of(st.integers(-usual, usual), st.integers(-extreme, extreme), st.sampled_from([-extreme, extreme]))


@st.composite
def parameters(draw):
    """Return (mixtures, raw, shift), with usual values and with the largest that a layer can return."""
    mixtures = draw(st.integers(1, COMPONENTS))

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
    weights, means, _ = prepared.reshape(3, COMPONENTS)
    assert weights.sum() == 1 << 15
    assert weights.min() >= 0
    assert weights.argmax() == raw[:mixtures].argmax()
    np.testing.assert_array_equal(means[:mixtures], raw[mixtures : 2 * mixtures] + shift)
    # What is not used has no weight.
    assert not weights[mixtures:].any()


def test_weights_are_in_steps_of_an_octave():
    raw = np.array([128, 64, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(prepared_of(raw, 3, 0, TABLES)[:3], [18725, 9362, 4681])


@settings(deadline=None, max_examples=200)
@given(sample_grids, st.integers(1, 4), st.integers(0, 2**32))
def test_ideal_bits_are_close_to_the_frequencies(grid, mixtures, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-300, 300, mixtures)
    means = rng.integers(-20 * 256, 275 * 256, mixtures)
    scales = rng.integers(tables.SCALE_MIN, tables.SCALE_MAX + 1, mixtures)
    raw = np.concatenate([logits, means, scales])
    frequencies = np.diff(all_cumulative(raw, mixtures, 0, grid, TABLES))
    ideal = np.array([ideal_bits(k, grid, mixtures, raw, 0, False) for k in range(grid.count)])
    # Both are codes: their lengths are those of probabilities that sum to 1.
    assert abs((2.0**-ideal).sum() - 1) < 1e-9
    p = frequencies / TOTAL
    assert -1e-9 < (p * (np.log2(p) + ideal)).sum() < 1e-4
    # Weights are rounded to 2**-15: four of them change a probability of 1/100 by 1/80 at most.
    likely = p > 0.01
    assert np.abs(np.log2(p) + ideal)[likely].max(initial=0) < 0.03


@settings(deadline=None, max_examples=200)
@given(parameters(), grids, st.lists(st.integers(0, TOTAL - 1), max_size=20))
def test_normals_have_frequencies_that_find_inverts(model, grid, targets):
    mixtures, raw, shift = model
    cum = all_cumulative(raw, mixtures, shift, grid, NORMAL)
    assert (cum[0], cum[-1]) == (0, TOTAL)
    assert np.diff(cum).min() >= 1
    targets = np.concatenate([cum[:-1], cum[1:] - 1, np.array(targets, dtype=np.int64)])
    symbols = np.searchsorted(cum, targets, side="right") - 1
    expected = np.stack([symbols, cum[symbols], cum[symbols + 1]], axis=1)
    np.testing.assert_array_equal(find_all(targets, raw, mixtures, shift, grid, NORMAL), expected)


@settings(deadline=None, max_examples=200)
@given(st.integers(-31 * 256, 31 * 256), st.integers(-32, 160))
def test_ideal_bits_of_normals_are_close_to_the_frequencies(mean, scale):
    grid, raw = number_grid(-31, 31), np.array([0, mean, scale])
    frequencies = np.diff(all_cumulative(raw, 1, 0, grid, NORMAL))
    ideal = np.array([ideal_bits(k, grid, 1, raw, 0, True) for k in range(grid.count)])
    assert abs((2.0**-ideal).sum() - 1) < 1e-9
    p = frequencies / TOTAL
    assert -1e-9 < (p * (np.log2(p) + ideal)).sum() < 1e-4
    assert np.abs(np.log2(p) + ideal)[p > 0.01].max(initial=0) < 0.03


def test_ideal_bits_of_a_known_normal():
    # A normal of deviation 2 about 3: 4 lies between 1/4 and 3/4 deviations, and the last symbol has the whole tail.
    raw, grid = np.array([0, 3 * MEAN_STEPS, 32]), number_grid(-5, 5)
    for symbol, mass in ((9, 0.7733726476231317 - 0.5987063256829237), (10, 1 - 0.7733726476231317)):
        exact = -np.log2(mass * (1 - 11 / TOTAL) + 1 / TOTAL)
        assert ideal_bits(symbol, grid, 1, raw, 0, True) == pytest.approx(exact, rel=1e-12)
    assert ideal_bits(0, grid, 1, np.array([0, 5 * MEAN_STEPS, -32]), 0, True) == pytest.approx(24)


def test_ideal_bits_of_known_values():
    # A logistic of scale 1 about 10; symbol 10 lies between -1/2 and 1/2.
    raw = np.array([0, 10 * MEAN_STEPS, 0])
    mass = 2 / (1 + np.exp(-0.5)) - 1
    exact = -np.log2(mass * (1 - 256 / TOTAL) + 1 / TOTAL)
    assert ideal_bits(10, sample_grid(0, 0), 1, raw, 0, False) == pytest.approx(exact, rel=1e-12)
    # The same after a shift, and 24 bits where there is no mass.
    assert ideal_bits(30, sample_grid(0, 0), 1, raw, 20 * MEAN_STEPS, False) == pytest.approx(exact, rel=1e-12)
    assert ideal_bits(200, sample_grid(0, 0), 1, raw, 0, False) == pytest.approx(24)


@njit
def coded_samples(centre, max_error):
    """Return the symbol of each sample, and what each symbol is decoded as."""
    grid = sample_grid(centre, max_error)
    symbols = np.array([symbol_of(x, grid) for x in range(256)])
    return symbols, np.array([value_of(k, grid, 0, 255) for k in range(grid.count)])


@pytest.mark.parametrize("max_error", range(11))
def test_sample_grids_cover_every_sample_within_max_error(max_error):
    width = 2 * max_error + 1
    least = 256
    for centre in range(256):
        grid = sample_grid(centre, max_error)
        symbols, decoded = coded_samples(centre, max_error)
        # Bins without gap or overlap: the first holds 0, the last 255, and all between are whole.
        assert (symbols[0], symbols[-1]) == (0, grid.count - 1)
        assert set(np.diff(symbols)) <= {0, 1}
        assert (np.bincount(symbols)[1:-1] == width).all()
        assert np.bincount(symbols).max() <= width
        # There and back.
        assert np.abs(decoded[symbols] - np.arange(256)).max() <= max_error
        np.testing.assert_array_equal(symbols[decoded], np.arange(grid.count))
        assert decoded[symbols[centre]] == centre
        assert (np.diff(decoded) > 0).all()
        # The edge below a symbol lies half a sample below the first sample that maps to it.
        edges = np.arange(1, grid.count) * grid.step + grid.first
        firsts = np.searchsorted(symbols, np.arange(1, grid.count))
        np.testing.assert_array_equal(edges, (2 * firsts - 1) * MEAN_STEPS // 2)
        least = min(least, grid.count)
    assert least == 255 // width + 1  # as `codec.format.container.holds_samples` counts


def test_without_an_error_the_centre_changes_nothing():
    for centre in range(256):
        assert sample_grid(centre, 0) == Grid(256, MEAN_STEPS, -MEAN_STEPS // 2)


@pytest.mark.parametrize("max_error", [0, 3, 10])
def test_a_centre_outside_counts_as_the_nearest_sample(max_error):
    for centre in (-1, -1000, -(1 << 40)):
        assert sample_grid(centre, max_error) == sample_grid(0, max_error)
    for centre in (256, 1000, 1 << 40):
        assert sample_grid(centre, max_error) == sample_grid(255, max_error)


@njit
def mean_of(raw, mixtures, shift, table):
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    prepare(raw, mixtures, shift, prepared, table)
    return mean(prepared)


@settings(deadline=None)
@given(parameters())
def test_the_mean_is_that_of_the_weights_rounded_half_up(model):
    mixtures, raw, shift = model
    weights, means, _ = prepared_of(raw, mixtures, shift, TABLES).reshape(3, COMPONENTS).tolist()
    total = sum(w * m for w, m in zip(weights, means, strict=True))
    assert mean_of(raw, mixtures, shift, TABLES) == (2 * total + (1 << 23)) // (1 << 24)


def test_means_of_known_mixtures():
    for raw_mean, rounded in ((10 * 256, 10), (10 * 256 + 127, 10), (10 * 256 + 128, 11), (-128, 0), (-129, -1)):
        assert mean_of(np.array([0, raw_mean, 0]), 1, 0, TABLES) == rounded
    # A quarter of the weight about 200, the rest about 100, and a shift of 3.
    raw = np.array([0, 0, 0, 0, 100 * 256, 100 * 256, 100 * 256, 200 * 256, -90, 0, 90, 200])
    assert mean_of(raw, 4, 3 * 256, TABLES) == 128


@settings(deadline=None)
@given(st.lists(st.integers(-(2**36), 2**36), min_size=2, max_size=50))
def test_the_logistic_of_the_tables_is_close_and_rises(arguments):
    arguments = np.sort(np.array(arguments))
    values = np.array([distribution_function(u, TABLES) for u in arguments])
    assert (np.diff(values) >= 0).all()
    exact = 2**30 / (1 + np.exp(-arguments / (MEAN_STEPS << tables.INVERSE_BITS)))
    assert np.abs(values - exact).max() < 2**30 * 2.0**-15


@settings(deadline=None)
@given(st.lists(st.integers(-(2**32), 2**32), min_size=2, max_size=50))
def test_the_normal_of_the_tables_is_close_and_rises(arguments):
    arguments = np.sort(np.array(arguments))
    values = np.array([distribution_function(u, NORMAL) for u in arguments])
    assert (np.diff(values) >= 0).all()
    exact = [2**29 * math.erfc(-u / (MEAN_STEPS << tables.INVERSE_BITS) / math.sqrt(2)) for u in arguments.tolist()]
    assert np.abs(values - exact).max() < 2**30 * 2.0**-15


def test_the_grid_of_latents_is_symmetric():
    grid = number_grid(-31, 31)
    raw = np.array([0, 0, 40])
    frequencies = np.diff(all_cumulative(raw, 1, 0, grid, TABLES))
    assert grid.count == 63
    assert frequencies.argmax() == 31
    # Rounding down puts one unit to one side.
    assert np.abs(frequencies - frequencies[::-1]).max() <= 1
