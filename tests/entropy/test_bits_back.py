"""Codecs and their combinations undo themselves both ways, and bits-back costs what theory says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.codecs import TOTAL, check_codec, information, quantised, state, table_codec

from codec.entropy import rans
from codec.entropy.bits_back import (
    bits_back,
    certain,
    chain,
    mixture,
    mixture_intervals,
    uniform,
)
from codec.entropy.mixtures import Grid, load_tables, number_grid, sample_grid
from codec.errors import CorruptDataError

LATENTS = number_grid(-4, 4)
SAMPLES = Grid(16, 256, -128)
NORMAL = load_tables(normal=True)


def random_raw(rng, count, mixtures):
    logits = rng.integers(-300, 300, (count, mixtures))
    means = rng.integers(-1000, 5000, (count, mixtures))
    scales = rng.integers(-150, 240, (count, mixtures))
    return np.concatenate([logits, means, scales], axis=1)


seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 24), seeds)
def test_uniform(count, bits, seed):
    rng = np.random.default_rng(seed)
    check_codec(uniform(count, bits), rng.integers(0, 1 << bits, count), seed=seed)


def test_uniform_costs_its_bits():
    message = uniform(100, 5).push(rans.empty_message(), np.random.default_rng(0).integers(0, 32, 100))
    assert information(message) - 31 == pytest.approx(500, abs=0.01)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 80),
    st.integers(1, 4),
    st.sampled_from([LATENTS, SAMPLES, sample_grid(0, 0), sample_grid(7, 3)]),
    st.sampled_from([None, NORMAL]),
    seeds,
)
def test_mixture(count, mixtures, grid, table, seed):
    rng = np.random.default_rng(seed)
    raw = random_raw(rng, count, mixtures)
    check_codec(mixture(raw, grid, table), rng.integers(0, grid.count, count), seed=seed)


@pytest.mark.parametrize("table", [None, NORMAL], ids=["logistic", "normal"])
def test_mixture_costs_its_intervals(table):
    rng = np.random.default_rng(1)
    raw = random_raw(rng, 3000, 3)
    symbols = rng.integers(0, SAMPLES.count, 3000)
    intervals = mixture_intervals(symbols, raw, SAMPLES, table)
    assert intervals.coded_bits == pytest.approx((24 - np.log2(intervals.freqs.astype(float))).sum())
    assert (intervals.starts.astype(np.int64) + intervals.freqs <= TOTAL).all()
    message = mixture(raw, SAMPLES, table).push(rans.random_message(3, seed=0), symbols)
    before = information(rans.random_message(3, seed=0))
    assert information(message) - before == pytest.approx(intervals.coded_bits, abs=0.1)
    # Symbols drawn from the distribution itself cost their ideal length, but for the tables.
    _, symbols = mixture(raw, SAMPLES, table).pop(rans.random_message(3000, seed=2))
    intervals = mixture_intervals(symbols, raw, SAMPLES, table)
    assert intervals.coded_bits == pytest.approx(intervals.ideal_bits, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_chain(seed):
    rng = np.random.default_rng(seed)
    codecs = [uniform(5, 7), mixture(random_raw(rng, 9, 2), SAMPLES), uniform(1, 24), chain([uniform(2, 3)])]
    values = [
        rng.integers(0, 128, 5),
        rng.integers(0, SAMPLES.count, 9),
        rng.integers(0, 1 << 24, 1),
        [rng.integers(0, 8, 2)],
    ]
    check_codec(chain(codecs), values, seed=seed)


def test_chain_needs_a_value_for_each_codec():
    with pytest.raises(ValueError, match="zip"):
        chain([uniform(1, 1), uniform(1, 1)]).push(rans.empty_message(), [np.zeros(1, dtype=np.int64)])


def likelihood_raw(z):
    means = np.repeat(z * 2 * 256, 3)
    return np.stack([0 * means, means, 0 * means + 20], axis=1)


def likelihood(z):
    """Return p(x|z): three samples about twice each latent."""
    return mixture(likelihood_raw(z), SAMPLES)


def prior(count):
    return mixture(np.tile([0, 0, 30], (count, 1)), LATENTS)


def posterior(x):
    """Return q(z|x): about half the mean of the three samples of each latent."""
    means = x.reshape(-1, 3).sum(1) * 128 // 3 - 4 * 256
    return mixture(np.stack([0 * means, means, 0 * means + 10], axis=1), LATENTS)


def nearest(x):
    return np.clip(x.reshape(-1, 3).sum(1) // 6, 0, LATENTS.count - 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), seeds)
def test_bits_back(count, seed):
    x = np.random.default_rng(seed).integers(0, SAMPLES.count, 3 * count)
    check_codec(bits_back(prior(count), likelihood, posterior), x, seed=seed)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), seeds)
def test_two_part(count, seed):
    x = np.random.default_rng(seed).integers(0, SAMPLES.count, 3 * count)
    codec = bits_back(prior(count), likelihood, lambda x: certain(lambda: nearest(x)))
    message = rans.random_message(4, seed)
    before = state(message)
    message, again = codec.pop(codec.push(message, x))
    np.testing.assert_array_equal(again, x)
    assert state(message) == before
    # It wastes the bits that bits-back gets back, so that it does not write random messages again.
    sampled = rans.random_message(400, seed)
    before = state(sampled)
    sampled, value = codec.pop(sampled)
    if not np.array_equal(value_of_z(before, count), nearest(value)):
        assert state(codec.push(sampled, value)) != before


def value_of_z(before, count):
    head, tail = before
    message = rans.Message(np.array([head], np.uint64), np.array(tail, np.uint32), np.array([len(tail)]))
    return prior(count).pop(message)[1]


def test_two_part_costs_prior_and_likelihood():
    x = np.random.default_rng(3).integers(0, SAMPLES.count, 600)
    z = nearest(x)
    message = bits_back(prior(200), likelihood, lambda x: certain(lambda: nearest(x))).push(rans.empty_message(), x)
    expected = (
        mixture_intervals(z, np.tile([0, 0, 30], (200, 1)), LATENTS).coded_bits
        + mixture_intervals(x, likelihood_raw(z), SAMPLES).coded_bits
    )
    assert information(message) - 31 == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("codec", [uniform(100, 20), prior(300)], ids=["uniform", "mixture"])
def test_popping_from_an_exhausted_message_is_an_error(codec):
    with pytest.raises(CorruptDataError, match="exhausted"):
        codec.pop(rans.random_message(3, seed=0))


def test_bits_back_without_bits_is_an_error():
    x = np.zeros(3 * 100, dtype=np.int64)
    with pytest.raises(CorruptDataError, match="exhausted"):
        bits_back(prior(100), likelihood, posterior).push(rans.empty_message(), x)


# ---- The length is the ELBO -------------------------------------------------------------------


def test_net_bits_of_an_oracle_are_the_likelihood():
    """x and z are independent, so the posterior is the prior: z costs nothing."""
    n = 2000
    rng = np.random.default_rng(0)
    raw = random_raw(rng, n, 2)
    x = rng.integers(0, SAMPLES.count, n)
    message = rans.random_message(2000, seed=1)
    before = information(message)
    message = bits_back(prior(n), lambda _: mixture(raw, SAMPLES), lambda _: prior(n)).push(message, x)
    net_bits = information(message) - before
    assert net_bits == pytest.approx(mixture_intervals(x, raw, SAMPLES).coded_bits, abs=0.05)


class Known:
    """z on 9 points, x on 16 about a linear function of z: the evidence is a sum of 9 terms."""

    def __init__(self):
        z = np.arange(LATENTS.count)
        self.prior_raw = np.array([0, 0, 30])
        self.likelihood_raw = np.stack([0 * z, (z * 3 // 2 + 2) * 256, 0 * z + 12], axis=1)
        self.prior = self.probabilities(self.prior_raw, LATENTS)  # (z,)
        self.likelihood = np.stack([self.probabilities(raw, SAMPLES) for raw in self.likelihood_raw])  # (z, x)
        self.evidence = self.prior @ self.likelihood  # (x,)
        self.exact_posterior = (self.prior[:, None] * self.likelihood / self.evidence).T  # (x, z)

    @staticmethod
    def probabilities(raw, grid):
        symbols = np.arange(grid.count)
        return mixture_intervals(symbols, np.tile(raw, (grid.count, 1)), grid).freqs / TOTAL

    def net_bits(self, x, q, count, seed):
        """Return the mean of net bits over ``count`` codings of x, with posterior q (z,)."""
        codec = bits_back(
            mixture(np.tile(self.prior_raw, (count, 1)), LATENTS),
            lambda z: mixture(self.likelihood_raw[z], SAMPLES),
            lambda _: table_codec(quantised(q), count),
        )
        message = rans.random_message(3 * count // 4 + 10, seed)
        before = information(message)
        return (information(codec.push(message, np.full(count, x))) - before) / count


@pytest.fixture(scope="module")
def known():
    return Known()


def test_evidence_of_the_known_model_sums_to_one(known):
    assert known.evidence.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("x", [0, 3, 7, 15])
def test_net_bits_with_the_exact_posterior_are_the_evidence(known, x):
    # log q - log p(z) - log p(x|z) is then the same for every z: no variance. What is left is the
    # rounding of the head; it has a sign, as x has the same place in its interval every time.
    net_bits = known.net_bits(x, known.exact_posterior[x], 500, seed=x)
    assert net_bits == pytest.approx(-np.log2(known.evidence[x]), abs=1e-3)


@pytest.mark.parametrize("x", [1, 7, 14])
@pytest.mark.parametrize("wrong", ["prior", "flat", "other"])
def test_a_wrong_posterior_costs_its_divergence(known, x, wrong):
    q = {"prior": known.prior, "flat": np.full(9, 1 / 9), "other": known.exact_posterior[(x + 5) % 16]}[wrong]
    log_ratio = np.log2(q / known.exact_posterior[x])
    divergence = (q * log_ratio).sum()
    count = 2000
    stderr = np.sqrt((q * (log_ratio - divergence) ** 2).sum() / count)
    assert divergence > 8 * stderr
    excess = known.net_bits(x, q, count, seed=x) + np.log2(known.evidence[x])
    assert abs(excess - divergence) < 4 * stderr
