"""The coder of tensors, with a small random model: round trips, lengths, what channels see, what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tensor_model
from support.tensor_model import CHANNELS, CONDITIONS, GROUPS, LIMIT, TILE, draw, weights

from codec.encoder import search
from codec.encoder.encoding import encode
from codec.errors import CorruptDataError, ModelError
from codec.format.headers import Latents
from codec.frozen import layout
from codec.frozen.shipped import load_model
from codec.frozen.weights import parse_model
from codec.vlae.decoding import decode_bands
from codec.vlae.image import Image
from codec.vlae.latents import mode, posterior_intervals, posterior_raw, prior_intervals
from codec.vlae.pixels import intervals

MODEL = parse_model(weights())
GROUP = CHANNELS // GROUPS


def decoded(encoded, shape, condition, *, model=MODEL, threads=None, **changes):
    """Return the result of `decode_bands` for an encoded tensor, with some of its parts changed."""
    parts = {name: changes.get(name, getattr(encoded, name)) for name in ("payload", "lane_table", "latents")}
    image = Image.blank(model, shape, condition, encoded.lanes)
    decode_bands(image, **parts, threads=threads)
    return image


def assert_comes_back(tensor, condition, latents, model=MODEL):
    encoded = encode(model, tensor, condition, latents)
    image = decoded(encoded, tensor.shape, condition, model=model)
    np.testing.assert_array_equal(image.samples, tensor)
    np.testing.assert_array_equal(encoded.samples, tensor)
    assert image.samples.dtype == np.int16
    assert len(encoded.payload) == sum(encoded.lane_table)
    assert (encoded.adaptation, image.moved) == (b"", None)
    return encoded


# ---- Round trips ------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", range(CONDITIONS))
@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (17, 33), (50, 20)], ids=str)
def test_every_size_comes_back(size, latents, condition):
    encoded = assert_comes_back(draw(*size), condition, latents)
    assert encoded.latents == latents
    assert len(encoded.lane_table) == encoded.lanes == min(2, -(-size[0] // TILE))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 2 * TILE + 3),
    st.integers(1, TILE + 3),
    st.sampled_from([0, 1, LIMIT]),
    st.sampled_from(Latents),
    st.integers(0, CONDITIONS - 1),
    st.integers(0, 2**32),
)
def test_any_values_come_back(height, width, most, latents, condition, seed):
    tensor = np.random.default_rng(seed).integers(-most, most + 1, (height, width, CHANNELS)).astype(np.int16)
    assert_comes_back(tensor, condition, latents)


@pytest.mark.parametrize("value", [-LIMIT, LIMIT])
def test_the_largest_values_come_back(value):
    tensor = np.full((20, 20, CHANNELS), value, dtype=np.int16)
    assert_comes_back(tensor, 0, Latents.BITS_BACK)
    tensor[::2, ::3] = -value
    assert_comes_back(tensor, 0, Latents.BITS_BACK)


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize(
    "config",
    [
        {"groups": 1, "references": 0, "posterior_channels": 12},
        {"groups": 12, "references": 12, "posterior_channels": 1, "limit": 300},
    ],
)
def test_other_layouts_come_back(config, latents):
    model = parse_model(weights(1, **config))
    assert_comes_back(draw(35, 18, seed=1), 1, latents, model)


def test_conditions_are_other_codes():
    tensor = draw(20, 20)
    assert len({encode(MODEL, tensor, condition, Latents.TWO_PART).payload for condition in range(CONDITIONS)}) == 5


@pytest.mark.parametrize("latents", [None, *Latents])
def test_threads_change_no_byte(latents):
    tensor = draw(5 * TILE + 3, 30)
    one, two = (encode(MODEL, tensor, 1, latents, threads=threads) for threads in (1, 2))
    assert one.lanes == 2
    assert (one.latents, one.lane_table, one.payload) == (two.latents, two.lane_table, two.payload)
    for threads in (1, 2):
        np.testing.assert_array_equal(decoded(one, tensor.shape, 1, threads=threads).samples, tensor)


@pytest.mark.parametrize("seed", range(3))
def test_the_shortest_latents_are_chosen(seed):
    tensor = draw(6 * TILE, 35, seed)
    sizes = {latents: len(encode(MODEL, tensor, 0, latents).payload) for latents in Latents}
    # Bits-back is estimated with other latents than it will code.
    assert len(encode(MODEL, tensor, 0, None).payload) <= min(sizes.values()) + 8
    assert sizes[Latents.BITS_BACK] < sizes[Latents.TWO_PART]


def test_tensors_are_not_adapted(monkeypatch):
    monkeypatch.setattr(search, "LEAST_PIXELS", 0)
    monkeypatch.setattr(search, "adapt", None)
    assert_comes_back(draw(20, 20), 0, None)


# ---- Lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", range(CONDITIONS))
@pytest.mark.parametrize("latents", Latents)
def test_the_message_is_as_long_as_its_frequencies_say(latents, condition):
    tensor = draw(5 * TILE, 30)
    encoded = encode(MODEL, tensor, condition, latents)
    image = decoded(encoded, tensor.shape, condition)
    coded = ideal = 0.0
    for index, z in enumerate(image.z):
        parts = [(1, intervals(image, index, z, ideal=True))]
        if z is not None:
            parts.append((1, prior_intervals(image, z)))
            if latents == Latents.BITS_BACK and not image.is_dry(index):
                parts.append((-1, posterior_intervals(image, index, z)))
        coded += sum(sign * part.coded_bits for sign, part in parts)
        ideal += sum(sign * part.ideal_bits for sign, part in parts)
    assert 0 <= 8 * len(encoded.payload) - coded <= 64 * encoded.lanes + 1e-5 * tensor.size
    assert coded == pytest.approx(ideal, rel=1e-3)


def test_bits_back_codes_what_the_posterior_says():
    tensor = draw(4 * TILE, 20)
    image = decoded(encode(MODEL, tensor, 0, Latents.BITS_BACK), tensor.shape, 0)
    known = Image.of(MODEL, tensor, 0)
    for index in range(image.bands):
        np.testing.assert_array_equal(posterior_raw(image, index), posterior_raw(known, index))
        assert (image.z[index] == mode(known, index)).all() == image.is_dry(index)


# ---- What is seen -----------------------------------------------------------------------------


def frequencies(tensor, condition=0):
    return intervals(Image.of(MODEL, tensor, condition), 0, None).freqs


@pytest.mark.parametrize("channel", range(CHANNELS))
def test_a_channel_is_seen_by_later_places_and_later_pixels_only(channel):
    tensor = draw(9, 9)
    changed = tensor.copy()
    changed[4, 4, channel] = -changed[4, 4, channel] // 2 + 7
    assert changed[4, 4, channel] != tensor[4, 4, channel]
    differs = frequencies(tensor) != frequencies(changed)
    y, x = np.mgrid[0:9, 0:9]
    earlier = x + 2 * y < 4 + 8
    assert not differs[earlier].any()
    later = (channel // GROUP + 1) * GROUP
    here = differs[4, 4].copy()
    here[channel] = False  # another value has another frequency
    assert not here[:later].any()
    assert here[later:].any() == (later < CHANNELS)
    assert differs[4, 5].any()


@pytest.mark.parametrize("channel", [0, tensor_model.PLANES - 1, tensor_model.PLANES])
def test_a_posterior_sees_its_channels_of_its_tile(channel):
    tensor = draw(2 * TILE, 2 * TILE)
    changed = tensor.copy()
    changed[:TILE, :TILE, channel] = 17
    images = [Image.of(MODEL, values, 0) for values in (tensor, changed)]
    raw = [np.stack([posterior_raw(image, i).reshape(2, -1) for i in range(2)]) for image in images]
    same = np.ones((2, 2), dtype=bool)
    same[0, 0] = channel >= tensor_model.PLANES
    np.testing.assert_array_equal((raw[0] == raw[1]).all(2), same)


# ---- Levels -----------------------------------------------------------------------------------


def test_conditions_lie_between_levels():
    tensors = tensor_model.random_tensors()
    for name, rows in (
        ("likelihood.fixed_biases", MODEL.fixed_biases),
        ("posterior.dense.biases", MODEL.networks.dense.biases),
        ("prior.hidden.biases", np.stack([prior.bias for prior in MODEL.priors])),
    ):
        levels = tensors[name].astype(np.int64)
        assert rows.shape == (CONDITIONS, levels.shape[1])
        np.testing.assert_array_equal(rows[::2], levels)
        np.testing.assert_array_equal(rows[1::2], (levels[1:] + levels[:-1]) // 2)
    assert MODEL.transforms is None


def test_one_level_serves_every_condition():
    names = ("likelihood.fixed_biases", "posterior.dense.biases", "prior.hidden.biases")
    tensors = tensor_model.random_tensors()
    tensors |= {name: tensors[name][:1] for name in names}
    model = parse_model(weights(tensors=tensors, conditions=100))
    assert model.fixed_biases.shape[0] == model.conditions == 100
    assert (model.fixed_biases == model.fixed_biases[0]).all()
    assert_comes_back(draw(20, 20), 99, Latents.BITS_BACK, model)
    assert parse_model(weights(tensors=tensors, conditions=1)).conditions == 1


# ---- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "image"}, "kind: expected one of samples, tensor"),
        ({"kind": None}, "likelihood.hidden1.weight: expected"),
        ({"channels": 0}, "channels: expected 1 to 1024"),
        ({"channels": 13}, "groups: expected a divisor of 13"),
        ({"channels": 24}, "likelihood.hidden1.weight: expected"),
        ({"channels": None}, "not a model file"),
        ({"groups": 5}, "groups: expected a divisor of 12"),
        ({"groups": 2}, "likelihood.split.weight: expected"),
        ({"limit": 0}, "limit: expected 1 to 16383"),
        ({"limit": 16384}, "limit: expected 1 to 16383"),
        ({"limit": 40.0}, "limit: expected 1 to 16383"),
        ({"references": 13}, "references: expected at most 12"),
        ({"references": -1}, "references: expected 0 to 1024"),
        ({"references": 4}, "likelihood.hidden1.weight: expected"),
        ({"posterior_channels": 13}, "posterior_channels: expected 1 to 12"),
        ({"posterior_channels": 3}, "posterior.conv1.weight: expected"),
        ({"conditions": 0}, "conditions: expected 1 to 100"),
        ({"conditions": 101}, "conditions: expected 1 to 100"),
        ({"conditions": True}, "conditions: expected 1 to 100"),
        ({"conditions": None}, "not a model file"),
        ({"conditions": 2}, "likelihood.fixed_biases: expected 1 to 2 rows, got 3"),
        ({"tile": 24}, "tile: expected a multiple of 16"),
        ({"tile": 0}, "tile: expected 16 to 1024"),
    ],
)
def test_other_configs_than_the_tensors_are_refused(config, message):
    with pytest.raises(ModelError, match=message):
        parse_model(weights(tensors=tensor_model.random_tensors(), **config))


def test_sums_that_could_leave_the_exact_range_are_refused():
    known = tensor_model.random_tensors()
    # The largest sum of an output of the first layer: a compressed difference for each input, and the bias.
    largest = MODEL.layout.largest_input
    assert largest == MODEL.layout.compress[-1] == 343
    weight = known["likelihood.hidden1.weight"].copy()
    most = ((1 << 31) - 1 - (1 << 30)) // largest
    weight[:, 0] = most // len(weight)
    weight[0, 0] += most % len(weight)
    parse_model(weights(tensors=known | {"likelihood.hidden1.weight": weight}))
    weight[0, 0] += 1
    with pytest.raises(ModelError, match="layer likelihood 0"):
        parse_model(weights(tensors=known | {"likelihood.hidden1.weight": weight}))


def test_what_places_see_counts_in_the_bound_of_their_own_head():
    known = tensor_model.random_tensors()
    split, seen = known["likelihood.split.weight"].copy(), known["likelihood.conditioning"].copy()
    split[:], seen[:] = 0, 0
    most = ((1 << 31) - 1 - (1 << 30)) // int(MODEL.layout.compress[-1])
    for place in range(1, GROUPS):
        features = MODEL.layout.feature_begins[place : place + 2]
        rows = np.arange(*features)
        assert len(rows) == place * GROUP
        seen[rows, 3] = most // len(rows)
        seen[rows[0], 3] += most % len(rows)
    changed = {"likelihood.split.weight": split, "likelihood.conditioning": seen}
    parse_model(weights(tensors=known | changed))
    for row in range(len(seen)):
        more = seen.copy()
        more[row, 3] += 1
        with pytest.raises(ModelError, match="layer likelihood 3"):
            parse_model(weights(tensors=known | changed | {"likelihood.conditioning": more}))


@pytest.mark.parametrize("limit", [1, 3, 40, 2047, 16383])
def test_the_largest_input_is_that_of_all_differences_and_levels(limit):
    coded = layout.tensor(2, 1, limit, 1)
    levels = [(value - coded.missing) >> coded.level_shift for value in (-limit, limit)]
    assert coded.largest_input == max(np.abs(coded.compress).max(), *np.abs(levels))
    assert len(coded.compress) == 4 * limit + 1


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros((3, 3, CHANNELS), dtype=np.uint8), TypeError, "expected int16"),
        (np.zeros((3, 3, CHANNELS), dtype=np.int64), TypeError, "expected int16"),
        (np.zeros((3, 3, 1), dtype=np.int16), ValueError, "expected 12 channels, got 1"),
        (np.zeros((3, 3, CHANNELS + 1), dtype=np.int16), ValueError, "expected 12 channels, got 13"),
        (np.full((3, 3, CHANNELS), LIMIT + 1, dtype=np.int16), ValueError, "expected -40 to 40, got 41"),
        (np.full((3, 3, CHANNELS), -(1 << 15), dtype=np.int16), ValueError, "expected -40 to 40, got -32768"),
    ],
)
def test_other_values_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        encode(MODEL, values, 0, None)


def test_a_model_codes_what_it_is_for():
    with pytest.raises(TypeError, match="expected uint8"):
        encode(load_model(), draw(3, 3), 0, None)
    with pytest.raises(ModelError, match="serves conditions up to 4, got 5"):
        encode(MODEL, draw(3, 3), CONDITIONS, None)
    with pytest.raises(ModelError, match="got -1"):
        encode(MODEL, draw(3, 3), -1, None)


@pytest.mark.parametrize("latents", Latents)
def test_damage_is_refused(latents):
    tensor = draw(4 * TILE + 3, 20)
    encoded = encode(MODEL, tensor, 0, latents)
    payload = bytearray(encoded.payload)
    payload[len(payload) // 3] ^= 1
    first, second = encoded.lane_table
    tables = [(first + 1, second), (first, second - 1), (first - 1, second + 1), (first + 1, second - 1)]
    changed = [{"payload": bytes(payload)}, {"payload": encoded.payload[:-4]}]
    for changes in [*changed, *({"lane_table": table} for table in tables)]:
        with pytest.raises(CorruptDataError):
            decoded(encoded, tensor.shape, 0, **changes)
    with pytest.raises(CorruptDataError):
        decoded(encoded, tensor.shape, 1)


def test_hidden_weights_have_8_bits_in_all_layers_or_in_none():
    known = tensor_model.random_tensors()
    names = [f"likelihood.hidden{i}.weight" for i in (1, 2, 3)]
    small = {name: np.clip(known[name], -128, 127).astype(np.int8) for name in names}
    wide = {name: weight.astype(np.int16) for name, weight in small.items()}
    one, other = (parse_model(weights(tensors=known | changed)) for changed in (small, wide))
    for name in ("w1", "w2", "w3"):
        np.testing.assert_array_equal(getattr(one.network, name), getattr(other.network, name))
    for name in names:
        with pytest.raises(ModelError, match="weight: expected int"):
            parse_model(weights(tensors=known | small | {name: wide[name]}))
