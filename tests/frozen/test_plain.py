"""Models without latents: round trips, whole files and archives, and what is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage
from support import plain_model, tensor_model
from support import reference_decoder as reference
from support.plain_model import ROWS, made_plain, weights
from support.tensor_model import CHANNELS, CONDITIONS, WIDTH, draw

import codec
from codec.commands import demo
from codec.constants import BIAS_LIMIT, SUM_LIMIT
from codec.encoder.encoding import encode
from codec.errors import CorruptDataError, ModelError, RequestError, UnsupportedError
from codec.format import container
from codec.format.headers import Latents
from codec.frozen import shipped
from codec.frozen.weights import parse_model
from codec.vlae.decoding import decode_bands
from codec.vlae.image import Image

MODEL = parse_model(weights())
WITH = [Latents.BITS_BACK, Latents.TWO_PART]
SAMPLES = "plain-photo"
"""Name of the model without latents that the fixture installs for lossless files."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder of weights, from which models are loaded: `SAMPLES` is added to those that ship."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("photo", "photo-near", "lossy"):
        shutil.copy(shipped.weights_path(name), folder)
    photo = made_plain(shipped.weights_path("photo").read_bytes(), 80, SAMPLES)
    (folder / f"{SAMPLES}-80.safetensors").write_bytes(photo)
    return folder


@pytest.fixture
def without(installed, monkeypatch):
    """Load models from that folder."""
    monkeypatch.setattr(shipped, "WEIGHTS", installed)
    shipped.load_model.cache_clear()
    yield installed
    shipped.load_model.cache_clear()


def picture(width=70, height=150):
    return PillowImage.fromarray(np.tile(demo.draw(), (4, 3, 1))[:height, :width])


def samples_of(image):
    return np.asarray(image).reshape(image.height, image.width, -1)


