"""The importance-weighted bound: exact with an exact posterior, never below the evidence, and it comes near."""

import itertools

import numpy as np
import pytest
from PIL import Image as PillowImage
from support import tensor_model
from support.codecs import quantised, table_codec

import codec
from codec.commands import demo
from codec.constants import PRECISION
from codec.entropy.bits_back import mixture_intervals
from codec.entropy.mixtures import Grid, number_grid
from codec.entropy.rans import random_message
from codec.format.headers import Latents
from codec.frozen.weights import parse_model
from codec.ledger import evidence
from codec.vlae.image import Image
from codec.vlae.latents import posterior_intervals, prior_intervals
from codec.vlae.pixels import intervals

MODEL = parse_model(tensor_model.weights(grid=1))
"""A tile has four latents of three values each: its evidence is a sum of 81 terms."""
TILE_LATENTS = [np.array([z]) for z in itertools.product((-1, 0, 1), repeat=4)]


def enumerated(image):
    """Return -log2 p(x) and KL(q(z|x) || p(z|x)) of a tensor with one tile in each band, both in bits."""
    total = divergence = 0.0
    for index in range(image.bands):
        joint = np.array(
            [
                -prior_intervals(image, z).ideal_bits - intervals(image, index, z, ideal=True).ideal_bits
                for z in TILE_LATENTS
            ]
        )
        posterior = np.array([-posterior_intervals(image, index, z).ideal_bits for z in TILE_LATENTS])
        evidence_bits = -np.logaddexp2.reduce(joint)
        total += evidence_bits
        divergence += (2**posterior * (posterior - joint - evidence_bits)).sum()
    return total, divergence


@pytest.fixture(scope="module", params=[(4, 3), (17, 2)], ids=["a band", "two bands"])
def sampled(request):
    """Return -log2 p(x) and the divergence of a small tensor, and samples of its -log2 w."""
    image = Image.of(MODEL, tensor_model.draw(*request.param), 0)
    return *enumerated(image), evidence.sample_bits(image, 4096, seed=5)


def groups(bits, samples):
    """Return estimates of the bound from the samples in turn."""
    return [evidence.importance(bits[i:], samples) for i in range(0, len(bits) - max(samples, 2) + 1, samples)]


def mean_bits(estimates):
    return float(np.mean([estimate.bits for estimate in estimates]))


def test_the_bound_comes_to_the_enumerated_evidence(sampled):
    exact, divergence, bits = sampled
    bound = evidence.importance(bits, len(bits))
    assert 0 < bound.stderr_bits < 0.2
    assert abs(bound.bits - exact) < 4 * bound.stderr_bits
    elbo = evidence.elbo(bits)
    assert abs(elbo.bits - exact - divergence) < 4 * elbo.stderr_bits
    assert divergence > 20 * elbo.stderr_bits
    gap = elbo.bits - bound.bits
    assert gap == pytest.approx(divergence, abs=4 * (elbo.stderr_bits + bound.stderr_bits))


@pytest.mark.parametrize("samples", [1, 2, 4, 16, 64])
def test_the_bound_is_above_the_evidence_in_expectation(sampled, samples):
    exact, divergence, bits = sampled
    found = groups(bits, samples)
    stderr = np.std([estimate.bits for estimate in found]) / np.sqrt(len(found))
    assert -4 * stderr < mean_bits(found) - exact < divergence + 4 * stderr
    assert np.mean([estimate.bits < exact - 2 * estimate.stderr_bits for estimate in found]) < 0.05


def test_the_bound_falls_with_the_number_of_samples(sampled):
    exact, _, bits = sampled
    found = [mean_bits(groups(bits, samples)) for samples in (2, 4, 16, 64, 256, 1024)]
    # All means are over the same samples, and the groups at least double. So the mean cannot rise.
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] + 0.5 > exact


