"""The ledger adds up to the bit, and the file is as long as the model promised."""

import math
from functools import reduce
from operator import add

import numba
import numpy as np
import pytest
from PIL import Image

import codec
from codec import api
from codec.commands import demo, warm_up
from codec.encoder import encoding, search
from codec.format import container
from codec.format.headers import Latents
from codec.frozen.shipped import load_model
from codec.images import fidelities
from codec.ledger.evidence import Estimate
from codec.ledger.ledger import FILE_ROWS, Ledger, Promises
from codec.ledger.measure import total
from codec.vlae import adaptation, decoding


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Let the encoder take fewer steps to an adaptation: they do as well here."""
    monkeypatch.setattr(fidelities, "SEARCH_STEPS", (0, 32, 64))
    monkeypatch.setattr(search, "TRIAL_STEPS", 8)


def photo(seed=0, height=200, width=150, mode="RGB"):
    """Return the demo picture, repeated and a little noisier with every seed."""
    rng = np.random.default_rng(seed)
    picture = np.tile(
        demo.draw(),
        (3, 2, 1),
    )[:height, :width].astype(float)
    noisy = picture + seed * rng.normal(0, 0.5, picture.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).convert(mode)


def measured(image, **options):
    return codec.measure(image, **({"lossless": True} | options))


def length(ledger):
    """Return the length of a file without rounding, which hides nothing."""
    return math.fsum(ledger.rows.values())


@pytest.mark.parametrize("latents", [None, *Latents])
@pytest.mark.parametrize("max_error", [0, 3])
def test_rows_sum_to_the_file(latents, max_error):
    found = codec.measure(photo(), max_error=max_error, latents=latents)
    assert tuple(found.ledger.rows) == FILE_ROWS
    assert length(found.ledger) == pytest.approx(found.ledger.file_bits, abs=0.01)
    data = api.compress(photo(), max_error=max_error, latents=latents)
    assert found.ledger.file_bits == 8 * found.info.file_bytes == 8 * len(data)
    assert found.max_error <= max_error
    assert found.exact == (found.max_error == 0)


def test_rows_that_do_not_sum_to_the_file_are_refused():
    ledger = Ledger({"pixel_bits": 90.5})
    assert ledger.whole(FILE_ROWS, {"header_bits": 8}, 100, 108).rows["rans_bits"] == 9.5
    for parts, file_bits in (({"header_bits": 8}, 109), ({"header_bits": 8, "footer_bits": 1}, 109), ({}, 101)):
        with pytest.raises(ArithmeticError, match=f"expected rows of {file_bits} bits in sum, got 10"):
            ledger.whole(FILE_ROWS, parts, 100, file_bits)


def test_ledgers_add_up():
    promises = Promises(1, Estimate(3.0, 4.0), 5.0, 6.0, Estimate(7.0), 8)
    one = Ledger({"prior_bits": 1.5, "rans_bits": 2}, promises, images=1, samples=10)
    other = Ledger({"prior_bits": 1.0, "stored_bits": 3}, images=1, samples=5)
    both = one + other
    assert both.rows == {"prior_bits": 2.5, "rans_bits": 2, "stored_bits": 3}
    assert (both.images, both.stored, both.samples) == (2, 1, 15)
    assert both.promises == one.promises
    twice = reduce(add, (one, other, one))
    assert twice.promises == Promises(2, Estimate(6.0, 8.0), 10.0, 12.0, Estimate(14.0), 8)
    assert twice.promises.elbo.stderr_bits == pytest.approx(math.sqrt(8))


def test_the_image_is_encoded_once_and_decoded_once(monkeypatch):
    done = []

    def counted(module, name):
        call = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **options: (done.append(name), call(*args, **options))[1])

    counted(encoding, "encode")
    counted(decoding, "pop_bands")
    measured(photo(), latents=Latents.BITS_BACK)
    assert done == ["encode", "pop_bands"]


@pytest.mark.parametrize("latents", list(Latents))
def test_the_coder_and_its_tables_lose_next_to_nothing(latents):
    found = measured(photo(), latents=latents)
    rows, lanes = found.ledger.rows, found.info.lanes
    assert -1 <= rows["rans_bits"] <= 64 * lanes + 1e-5 * found.ledger.samples
    assert abs(rows["rounding_bits"]) < 1e-4 * rows["pixel_bits"]


def test_latents_pay_in_the_rows_that_are_theirs():
    back, two, none = (
        measured(photo(), latents=latents).ledger for latents in (Latents.BITS_BACK, Latents.TWO_PART, Latents.NONE)
    )
    assert none.rows["prior_bits"] == none.rows["posterior_bits"] == none.rows["initial_bits"] == 0
    assert two.rows["initial_bits"] == pytest.approx(-two.rows["posterior_bits"])
    assert 0 < back.rows["initial_bits"] < -back.rows["posterior_bits"]


def test_the_naive_length_is_that_of_a_file_of_two_parts():
    back, two, none = (
        measured(photo(), latents=latents).ledger for latents in (Latents.BITS_BACK, Latents.TWO_PART, Latents.NONE)
    )
    assert back.promises.saved_bits == pytest.approx(back.naive_bits - back.bits)
    assert back.promises.saved_bits != 0
    assert back.naive_bits == pytest.approx(two.file_bits, abs=64)  # words are whole
    for ledger in (two, none):
        assert ledger.promises.saved_bits == 0
        assert ledger.naive_bits == ledger.bits


def fixed_bits(rows):
    """Return what a file holds besides what the model promises."""
    return sum(rows[f"{name}_bits"] for name in ("header", "lane_table", "checksum", "initial", "rans"))


@pytest.mark.parametrize("latents", [Latents.BITS_BACK, Latents.TWO_PART])
def test_the_file_is_as_long_as_promised(latents):
    ledger = measured(photo(1, 260, 220), latents=latents).ledger
    elbo = ledger.promises.elbo
    assert elbo.stderr_bits > 0
    left = ledger.file_bits - fixed_bits(ledger.rows) - elbo.bits
    assert abs(left) < 0.005 * elbo.bits + 4 * elbo.stderr_bits
    assert ledger.promises.coded_path_bits == pytest.approx(elbo.bits, rel=0.005)


@pytest.mark.parametrize(("max_error", "latents"), [(0, 0), (2, 0), (2, 2), (5, 1)])
def test_without_a_posterior_the_promise_is_what_was_coded(max_error, latents):
    found = codec.measure(photo(1, 150, 100), max_error=max_error, latents=Latents(latents))
    rows, promises = found.ledger.rows, found.ledger.promises
    assert rows["posterior_bits"] == rows["initial_bits"] == promises.elbo.stderr_bits == 0
    assert promises.elbo.bits == pytest.approx(rows["prior_bits"] + rows["pixel_bits"])
    assert promises.coded_path_bits == pytest.approx(promises.elbo.bits)
    assert (rows["prior_bits"] > 0) == (found.info.latents == "two-part") == (latents > 0)
    left = found.ledger.file_bits - fixed_bits(rows) - promises.elbo.bits
    assert left == pytest.approx(rows["rounding_bits"])
    assert abs(left) < 1e-4 * promises.elbo.bits


@pytest.mark.parametrize("max_error", [0, 2])
def test_an_adaptation_has_its_row_and_its_part_of_the_promise(max_error):
    image = photo(1, 170, 210)
    ledger = codec.measure(image, max_error=max_error, latents=Latents.NONE).ledger
    file = container.unpack(api.compress(image, max_error=max_error, latents=Latents.NONE))
    assert ledger.rows["adaptation_bits"] == 8 * len(file.adaptation) > 0
    network = load_model().network
    ideal = adaptation.ideal_bits(adaptation.unpack(file.adaptation, network), network)
    assert ledger.promises.elbo.bits == pytest.approx(ledger.rows["pixel_bits"] + ideal)
    assert ledger.promises.coded_path_bits == pytest.approx(ledger.promises.elbo.bits)
    assert 0 < ledger.rows["adaptation_bits"] - ideal < 100
    assert length(ledger) == pytest.approx(ledger.file_bits, abs=0.01)
    assert measured(photo(0, 100, 100)).ledger.rows["adaptation_bits"] == 0


def test_alpha_metadata_and_grey_are_accounted_for():
    image = photo(2, mode="RGBA")
    image.putalpha(Image.fromarray(np.arange(150 * 200).reshape(200, 150).astype(np.uint8)))
    image.info["icc_profile"] = bytes(range(256)) * 4
    found = measured(image)
    rows, elbo = found.ledger.rows, found.ledger.promises.elbo
    assert found.exact
    assert rows["alpha_bits"] > 0 < rows["metadata_bits"]
    assert length(found.ledger) == pytest.approx(found.ledger.file_bits, abs=0.01)
    promised = elbo.bits + rows["alpha_bits"] + rows["metadata_bits"]
    assert found.ledger.overhead_percent == pytest.approx(100 * (found.ledger.file_bits - promised) / promised)
    grey = measured(photo(3, mode="L"))
    assert grey.exact
    assert grey.info.channels == 1


def test_a_stored_file_has_no_model_rows():
    image = Image.fromarray(np.zeros((64, 64), np.uint8)).convert("P")
    found = measured(image)
    ledger = found.ledger
    assert found.info.fidelity == "stored"
    assert ledger.promises == Promises()
    assert ledger.naive_bits is ledger.overhead_percent is ledger.as_dict()["elbo_bits"] is None
    assert (ledger.images, ledger.stored, ledger.message_bits) == (1, 1, 0)
    assert length(ledger) == ledger.file_bits
    parts = container.part_bits(container.unpack(api.compress(image, lossless=True)))
    assert ledger.rows["stored_bits"] == parts["payload_bits"]


def test_the_total_is_the_sum_of_the_ledgers():
    stored = Image.fromarray(np.zeros((64, 64), np.uint8)).convert("P")
    found = [measured(image) for image in (photo(0, 70, 66), photo(1, 70, 66), stored)]
    both = total(found)
    assert both.ledger == reduce(add, (one.ledger for one in found))
    assert both.exact == both.ledger.images == 3
    assert both.ledger.stored == 1
    assert both.mean_bpsp == pytest.approx(np.mean([one.info.bpsp for one in found]))
    assert both.max_overhead_percent == max(one.ledger.overhead_percent for one in found[:2])
    assert both.mean_psnr is None
    assert total(found[2:]).mean_overhead_percent is None
    assert both.as_dict()["file_bits"] == sum(one.as_dict()["file_bits"] for one in found)


def test_compiling_is_announced_once_and_only_if_it_happens(monkeypatch):
    said = []
    warm_up.prepare(said.append, for_lossy=False)  # compiled or loaded now
    said.clear()
    warm_up.prepare(said.append, for_lossy=False)
    assert said == []

    def load_and_compile():
        for function in (lambda x: x + 1, lambda x: x + 2):
            numba.njit(function)(1)
        return load_model()

    monkeypatch.setattr(warm_up, "load_model", load_and_compile)
    warm_up.prepare(said.append, for_lossy=False)
    assert said == ["compiling for this machine, once: about half a minute"]
    said.clear()
    monkeypatch.setattr(warm_up, "uncached", ["a kernel"])
    warm_up.prepare(said.append, for_lossy=False)
    assert said == [
        "compiling for this machine, at each start: about half a minute",
        "no folder for what is compiled can be written, NUMBA_CACHE_DIR names another one",
    ]
