"""The ledger adds up to the bit, and the file is as long as the model promised."""

import json
import math

import numba
import numpy as np
import pytest
from PIL import Image

from codec import api
from codec.commands import demo, warm_up
from codec.encoder import search
from codec.format import container
from codec.format.headers import Latents
from codec.frozen.shipped import load_model
from codec.ledger import ledger
from codec.vlae import adaptation


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Let the encoder take fewer steps to an adaptation: they do as well here."""
    monkeypatch.setattr(search, "STEPS", 32)
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
    return ledger.measure(image, **({"lossless": True} | options))


@pytest.mark.parametrize("latents", [None, *Latents])
@pytest.mark.parametrize("max_error", [0, 3])
def test_rows_sum_to_the_file(latents, max_error):
    report = ledger.measure(photo(), max_error=max_error, latents=latents)
    rows = report.as_dict()
    assert math.fsum(rows[name] for name in ledger.ROWS) == pytest.approx(report.file_bits, abs=0.01)
    data = api.compress(photo(), max_error=max_error, latents=latents)
    assert report.file_bits == 8 * len(data)
    assert report.max_error <= max_error
    assert report.exact == (report.max_error == 0)


@pytest.mark.parametrize("latents", list(Latents))
def test_the_coder_and_its_tables_lose_next_to_nothing(latents):
    report = measured(photo(), latents=latents)
    symbols = report.width * report.height * report.channels
    lanes = api.info(api.compress(photo(), lossless=True, latents=latents)).lanes
    assert -1 <= report.rans_bits <= 64 * lanes + 1e-5 * symbols
    assert abs(report.rounding_bits) < 1e-4 * report.pixel_bits


def test_latents_pay_in_the_rows_that_are_theirs():
    back, two, none = (measured(photo(), latents=latents) for latents in (1, 2, 0))
    assert none.prior_bits == none.posterior_bits == none.initial_bits == 0
    assert two.initial_bits == pytest.approx(-two.posterior_bits)
    assert 0 < back.initial_bits < -back.posterior_bits
    assert back.naive_bits == two.file_bits


def fixed_bits(report):
    """Return what a file holds besides what the model promises."""
    return report.header_bits + report.lane_table_bits + report.checksum_bits + report.initial_bits + report.rans_bits


@pytest.mark.parametrize("latents", [Latents.BITS_BACK, Latents.TWO_PART])
def test_the_file_is_as_long_as_promised(latents):
    report = measured(photo(1, 260, 220), latents=latents)
    assert report.elbo_stderr_bits > 0
    left = report.file_bits - fixed_bits(report) - report.elbo_bits
    assert abs(left) < 0.005 * report.elbo_bits + 4 * report.elbo_stderr_bits
    assert report.coded_path_bits == pytest.approx(report.elbo_bits, rel=0.005)


@pytest.mark.parametrize(("max_error", "latents"), [(0, 0), (2, 0), (2, 2), (5, 1)])
def test_without_a_posterior_the_promise_is_what_was_coded(max_error, latents):
    report = ledger.measure(photo(1, 150, 100), max_error=max_error, latents=Latents(latents))
    assert report.posterior_bits == report.initial_bits == report.elbo_stderr_bits == 0
    assert report.elbo_bits == pytest.approx(report.prior_bits + report.pixel_bits)
    assert report.coded_path_bits == pytest.approx(report.elbo_bits)
    assert (report.prior_bits > 0) == (report.latents == "two-part") == (latents > 0)
    left = report.file_bits - fixed_bits(report) - report.elbo_bits
    assert left == pytest.approx(report.rounding_bits)
    assert abs(left) < 1e-4 * report.elbo_bits


@pytest.mark.parametrize("max_error", [0, 2])
def test_an_adaptation_has_its_row_and_its_part_of_the_promise(max_error):
    image = photo(1, 170, 210)
    report = ledger.measure(image, max_error=max_error, latents=Latents.NONE)
    file = container.unpack(api.compress(image, max_error=max_error, latents=Latents.NONE))
    assert report.adaptation_bits == 8 * len(file.adaptation) > 0
    network = load_model().network
    ideal = adaptation.ideal_bits(adaptation.unpack(file.adaptation, network), network)
    assert report.elbo_bits == pytest.approx(report.pixel_bits + ideal)
    assert report.coded_path_bits == pytest.approx(report.elbo_bits)
    assert 0 < report.adaptation_bits - ideal < 100
    assert math.fsum(getattr(report, name) for name in ledger.ROWS) == pytest.approx(report.file_bits, abs=0.01)
    assert measured(photo(0, 100, 100)).adaptation_bits == 0


def test_alpha_metadata_and_grey_are_accounted_for():
    image = photo(2, mode="RGBA")
    image.putalpha(Image.fromarray(np.arange(150 * 200).reshape(200, 150).astype(np.uint8)))
    image.info["icc_profile"] = bytes(range(256)) * 4
    report = measured(image)
    assert report.exact
    assert report.alpha_bits > 0 < report.metadata_bits
    assert math.fsum(getattr(report, name) for name in ledger.ROWS) == pytest.approx(report.file_bits, abs=0.01)
    grey = measured(photo(3, mode="L"))
    assert grey.exact
    assert grey.channels == 1


def test_a_stored_file_has_no_model_rows():
    image = Image.fromarray(np.zeros((64, 64), np.uint8)).convert("P")
    report = measured(image)
    assert report.fidelity == "stored"
    assert report.elbo_bits is None
    assert sum(getattr(report, name) for name in ledger.ROWS) == report.file_bits
    assert (
        report.stored_bits == container.part_bits(container.unpack(api.compress(image, lossless=True)))["payload_bits"]
    )


def test_json_has_a_line_an_image_and_the_totals(tmp_path):
    for seed in range(2):
        photo(seed, 70, 66).save(tmp_path / f"{seed}.png")
    lines = []
    reports = ledger.run({path.name: path for path in sorted(tmp_path.iterdir())}, True, lines.append, lossless=True)
    *rows, total = map(json.loads, lines)
    assert [row["file_bits"] for row in rows] == [r.file_bits for r in reports]
    assert {"elbo_bits", "naive_bits", "overhead_percent", "encode_s", "decode_s", "exact"} <= set(rows[0])
    assert total["total"]["files"] == total["total"]["exact"] == 2
    assert total["total"]["file_bits"] == sum(row["file_bits"] for row in rows)


def test_the_table_names_the_promise_and_the_total(tmp_path):
    photo(0, 70, 66).save(tmp_path / "a.png")
    lines = []
    ledger.run({"a.png": tmp_path / "a.png"}, False, lines.append, max_error=1)
    text = "\n".join(lines)
    for word in ("pixel", "rans", "header", "file", "promised (ELBO)", "no bits-back"):
        assert word in text


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