@pytest.mark.parametrize("samples", [4, 16, 64])
def test_the_standard_error_is_that_of_repetitions(sampled, samples):
    found = groups(sampled[2], samples)
    claimed = np.sqrt(np.mean([estimate.variance for estimate in found]))
    assert claimed == pytest.approx(np.std([estimate.bits for estimate in found]), rel=0.25)


def test_one_sample_is_a_sample_of_the_elbo():
    image = Image.of(MODEL, tensor_model.draw(17, 2), 0)
    bits = evidence.sample_bits(image, 2, seed=3)
    one = evidence.importance(bits, 1)
    assert one.bits == sum(evidence.fresh_bits(image, index, (3 << 32) + index) for index in range(2))
    assert one.variance == pytest.approx(2 * evidence.elbo(bits).variance)
    two = evidence.importance(bits, 2)
    assert two.variance == pytest.approx(evidence.elbo(bits).variance)
    assert two.bits < evidence.elbo(bits).bits


def test_the_number_of_threads_changes_nothing():
    image = Image.of(MODEL, tensor_model.draw(17, 2), 0)
    seen = []
    one = evidence.sample_bits(image, 7, seed=1, threads=1, progress=lambda *done: seen.append(done))
    assert seen == [(done, 7) for done in range(1, 8)]
    np.testing.assert_array_equal(one, evidence.sample_bits(image, 7, seed=1, threads=3))
    assert (one != evidence.sample_bits(image, 7, seed=2)).any()


def test_a_weight_that_dwarfs_the_others_is_seen_as_uncertain():
    bits = np.array([[1000.0], [1100.0], [1100.0], [1100.0]])
    bound = evidence.importance(bits, 4)
    assert bound.bits == pytest.approx(1002)
    # Without the first one it would be 1100 instead of 1001.6.
    assert bound.stderr_bits == pytest.approx(np.sqrt(3 * 3 / 16) * (1100 - 1002 + np.log2(4 / 3)))


