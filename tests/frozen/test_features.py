"""Models whose latents become a map of features: exact networks, what is refused, every image comes back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load
from support import spatial_model

from codec.encoder import encoding
from codec.errors import CorruptDataError, ModelError
from codec.format.container import Container
from codec.format.headers import CodingHeader, Fidelity, Header, Latents
from codec.frozen import contexts, transform_weights
from codec.frozen.features_weights import FAMILY
from codec.frozen.weights import parse_model
from codec.vlae import decoding, lanes
from codec.vlae.image import Image
from codec.vlae.latents import posterior, posterior_intervals, posterior_raw, prior_intervals
from codec.vlae.pixels import intervals

NAMES = list(spatial_model.CONFIGS)
MODELS = {name: parse_model(spatial_model.weights(name)) for name in NAMES}
SIZES = [(1, 1), (1, 29), (31, 1), (13, 17), (26, 40)]
SHARP = "bits"
"""The model of tests that would be the same for all models."""


def test_the_models_are_as_different_as_they_say():
    assert {model.band for model in MODELS.values()} >= {1, 2, 3}
    assert {model.networks.cell for model in MODELS.values()} >= {1, 2, 3}
    assert {len(model.priors[0].neighbours) for model in MODELS.values()} >= {0, 1, 2, 3, 6}
    assert {len(model.priors[0].shift) > 0 for model in MODELS.values()} == {False, True}
    assert {model.normal for model in MODELS.values()} == {False, True}
    assert {model.layout.grey for model in MODELS.values()} == {False, True}
    reaching = [name for name, model in MODELS.items() if model.network.radius > model.band * model.tile]
    assert "bits-low" in reaching


# Exactness


def convolved(x, weight):
    """Return sums (h, w, outputs), int64, over the neighbours of each position of x (h, w, channels), zero outside."""
    h, w, channels = x.shape
    found = np.zeros((h, w, weight.shape[1]), dtype=np.int64)
    for y in range(h):
        for column in range(w):
            for i, (r, c) in enumerate((r, c) for r in range(3) for c in range(3)):
                if 0 <= y + r - 1 < h and 0 <= column + c - 1 < w:
                    own = weight[i * channels : (i + 1) * channels].astype(np.int64)
                    found[y, column] += x[y + r - 1, column + c - 1] @ own
    return found


class Plain:
    """The networks as FORMAT.md describes them, computed position by position."""

    def __init__(self, name, **changes):
        self.config = spatial_model.config_of(name, **changes)
        self.tensors = spatial_model.random_tensors(name, **changes)
        self.limit = self.config["stream_limit"]

    def layer(self, name, sums):
        return (sums + self.tensors[f"{name}.bias"]) >> self.tensors[f"{name}.shift"].astype(np.int64)

    def blocks(self, prefix, s):
        for k in range(transform_weights.block_count(self.tensors, f"{prefix}.block")):
            hidden, residual = (f"{prefix}.block{k + 1}.{name}" for name in ("hidden", "residual"))
            t = self.layer(hidden, convolved(s, self.tensors[f"{hidden}.weight"])).clip(0, self.config["hidden_limit"])
            moved = self.layer(residual, convolved(t, self.tensors[f"{residual}.weight"]))
            s = (s + moved).clip(-self.limit, self.limit)
        return s.clip(0)

    def posterior(self, area):
        p, k, t = self.config["patch"], self.config["cell"], self.tensors
        h, w = area.shape[0] // p, area.shape[1] // p
        bits = self.config["kind"] == "bits"
        seen = np.zeros((h, w, area.shape[2], p, p), dtype=np.int64)
        for y, x, c in np.ndindex(area.shape):
            value = int(area[y, x, c])
            seen[y // p, x // p, c, y % p, x % p] = (64 if value else -64) if bits else value - 128
        sums = convolved(seen.reshape(h, w, -1), t["posterior.input.weight"])
        s = self.blocks("posterior", self.layer("posterior.input", sums).clip(-self.limit, self.limit))
        raw = []
        for row, column in np.ndindex(h // k, w // k):
            cell = s[row * k : (row + 1) * k, column * k : (column + 1) * k].reshape(-1)
            out = self.layer("posterior.out", cell @ t["posterior.out.weight"].astype(np.int64)).clip(-32767, 32767)
            means, scales = np.split(out, 2)
            limit = 256 * self.config["grid"]
            raw += zip(0 * means, means.clip(-limit, limit), scales.clip(-32, 128), strict=True)
        return np.array(raw)

    def features(self, z, down, across):
        p, k, count, t = self.config["patch"], self.config["cell"], self.config["features"], self.tensors
        units = len(t["features.dense.shift"]) // k**2
        s = np.zeros((down * k, across * k, units), dtype=np.int64)
        for cell, own in enumerate(z):
            made = self.layer("features.dense", own @ t["features.dense.weight"].astype(np.int64))
            for i, j, u in np.ndindex(k, k, units):
                y, x = cell // across * k + i, cell % across * k + j
                s[y, x, u] = made[(i * k + j) * units + u].clip(-self.limit, self.limit)
        sums = convolved(self.blocks("features", s), t["features.output.weight"])
        made = self.layer("features.output", sums).clip(-self.config["feature_limit"], self.config["feature_limit"])
        found = np.zeros((down * k * p, across * k * p, count), dtype=np.int64)
        for y, x, f in np.ndindex(found.shape):
            found[y, x, f] = made[y // p, x // p, (f * p + y % p) * p + x % p]
        return found


@pytest.mark.parametrize("across", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_networks_equal_plain_integers(name, across):
    model, plain, rng = MODELS[name], Plain(name), np.random.default_rng(across)
    side = model.tile
    area = spatial_model.draw(name, model.band * side, across * side, seed=across)
    found = model.networks.posterior(area, 0)
    np.testing.assert_array_equal(found, plain.posterior(area))
    assert len(np.unique(found[:, 1])) > 1
    z = rng.integers(-9, 10, (model.band * across, model.latents))
    features = model.networks.features(z, model.band, across)
    np.testing.assert_array_equal(features, plain.features(z, model.band, across))
    assert features.std() > 1


def test_streams_features_and_hidden_units_meet_their_limits():
    low = {"stream_limit": 60, "hidden_limit": 30, "feature_limit": 20}
    for name in ("bits", "samples"):
        model, plain = parse_model(spatial_model.weights(name, **low)), Plain(name, **low)
        area = spatial_model.draw(name, model.band * model.tile, 2 * model.tile)
        np.testing.assert_array_equal(model.networks.posterior(area, 0), plain.posterior(area))
        z = np.random.default_rng(0).integers(-9, 10, (2 * model.band, model.latents))
        found = model.networks.features(z, model.band, 2)
        np.testing.assert_array_equal(found, plain.features(z, model.band, 2))
        assert np.abs(found).max() == 20


@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_at_their_bound_are_exact(sign):
    tensors = spatial_model.random_tensors(SHARP)
    weight = tensors["posterior.input.weight"]
    weight[:] = 127
    # Where all patches exist, white makes the largest sum that the bias leaves below 2**31.
    largest = 64 * 127 * len(weight)
    tensors["posterior.input.bias"][:] = sign * ((1 << 31) - 1 - largest)
    tensors["posterior.input.shift"][:] = 22
    model = parse_model(spatial_model.weights(SHARP, tensors=tensors))
    plain = Plain(SHARP)
    plain.tensors = tensors
    area = np.full((4, 14, 1), sign > 0, dtype=np.uint8)
    np.testing.assert_array_equal(model.networks.posterior(area, 0), plain.posterior(area))
    tensors["posterior.input.bias"][0] += sign
    with pytest.raises(ModelError, match=r"posterior.input: sums may reach 2147483648"):
        parse_model(spatial_model.weights(SHARP, tensors=tensors))


@pytest.mark.parametrize("name", NAMES)
def test_without_latents_features_are_zero_and_biases_never_move(name):
    model = MODELS[name]
    features = model.networks.features(None, model.band, 2)
    assert features.shape == (model.band * model.tile, 2 * model.tile, 3)
    assert not features.any()
    z = np.ones((4, model.latents), dtype=np.int64)
    for latents in (None, z):
        np.testing.assert_array_equal(model.biases(latents, 0, 4, None), np.repeat(model.fixed_biases, 4, 0))


@pytest.mark.parametrize("name", NAMES)
def test_a_band_sees_no_other(name):
    model = MODELS[name]
    rows = model.band * model.tile
    values = spatial_model.draw(name, 3 * rows, 11)
    image, alone = Image.of(model, values, 0), Image.of(model, values[rows : 2 * rows], 0)
    np.testing.assert_array_equal(posterior_raw(image, 1), posterior_raw(alone, 0))


@pytest.mark.parametrize("name", NAMES)
def test_the_last_row_and_column_fill_cells(name):
    model = MODELS[name]
    rows, columns = model.band * model.tile, 3 * model.tile
    values = spatial_model.draw(name, rows, columns)[: max(rows - 1, 1), : columns - model.tile + 1]
    filled = np.pad(values, ((0, rows - len(values)), (0, columns - values.shape[1]), (0, 0)), "edge")
    raw = (posterior_raw(Image.of(model, part, 0), 0) for part in (values, filled))
    np.testing.assert_array_equal(*raw)


# Prior


@pytest.mark.parametrize("name", NAMES)
def test_a_latent_is_predicted_from_earlier_ones_alone(name):
    model = MODELS[name]
    image = Image.of(model, spatial_model.draw(name, model.band * model.tile, 4 * model.tile), 0)
    z = np.random.default_rng(0).integers(-4, 5, (image.tiles, model.latents))
    before = np.stack([prior_intervals(image, z).starts, prior_intervals(image, z).freqs], 1)
    neighbours = {tuple(pair) for pair in model.priors[0].neighbours.tolist()}
    moved = 0
    for tile, channel in np.ndindex(z.shape):
        other = z.copy()
        other[tile, channel] += 1
        after = np.stack([prior_intervals(image, other).starts, prior_intervals(image, other).freqs], 1)
        changed = (before != after).any(1).reshape(z.shape)
        assert changed[tile, channel]
        assert not changed.reshape(-1)[: tile * model.latents + channel].any()
        row, column = divmod(tile, image.across)
        for near in np.flatnonzero(changed.any(1)):
            if near != tile:
                y, x = divmod(int(near), image.across)
                assert (y - row, column - x) in neighbours
                moved += 1
    seen = any(up < model.band for up, _ in neighbours)
    assert (moved > 0) == (seen and len(model.priors[0].shift) > 0)


# Images


def decoded(name, encoded, values, *, threads=None, **changes):
    """Return what is decoded of an encoded image, with some parts of its file changed."""
    model = MODELS[name]
    height, width, channels = values.shape
    mode = "1" if model.kind.name == "bits" else "RGB" if channels == 3 else "L"
    header = Header(Fidelity.LOSSLESS, changes.pop("mode", mode), 0, width, height)
    coding = CodingHeader(encoded.latents, encoded.lanes, model.number, model.hash[:2])
    payload = changes.pop("payload", encoded.payload)
    assert not changes
    file = Container(header, coding, encoded.lane_table, b"", encoded.adaptation, b"", payload)
    image, samples_crc = decoding.decode(model, file, threads=threads)
    if samples_crc:
        raise CorruptDataError("another checksum")
    return image.samples


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_images_come_back(name, size, latents):
    for channels in (1, 3):
        values = spatial_model.draw(name, *size, seed=sum(size), channels=channels)
        encoded = encoding.encode(MODELS[name], values, 0, latents)
        assert encoded.adaptation == b""
        if encoded.lanes < -(-size[0] // (MODELS[name].band * MODELS[name].tile)):
            assert encoded.latents == latents  # else there may be nothing to borrow
        result = decoded(name, encoded, values)
        np.testing.assert_array_equal(result, values)
        assert result.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_noise_comes_back(name):
    model = MODELS[name]
    shape = (19, 23, len(model.layout.order))
    values = np.random.default_rng(0).integers(0, model.layout.high + 1, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decoded(name, encoding.encode(model, values, 0, Latents.BITS_BACK), values), values)


@pytest.mark.parametrize("name", NAMES)
def test_threads_change_nothing(name):
    values = spatial_model.draw(name, 70, 21)  # for some models it has more lanes than bands that contexts reach
    one, several = (encoding.encode(MODELS[name], values, 0, Latents.BITS_BACK, threads=threads) for threads in (1, 8))
    assert one.payload == several.payload
    for threads in (1, 2, 8):
        np.testing.assert_array_equal(decoded(name, one, values, threads=threads), values)


@pytest.mark.parametrize("name", NAMES)
def test_images_onto_others_have_latents(name):
    values = spatial_model.draw(name, 26, 30)
    below = encoding.encode(MODELS[name], values, 0, Latents.BITS_BACK).messages
    chosen, asked = (
        encoding.encode(MODELS[name], values, 0, latents, onto=below) for latents in (None, Latents.BITS_BACK)
    )
    assert chosen.latents == Latents.BITS_BACK
    assert chosen.payload == asked.payload


@pytest.mark.parametrize("name", NAMES)
def test_an_image_alone_is_coded_as_is_shortest(name):
    values = spatial_model.draw(name, 26, 30)
    chosen, *asked = (encoding.encode(MODELS[name], values, 0, latents) for latents in (None, *Latents))
    shortest = min(len(encoded.payload) for encoded in asked)
    assert len(chosen.payload) <= shortest + 4 * len(chosen.messages)  # it is an estimate
    np.testing.assert_array_equal(decoded(name, chosen, values), values)


@pytest.mark.parametrize("name", NAMES)
def test_chains_borrow_from_the_images_after(name):
    model = MODELS[name]
    images = [spatial_model.draw(name, *size, seed=i) for i, size in enumerate([(9, 14), (4, 5), (1, 3), (40, 14)])]
    made, messages = [], ()
    for values in reversed(images):
        encoded = encoding.encode(model, values, 0, Latents.BITS_BACK, onto=messages)
        messages = (*encoded.messages, *messages[encoded.lanes :])
        made.append(encoded)
    assert made[0].dry
    assert not made[-1].dry
    left = lanes.read_lanes(lanes.write_lanes(messages), lanes.lane_table(messages))
    for values, encoded in zip(images, reversed(made), strict=True):
        image = replace(Image.blank(model, values.shape, 0, encoded.lanes), dry=encoded.dry)
        own = left[: encoded.lanes]
        decoding.pop_bands(image, own, encoded.latents)
        left[: encoded.lanes] = own
        np.testing.assert_array_equal(image.samples, values)
    lanes.check_all_popped(left)


def message_bits(messages):
    """Return about how long messages are, fractions of a bit included."""
    return sum(32 * message.size + np.log2(float(message.head)) - 31 for message in messages)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_in_a_chain_costs_its_net_bits(name):
    model = MODELS[name]
    values = spatial_model.draw(name, model.band * model.tile, 13, seed=5)
    after = encoding.encode(model, spatial_model.draw(name, 90, 40, seed=6), 0, Latents.TWO_PART).messages
    encoded = encoding.encode(model, values, 0, Latents.BITS_BACK, onto=after)
    assert (encoded.lanes, encoded.dry) == (1, False)
    image = Image.of(model, values, 0)
    _, z = posterior(image, 0).pop(after[0].lift(after[0].size)[0])
    net = prior_intervals(image, z).coded_bits - posterior_intervals(image, 0, z).coded_bits
    net += intervals(image, 0, z).coded_bits
    assert message_bits(encoded.messages) - message_bits(after[:1]) == pytest.approx(net, abs=0.1)


def test_what_a_model_does_not_code_is_refused():
    bits, samples = MODELS["bits"], MODELS["samples"]
    with pytest.raises(ValueError, match="expected 0 to 1, got 0 to 2"):
        encoding.encode(bits, np.array([[[0], [2]]], dtype=np.uint8), 0, None)
    with pytest.raises(ValueError, match="expected 1 channels, got 3"):
        encoding.encode(bits, np.zeros((2, 2, 3), dtype=np.uint8), 0, None)
    with pytest.raises(TypeError, match="expected uint8"):
        encoding.encode(bits, np.zeros((2, 2, 1), dtype=np.int16), 0, None)
    for model in (bits, samples):
        with pytest.raises(ModelError, match="serves conditions up to 0, got 1"):
            encoding.encode(model, np.zeros((2, 2, 1), dtype=np.uint8), 1, None)


def test_files_of_another_kind_are_refused():
    values = spatial_model.draw("bits", 9, 9)
    encoded = encoding.encode(MODELS["bits"], values, 0, Latents.NONE)
    with pytest.raises(CorruptDataError, match="codes bits, got lossless mode RGB"):
        decoded("bits", encoded, values, mode="RGB")
    with pytest.raises(CorruptDataError, match="codes samples, got lossless mode 1"):
        decoded("samples", encoded, values, mode="1")


@pytest.mark.parametrize("name", NAMES)
def test_damaged_payloads_lead_to_no_other_error(name):
    values = spatial_model.draw(name, 21, 19)
    encoded = encoding.encode(MODELS[name], values, 0, Latents.BITS_BACK)
    rng = np.random.default_rng(0)
    differ = 0
    for _ in range(20):
        payload = bytearray(encoded.payload)
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        try:
            differ += not np.array_equal(decoded(name, encoded, values, payload=bytes(payload)), values)
        except CorruptDataError:
            differ += 1
    assert differ == 20


# What is refused


def refuse(match, name=SHARP, *, tensors=None, **changes):
    with pytest.raises(ModelError, match=match):
        parse_model(spatial_model.weights(name, tensors=tensors, **changes))


@pytest.mark.parametrize("entry", FAMILY.ranges)
def test_numbers_of_the_configuration_have_their_ranges(entry):
    tensors, (low, high) = spatial_model.random_tensors(SHARP), FAMILY.ranges[entry]
    for value in (low - 1, high + 1, 2.0, "2", True):
        refuse(f"{entry}: expected {low} to {high}", tensors=tensors, **{entry: value})
    refuse(f"not a model file: KeyError.*{entry}", tensors=tensors, **{entry: None})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"networks": "fractal"}, "networks: expected one of modulation, spatial, plain, got 'fractal'"),
        ({"networks": "modulation"}, "kind: expected one of samples, tensor, got 'bits'"),
        ({"kind": "tensor"}, "kind: expected one of samples, bits, got 'tensor'"),
        ({"latent_distribution": "cauchy"}, "latent_distribution: expected one of logistic, normal, got 'cauchy'"),
        ({"window_shows": "red"}, "window_shows: expected one of colours, grey, got 'red'"),
        ({"window_shows": ["grey"]}, "window_shows: expected one of"),
    ],
)
def test_words_of_the_configuration_are_those_that_there_are(change, match):
    refuse(match, tensors=spatial_model.random_tensors(SHARP), **change)


@pytest.mark.parametrize("name", NAMES)
def test_each_tensor_is_needed_and_no_other(name):
    tensors = spatial_model.random_tensors(name)
    for missing in tensors:
        rest = {key: tensor for key, tensor in tensors.items() if key != missing}
        refuse("not a model file", name, tensors=rest)
    refuse("missing or unknown: .*prior.other", name, tensors=tensors | {"prior.other": np.zeros(1, np.int8)})
    block = {f"features.block9.hidden.{part}": np.zeros(1, np.int8) for part in ("weight", "bias", "shift")}
    refuse("missing or unknown: .*block9", name, tensors=tensors | block)


OWN = [name for name in spatial_model.random_tensors(SHARP) if name.startswith(("posterior.", "features.", "prior."))]


@pytest.mark.parametrize("name", OWN)
def test_types_and_shapes_are_as_expected(name):
    tensors = spatial_model.random_tensors(SHARP)
    refuse(f"{name}: expected", tensors=tensors | {name: tensors[name].astype(np.float32)})
    refuse("expected|not a model file", tensors=tensors | {name: tensors[name][:-1]})
    refuse("expected|not a model file", tensors=tensors | {name: tensors[name][None]})


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".shift")])
@pytest.mark.parametrize("shift", [-1, 32])
def test_shifts_are_0_to_31(name, shift):
    tensors = spatial_model.random_tensors(SHARP)
    tensors[name][-1] = shift
    refuse(f"{name}: shifts are 0 to 31", tensors=tensors)


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".bias") and not name.startswith("prior.")])
def test_sums_of_convolutions_fit_32_bits(name):
    tensors = spatial_model.random_tensors(SHARP)
    tensors[name][-1] = (1 << 31) - 1
    refuse(f"{name.removesuffix('.bias')}: sums may reach .* exact only up to 2147483647", tensors=tensors)


def test_features_count_in_the_bound_of_the_likelihood():
    tensors = spatial_model.random_tensors(SHARP)
    tensors["likelihood.hidden1.weight"][-3:] = 12000
    parse_model(spatial_model.weights(SHARP, tensors=tensors))
    refuse("likelihood 0: sums may reach", tensors=tensors, feature_limit=32767)


@pytest.mark.parametrize("name", ["prior.own.weight", "prior.hidden.weight"])
def test_sums_of_the_prior_are_bound(name):
    tensors = spatial_model.random_tensors(SHARP)
    before = tensors[name].astype(np.int64)
    tensors[name] = np.full(before.shape, 32767, np.int16)
    parse_model(spatial_model.weights(SHARP, tensors=tensors))
    refuse(r"prior\.\w+: sums may reach \d+, exact only up to 16777216", tensors=tensors, grid=1023)


def test_one_row_of_biases_serves_one_condition():
    tensors = spatial_model.random_tensors(SHARP)
    for name in ("likelihood.fixed_biases", "prior.hidden.biases"):
        tensors[name] = np.repeat(tensors[name], 2, 0)
    refuse("likelihood.fixed_biases: expected 1 row, got 2", tensors=tensors)


def test_channels_have_hidden_units_of_the_prior_alike():
    tensors = spatial_model.random_tensors(SHARP)
    for name, axis in (("hidden.weight", 1), ("hidden.shift", 0), ("hidden.biases", 1), ("own.weight", 1)):
        tensors[f"prior.{name}"] = np.delete(tensors[f"prior.{name}"], 0, axis)
    tensors["prior.out.weight"] = tensors["prior.out.weight"][1:]
    refuse("prior.hidden: expected as many units for each of 3 latents", tensors=tensors)


def test_networks_have_units():
    tensors = spatial_model.random_tensors("bits-low")
    for name, axis in (("input.weight", 1), ("input.bias", 0), ("input.shift", 0), ("out.weight", 0)):
        full = tensors[f"posterior.{name}"]
        tensors[f"posterior.{name}"] = np.take(full, np.arange(0), axis)
    refuse("posterior.input: expected at least one unit", "bits-low", tensors=tensors)
    tensors = spatial_model.random_tensors("grey")  # whose map has no blocks
    for name, axis in (("dense.weight", 1), ("dense.bias", 0), ("dense.shift", 0), ("output.weight", 0)):
        full = tensors[f"features.{name}"]
        tensors[f"features.{name}"] = np.take(full, np.arange(0), axis)
    refuse("features.dense: expected at least one unit", "grey", tensors=tensors)


@pytest.mark.parametrize(("columns", "rows"), [(1, 3), (5, 0)])
def test_a_window_of_samples_has_the_contexts_of_the_reference(columns, rows):
    changes = {"window_columns": columns, "window_rows": rows}
    refuse("not a model file", "samples", **changes)
    assert len(parse_model(spatial_model.weights("bits", **changes)).network.offsets) == len(
        contexts.window(columns, rows)
    )


def test_the_configuration_of_the_file_is_that_of_the_model():
    for name, model in MODELS.items():
        data = spatial_model.weights(name)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        config = json.loads(header["__metadata__"]["config"])
        assert model.tile == config["patch"] * config["cell"]
        assert model.band == config["band"]
        assert model.normal == (config["latent_distribution"] == "normal")
        assert len(load(data)["likelihood.fixed_biases"]) == model.conditions == 1
        assert not model.adaptable
        assert model.kind.dtype == np.uint8


def test_a_band_has_no_more_rows_than_a_file_can_say():
    refuse("at most 1024 rows, got 1088", "bits-alone", patch=16, cell=2, band=34)