# ---- Tensors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", range(CONDITIONS))
@pytest.mark.parametrize("latents", [None, Latents.NONE])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (17, 33), (ROWS, 7), (ROWS + 1, 7)], ids=str)
def test_every_size_comes_back(size, latents, condition):
    tensor = draw(*size)
    encoded = encode(MODEL, tensor, condition, latents)
    assert (encoded.latents, encoded.adaptation) == (Latents.NONE, b"")
    assert encoded.lanes == min(2, -(-size[0] // ROWS))
    for threads in (1, 2):
        image = Image.blank(MODEL, tensor.shape, condition, encoded.lanes)
        decode_bands(image, encoded.payload, encoded.lane_table, encoded.latents, threads=threads)
        np.testing.assert_array_equal(image.samples, tensor)
    assert encoded.payload == encode(MODEL, tensor, condition, latents, threads=1).payload


def test_a_model_has_only_its_likelihood():
    assert (MODEL.latents, MODEL.grid.count, MODEL.priors, MODEL.needs_latents) == (0, 1, (), False)
    assert MODEL.fixed_biases.shape[0] == MODEL.conditions == CONDITIONS
    assert not [name for name in plain_model.random_tensors() if name.split(".")[0] != "likelihood"]


def test_it_codes_as_a_model_whose_latents_are_off():
    data = tensor_model.weights()
    tensor, other = draw(50, 30), parse_model(data)
    plain = parse_model(made_plain(data, 1, "x"))
    for condition in range(CONDITIONS):
        one, two = (encode(model, tensor, condition, Latents.NONE) for model in (other, plain))
        assert (one.payload, one.lane_table) == (two.payload, two.lane_table)


@pytest.mark.parametrize("rows", [1, 2, 16, 128])
def test_bands_may_have_any_rows(rows):
    model, tensor = parse_model(weights(rows=rows)), draw(19, 11)
    encoded = encode(model, tensor, 1, None)
    image = Image.blank(model, tensor.shape, 1, encoded.lanes)
    assert image.bands == -(-19 // rows)
    decode_bands(image, encoded.payload, encoded.lane_table, Latents.NONE)
    np.testing.assert_array_equal(image.samples, tensor)


@pytest.mark.parametrize("latents", WITH)
def test_there_are_no_latents_to_be_coded(latents):
    with pytest.raises(RequestError, match="latents: model plain-test has none"):
        encode(MODEL, draw(9, 9), 0, latents)


# ---- Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_lossy_files(without, mode):
    image = picture().convert(mode)
    data = codec.compress(image, quality=40)
    facts = codec.info(data)
    assert (facts.fidelity, facts.latents, facts.model) == ("lossy", "none", shipped.LOSSY)
    decoded = codec.decompress(data)
    assert decoded.mode == mode
    name, samples = reference.decode(data, without)
    assert name == mode
    np.testing.assert_array_equal(samples, samples_of(decoded))
    # The coarse channels are a preview, which no latents are needed for.
    assert codec.decompress(data, latents_only=True).size == image.size


def test_a_file_is_that_of_the_model_with_latents_off(without):
    options = {"lossless": True, "latents": Latents.NONE}
    before, after = (
        container.unpack(codec.compress(picture(40, 90), model=model, **options)) for model in ("photo", SAMPLES)
    )
    assert (after.header, after.adaptation, after.payload) == (before.header, before.adaptation, before.payload)
    assert after.coding.weights_hash != before.coding.weights_hash


@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_lossless_files(without, mode):
    image = picture(40, 90).convert(mode)
    data = codec.compress(image, lossless=True, model=SAMPLES)
    facts = codec.info(data)
    assert (facts.fidelity, facts.latents, facts.model) == ("lossless", "none", 80)
    np.testing.assert_array_equal(samples_of(codec.decompress(data)), samples_of(image))
    np.testing.assert_array_equal(reference.decode(data, without)[1], samples_of(image))
    with pytest.raises(UnsupportedError, match="coded without any"):
        codec.decompress(data, latents_only=True)


def test_files_of_samples_may_be_adapted(without):
    y, x = np.mgrid[0:160, 0:256]  # waves as short as no photograph has them
    waves = 128 + 60 * np.sin(1.3 * x + 0.7 * y) + np.random.default_rng(0).normal(0, 6, x.shape)
    image = PillowImage.fromarray(waves.astype(np.uint8))
    data = codec.compress(image, lossless=True, model=SAMPLES)
    assert container.unpack(data).adaptation
    np.testing.assert_array_equal(samples_of(codec.decompress(data)), samples_of(image))


@pytest.mark.parametrize("options", [{"quality": 40}, {"lossless": True, "model": SAMPLES}], ids=["lossy", "lossless"])
def test_the_ledger_has_no_latents(without, options):
    found = codec.measure(picture(40, 90), **options)
    assert found.info.latents == "none"
    rows = found.ledger.as_dict()
    assert [rows[f"{name}_bits"] for name in ("prior", "posterior", "initial")] == [0, 0, 0]
    assert rows["pixel_bits"] > 0
    assert rows["elbo_bits"] == rows["coded_path_bits"]
    assert found.ledger.promises.saved_bits == 0


def test_archives(without, tmp_path):
    path = tmp_path / "images.vlar"
    images = {name: picture(60 + 10 * i, 90) for i, name in enumerate(("a", "b"))}
    codec.create_archive(path, images, quality=40, processes=1)
    found = reference.decode_archive(path.read_bytes(), without)
    with codec.Archive(path) as archive:
        for name, image in images.items():
            decoded = archive[name]
            assert decoded.size == image.size
            np.testing.assert_array_equal(samples_of(decoded), found[name][1])


@pytest.mark.parametrize("latents", WITH)
def test_a_file_that_claims_latents_is_corrupt(without, latents):
    file = container.unpack(codec.compress(picture(), quality=40))
    changed = container.pack(replace(file, coding=replace(file.coding, latents=latents)))
    with pytest.raises(CorruptDataError, match=f"model {shipped.LOSSY} has no latents, got {latents.name}"):
        codec.decompress(changed)
    with pytest.raises(ValueError, match="latents"):
        reference.decode(changed, without)


@pytest.mark.parametrize("latents", WITH)
def test_a_caller_who_wants_latents_is_told(without, latents):
    with pytest.raises(RequestError, match="latents: model lossy has none"):
        codec.compress(picture(), quality=40, latents=latents)


# ---- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "bits"}, "kind: expected one of samples, tensor"),
        ({"networks": "none"}, "networks: expected one of modulation, spatial, plain"),
        ({"networks": None}, "not a model file"),
        ({"rows": 0}, "rows: expected 1 to 1024"),
        ({"rows": 5.0}, "rows: expected 1 to 1024"),
        ({"rows": 129}, "band: expected at most 1024 rows, got 1032"),
        ({"rows": None}, "not a model file"),
        ({"radius": 1}, "radius: expected 2 to 16"),
        ({"channels": 24}, "likelihood.hidden1.weight: expected"),
        ({"references": 13}, "references: expected at most 12"),
        ({"conditions": 2}, "likelihood.fixed_biases: expected 1 to 2 rows, got 3"),
    ],
)
def test_other_configs_are_refused(config, message):
    with pytest.raises(ModelError, match=message):
        parse_model(weights(**config))


def test_tensors_around_latents_are_refused():
    tensors = tensor_model.random_tensors()
    for name in tensors:
        if name.startswith(plain_model.AROUND_Z):
            with pytest.raises(ModelError, match=f"missing or unknown: \\['{name}'\\]"):
                parse_model(weights(tensors=plain_model.random_tensors() | {name: tensors[name]}))


def test_a_model_with_latents_needs_its_prior():
    tensors = {name: tensor for name, tensor in tensor_model.random_tensors().items() if not name.startswith("prior")}
    with pytest.raises(ModelError, match="not a model file"):
        parse_model(tensor_model.weights(tensors=tensors))


def test_sums_keep_to_the_exact_range():
    tensors = plain_model.random_tensors()
    tensors["likelihood.hidden2.weight"][:] = 32767
    limit = (SUM_LIMIT - BIAS_LIMIT) // (32767 * WIDTH)
    parse_model(weights(tensors=tensors, activation_limit=limit))
    with pytest.raises(ModelError, match=f"layer likelihood 1: .* exact only up to {SUM_LIMIT}"):
        parse_model(weights(tensors=tensors, activation_limit=limit + 1))
    assert tensors["likelihood.hidden1.weight"].shape[0] == 9 * CHANNELS + 3