class Oracle:
    """Two bands, each of a latent on 9 points and three values on 16.

    The values of a band stand about a linear function of its latent and of the band above. The posterior is the
    exact one, or flat.
    """

    bands = 2
    latents, values = number_grid(-4, 4), Grid(16, 256, -128)

    def __init__(self, seed, exact):
        self.x = np.random.default_rng(seed).integers(3, 13, (self.bands, 3))
        points = [np.array([z]) for z in range(9)]
        joint = np.array([[-self.prior_bits(z) - self.pixel_bits(s, z) for z in points] for s in range(self.bands)])
        self.evidence_bits = -np.logaddexp2.reduce(joint, axis=1)
        given = 2 ** (joint + self.evidence_bits[:, None]) if exact else np.full((self.bands, 9), 1 / 9)
        self.frequencies = [quantised(p) for p in given]

    def prior_bits(self, z):
        return mixture_intervals(z, np.array([[0, 0, 60]]), self.latents).ideal_bits

    def pixel_bits(self, index, z):
        above = int(self.x[index - 1].sum()) // 3 if index else 7
        mean = (int(z[0]) + above // 2 + 1) * 256
        return mixture_intervals(self.x[index], np.tile([0, mean, 40], (3, 1)), self.values).ideal_bits

    def weigh(self, index, seed):
        _, z = table_codec(self.frequencies[index], 1).pop(random_message(3, seed))
        return self.prior_bits(z) + self.pixel_bits(index, z) - PRECISION + np.log2(self.frequencies[index][z[0]])

    def sampled(self, samples, seed):
        return evidence.sampled(self.bands, self.weigh, samples, seed)


@pytest.mark.parametrize("samples", [1, 2, 3, 50])
def test_with_the_exact_posterior_any_number_of_samples_gives_the_evidence(samples):
    oracle = Oracle(seed=1, exact=True)
    bits = oracle.sampled(max(samples, 2), seed=samples)
    bound = evidence.importance(bits, samples)
    # The posterior's frequencies are whole numbers of 2**-24.
    assert bound.bits == pytest.approx(oracle.evidence_bits.sum(), abs=1e-4)
    assert bound.stderr_bits < 1e-4
    assert evidence.elbo(bits).bits == pytest.approx(bound.bits, abs=1e-4)


def test_with_another_posterior_the_bound_comes_to_the_same_evidence():
    oracle = Oracle(seed=1, exact=False)
    bits = oracle.sampled(4000, seed=1)
    exact = oracle.evidence_bits.sum()
    bound = evidence.importance(bits, 4000)
    assert abs(bound.bits - exact) < 4 * bound.stderr_bits < 0.3
    assert evidence.elbo(bits).bits > exact + 1


# ---- In the ledger ----------------------------------------------------------------------------


PICTURE = PillowImage.fromarray(demo.draw()[:100, :120])


def bounds(image, **options):
    """Return the ledger of an image, as for JSON."""
    return codec.measure(image, **options).ledger.as_dict()


@pytest.mark.parametrize("latents", [Latents.BITS_BACK, Latents.TWO_PART])
def test_a_lossless_ledger_has_the_bound(latents):
    options = {"lossless": True, "latents": latents}
    plain = bounds(PICTURE, **options)
    assert plain["importance_bits"] is plain["importance_samples"] is plain["importance_gap_bits"] is None
    one, many = (bounds(PICTURE, importance=samples, **options) for samples in (1, 8))
    assert one["elbo_bits"] == plain["elbo_bits"]
    assert one["importance_bits"] == pytest.approx(one["elbo_bits"], abs=6 * one["importance_stderr_bits"])
    assert (one["importance_samples"], many["importance_samples"]) == (1, 8)
    assert many["importance_bits"] < one["importance_bits"]
    assert many["importance_gap_bits"] == many["elbo_bits"] - many["importance_bits"] > 0
    assert many["importance_bpsp"] == many["importance_bits"] / (100 * 120 * 3)
    assert many["importance_stderr_bits"] > 0
    assert many["elbo_stderr_bits"] < 2 * plain["elbo_stderr_bits"]


def test_a_lossy_ledger_has_the_bound():
    picture = PillowImage.fromarray(np.tile(demo.draw(), (3, 2, 1)))
    found = codec.measure(picture, quality=60, importance=4)
    assert (found.info.fidelity, found.info.latents) == ("lossy", "none")
    promises = found.ledger.promises
    assert promises.importance.bits == promises.elbo.bits > 0  # without latents both are -log2 p(x)


@pytest.mark.parametrize(("max_error", "latents"), [(0, Latents.NONE), (2, Latents.NONE), (2, Latents.TWO_PART)])
def test_without_a_posterior_the_bound_is_the_promise(max_error, latents):
    found = bounds(PICTURE, max_error=max_error, latents=latents, importance=3)
    assert found["importance_bits"] == found["elbo_bits"]
    assert found["importance_stderr_bits"] == found["importance_gap_bits"] == 0


def test_a_stored_file_has_no_bound():
    found = bounds(PICTURE.convert("P"), lossless=True, importance=3)
    assert found["importance_bits"] is found["importance_samples"] is None


def test_an_adaptation_counts_in_the_bound_too():
    picture = PillowImage.fromarray(np.tile(demo.draw(), (2, 2, 1))[:180, :190])
    found = bounds(picture, lossless=True, latents=Latents.BITS_BACK, importance=2)
    assert found["adaptation_bits"] > 0
    assert found["elbo_bits"] - 1000 < found["importance_bits"] < found["elbo_bits"]
    path = found["prior_bits"] + found["pixel_bits"] + found["posterior_bits"]
    assert 0 < found["coded_path_bits"] - path <= found["adaptation_bits"]


@pytest.mark.parametrize("samples", [0, -1, evidence.MAX_SAMPLES + 1, True])
def test_a_number_of_samples_out_of_range_is_refused_before_any_work(samples):
    with pytest.raises(codec.RequestError, match="importance: expected 1 to 100000"):
        codec.measure("no such file", lossless=True, importance=samples)
