"""The transforms equal plain integer arithmetic, with any threads, up to the limits of int32; the rest is refused."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.transform_model import FINE_SAMPLES, SAMPLES, SUM_LIMIT, images, largest_input, latents, make

from codec.errors import ModelError
from codec.frozen import transform_weights
from codec.networks import mean_colours, transform


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def depthwise(x, weight):
    """Return the sums of (h, w, C) with the weights (9, C) of the neighbours; the nearest positions stand in."""
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return sum(padded[k // 3 : k // 3 + h, k % 3 : k % 3 + w] * weight[k].astype(np.int64) for k in range(9))


def joined(x):
    """Return (h, w, 4 C) of fine positions (2 h, 2 w, C)."""
    h, w, channels = x.shape
    return x.reshape(h // 2, 2, w // 2, 2, channels).transpose(0, 2, 1, 3, 4).reshape(h // 2, w // 2, 4 * channels)


def split(x):
    """Return fine positions (2 h, 2 w, C) of (h, w, 4 C)."""
    h, w, channels = x.shape
    return x.reshape(h, w, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, channels // 4)


def naive(x, tensors, config, prefix, level):
    """Return a transform's results before they are clipped: of patches (2 h, 2 w, 48), or of y (h, w, C)."""

    def get(name):
        return tensors[f"{prefix}.{name}"].astype(np.int64)

    def clip(s):
        return np.clip(s, -config["stream_limit"], config["stream_limit"])

    def layer(name, x, bias):
        return (x @ get(f"{name}.weight") + bias) >> get(f"{name}.shift")

    def blocks(s, kind):
        k = 1
        while f"{prefix}.{kind}{k}.hidden.weight" in tensors:
            name = f"{kind}{k}"
            shift = get(f"{name}.depthwise.shift")
            d = clip((depthwise(s, get(f"{name}.depthwise.weight")) + ((1 << shift) >> 1)) >> shift)
            t = np.clip(layer(f"{name}.hidden", d, get(f"{name}.hidden.biases")[level]), 0, config["hidden_limit"])
            s = clip(s + layer(f"{name}.residual", t, get(f"{name}.residual.bias")))
            k += 1
        return s

    x = x.astype(np.int64)
    analyses = prefix == "analysis"
    s = blocks(clip(layer("input", x, get("input.bias"))), "fine" if analyses else "coarse")
    s = clip(layer("between", joined(s) if analyses else s, get("between.bias")))
    s = blocks(s if analyses else split(s), "coarse" if analyses else "fine")
    linear = (joined(x) if analyses else x) @ get("linear.weight") * get("linear.multiplier")
    output = (np.maximum(s, 0) @ get("output.weight") + get("output.bias")) * get("output.multiplier")
    return ((linear if analyses else split(linear)) + output + (1 << 31)) >> 32


def unshuffled(samples):
    """Return patches (2 h, 2 w, 48), written out: repeated beyond the image."""
    height, width, _ = samples.shape
    h, w = -(-height // 8), -(-width // 8)
    u = np.zeros((2 * h, 2 * w, FINE_SAMPLES), dtype=np.int64)
    for y in range(8 * h):
        for x in range(8 * w):
            for c in range(3):
                sample = int(samples[min(y, height - 1), min(x, width - 1), c])
                u[y // 4, x // 4, c * 16 + y % 4 * 4 + x % 4] = sample
    return u


def shuffled(patches, height, width):
    """Return the image (H, W, 3) of patches (2 h, 2 w, 48)."""
    image = np.zeros((height, width, 3), dtype=np.int64)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                image[y, x, c] = patches[y // 4, x // 4, c * 16 + y % 4 * 4 + x % 4]
    return image


def naive_analysis(samples, tensors, config, level):
    return np.clip(naive(unshuffled(samples) - 128, tensors, config, "analysis", level), -(1 << 20), 1 << 20)


def naive_synthesis(values, tensors, config, level, height, width):
    return shuffled(np.clip(naive(values, tensors, config, "synthesis", level) + 128, 0, 255), height, width)


def check(tensors, config, height, width, level, pool, workers, rng):
    """Compare both transforms with plain arithmetic."""
    both = transform_weights.parse(tensors, config)
    for samples in images(rng, height, width):
        y = transform.analyse(samples, both, level, pool, workers)
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, naive_analysis(samples, tensors, config, level))
    for values in latents(rng, height, width, both.steps.shape[1]):
        image = transform.synthesise(values, both, level, height, width, pool, workers)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, naive_synthesis(values, tensors, config, level, height, width))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 20),
    st.tuples(st.integers(1, 35), st.integers(1, 20)),
    st.integers(1, 40),
    st.tuples(st.integers(0, 2), st.integers(0, 3)),
    st.sampled_from([(32767, 32767), (8191, 4095), (127, 1), (1, 127)]),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_transforms_equal_integer_arithmetic(size, channels, widths, units, blocks, limits, workers, seed):
    config = {"stream_limit": limits[0], "hidden_limit": limits[1]}
    rng = np.random.default_rng(seed)
    levels = int(rng.integers(1, 4))
    tensors = make(channels, widths, units, blocks, levels, config, seed)
    with ThreadPoolExecutor(workers) as pool:
        check(tensors, config, *size, int(rng.integers(levels)), pool, workers, rng)


CONFIG = {"stream_limit": 8191, "hidden_limit": 4095}


@pytest.fixture(scope="module")
def tensors():
    return make(6, (20, 7), 30, (2, 3), 3, CONFIG)


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (300, 17), (8, 8), (90, 130)])
def test_images_of_any_size(tensors, size, pool):
    check(tensors, CONFIG, *size, 2, pool, 1, np.random.default_rng(1))


@pytest.mark.parametrize("strip", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("size", [(1, 1), (8, 300), (9, 8), (57, 20), (150, 35)])
def test_strips_change_nothing(tensors, strip, size, pool, monkeypatch):
    monkeypatch.setattr(transform, "STRIP_ROWS", strip)
    for workers in (1, 2):
        check(tensors, CONFIG, *size, 1, pool, workers, np.random.default_rng(5))


def test_strips_need_a_row_more_for_each_coarse_block_and_for_two_fine_ones(tensors):
    deep = transform_weights.parse(tensors, CONFIG).synthesis
    assert (len(deep.before), len(deep.after)) == (2, 3)
    assert transform.reach(deep.before, deep.after) == 4
    assert transform.reach(deep.before, deep.after[:2]) == 3
    assert transform.reach((), ()) == 0


def test_memory_does_not_grow_with_height(tensors, pool, monkeypatch):
    monkeypatch.setattr(transform, "STRIP_ROWS", 4)
    both, rng = transform_weights.parse(tensors, CONFIG), np.random.default_rng(6)
    width = 80

    def beside(function, result):
        function()  # the first call compiles
        tracemalloc.start()
        try:
            function()
            return tracemalloc.get_traced_memory()[1] - result
        finally:
            tracemalloc.stop()

    analysis, synthesis = [], []
    for height in (800, 3200):
        samples, values = images(rng, height, width)[0], latents(rng, height, width, 6)[0]
        analysis.append(beside(lambda s=samples: transform.analyse(s, both, 0, pool, 1), 2 * values.nbytes))
        synthesis.append(
            beside(lambda v=values, h=height: transform.synthesise(v, both, 0, h, width, pool, 1), samples.nbytes)
        )
    # Planes of int16, of the strip and of the four rows on either side that layers see beyond it.
    positions = (4 + 2 * 4) * width // 8
    coarse, fine = 2 * 20, 2 * 4 * 7
    for found, least in ((analysis, 2 * SAMPLES + 2 * fine), (synthesis, coarse + 2 * fine)):
        assert least * positions < found[1] < found[0] + 4096


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_threads_change_nothing(tensors, workers, pool):
    height, width = 150, 201  # 494 positions: six pieces, which end within rows
    both, rng = transform_weights.parse(tensors, CONFIG), np.random.default_rng(2)
    samples, values = images(rng, height, width)[0], latents(rng, height, width, 6)[0]
    y = transform.analyse(samples, both, 1, pool, 1)
    np.testing.assert_array_equal(transform.analyse(samples, both, 1, pool, workers), y)
    image = transform.synthesise(values, both, 1, height, width, pool, 1)
    np.testing.assert_array_equal(transform.synthesise(values, both, 1, height, width, pool, workers), image)


def test_networks_are_not_idle(tensors, pool):
    # The values that other tests compare are neither all zero nor all at a limit, and depend on level and blocks.
    both, rng = transform_weights.parse(tensors, CONFIG), np.random.default_rng(3)
    samples, values = images(rng, 64, 64)[0], latents(rng, 64, 64, 6)[0]
    for found in (
        lambda t, level: transform.analyse(samples, t, level, pool, 1),
        lambda t, level: transform.synthesise(values, t, level, 64, 64, pool, 1),
    ):
        y = found(both, 0)
        assert len(np.unique(y)) > 50
        assert (y != found(both, 1)).mean() > 0.05
        fewer = both._replace(
            analysis=both.analysis._replace(after=()),
            synthesis=both.synthesis._replace(after=both.synthesis.after[1:]),
        )
        assert (y != found(fewer, 0)).mean() > 0.05


def constant(channels, width, config):
    """Return tensors of transforms that do nothing: all zeros, one block in each stream."""
    tensors = make(channels, (width, width), width, (1, 1), 1, config)
    return {name: tensor if name.endswith("steps") else np.zeros_like(tensor) for name, tensor in tensors.items()}


def identity():
    """Return transforms of which each of 192 channels is one sample: those of four fine patches.

    A channel is 1/256 of the sample after analysis, and 16 of these make one in synthesis.
    """
    tensors = constant(SAMPLES, 1, CONFIG)
    for prefix, bits in (("analysis", 0), ("synthesis", 4)):
        tensors[f"{prefix}.linear.weight"] = np.eye(SAMPLES, dtype=np.int16) << 8
        tensors[f"{prefix}.linear.multiplier"][:] = 1 << (24 - bits)
    return transform_weights.parse(tensors, CONFIG)


def test_patches_are_pixel_unshuffled(pool):
    both = identity()
    samples = images(np.random.default_rng(4), 19, 26)[0]
    y = transform.analyse(samples, both, 0, pool, 1)
    np.testing.assert_array_equal(y, joined(unshuffled(samples) - 128))
    image = transform.synthesise((16 * y).astype(np.int16), both, 0, 19, 26, pool, 1)
    np.testing.assert_array_equal(image, samples)


@pytest.mark.parametrize("rows", [mean_colours.ROWS, 2])
def test_mean_colours_are_those_of_patches(rows, pool, monkeypatch):
    monkeypatch.setattr(mean_colours, "ROWS", rows)
    both = identity()
    samples = np.concatenate(images(np.random.default_rng(5), 24, 32))
    y = transform.analyse(samples, both, 0, pool, 1)
    means = samples.reshape(6, 8, 4, 8, 3).mean((1, 3))
    np.testing.assert_array_equal(
        mean_colours.mean_colours((16 * y).astype(np.int16), both), np.floor(means + 0.5).astype(np.uint8)
    )
    assert (mean_colours.mean_colours(np.full((1, 1, SAMPLES), 32767, dtype=np.int16), both) == 255).all()


def test_a_projection_is_the_linear_map_of_a_difference(tensors, monkeypatch):
    both = transform_weights.parse(tensors, CONFIG)
    rng = np.random.default_rng(6)
    samples, restored = (rng.integers(0, 256, (43, 26, 3), dtype=np.uint8) for _ in range(2))
    difference = np.zeros((48, 32, 3), dtype=np.int64)
    difference[:43, :26] = samples.astype(int) - restored
    sums = joined(unshuffled(difference)) @ tensors["analysis.linear.weight"].astype(np.int64)
    expected = (sums * tensors["analysis.linear.multiplier"].astype(np.int64) + (1 << 31)) >> 32
    for rows in (transform.PROJECTED_ROWS, 2):
        monkeypatch.setattr(transform, "PROJECTED_ROWS", rows)
        found = transform.project(samples, restored, both)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seen", [("linear",), ("output",), ("linear", "output")])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_do_not_wrap(sign, seen, pool):
    # 65538 * 32767 + 1 = 2**31 - 1: weights of 65538 in all and a bias of 1 reach the bound in every layer
    # of synthesis, and the multipliers reach theirs.
    config = {"stream_limit": 32767, "hidden_limit": 32767}
    count = 520
    tensors = constant(count, count, config)
    weight = np.array([*[127] * 516, 6, 0, 0, 0], dtype=np.int8)
    for kind in ("coarse1", "fine1"):
        # The depthwise layer keeps the stream: its sum is 65537 * 32767 + 2**15, which is 32767.999 * 2**16.
        tensors[f"synthesis.{kind}.depthwise.weight"][[3, 4, 5]] = np.array([[32767], [32767], [3]])
        tensors[f"synthesis.{kind}.depthwise.shift"][:] = 16
        tensors[f"synthesis.{kind}.residual.shift"][:] = 0
    for name in ("input", "between", *(f"{k}1.{n}" for k in ("coarse", "fine") for n in ("hidden", "residual"))):
        tensors[f"synthesis.{name}.weight"][...] = weight[:, None]
        tensors[f"synthesis.{name}.{'biases' if 'hidden' in name else 'bias'}"][...] = 1
        if "residual" not in name:
            tensors[f"synthesis.{name}.shift"][:] = 16
    tensors["synthesis.input.weight"] *= sign
    tensors["synthesis.linear.weight"][:] = sign * weight.astype(np.int16)[:, None]
    tensors["synthesis.output.weight"][:] = weight[:, None]
    tensors["synthesis.output.bias"][:] = 1
    for name in seen:
        tensors[f"synthesis.{name}.multiplier"][:] = 1 << 30
    both = transform_weights.parse(tensors, config)
    for side in (sign, -sign):
        values = np.full((2, 3, count), side * 32767, dtype=np.int16)
        image = transform.synthesise(values, both, 0, 16, 24, pool, 1)
        np.testing.assert_array_equal(image, naive_synthesis(values, tensors, config, 0, 16, 24))
        least = 0 if "linear" in seen else 128  # rectified
        assert (image == (255 if values[0, 0, 0] * sign > 0 else least)).all()


def test_the_least_weight_is_within_the_bound(pool):
    config = {"stream_limit": 32767, "hidden_limit": 32767}
    tensors = constant(512, 512, config)
    tensors["synthesis.input.weight"][...] = -128
    tensors["synthesis.between.weight"][0] = 1
    tensors["synthesis.output.weight"][:2] = 1
    tensors["synthesis.input.shift"][:] = 16
    tensors["synthesis.output.multiplier"][:] = 1 << 22
    both = transform_weights.parse(tensors, config)
    values = np.full((1, 1, 512), -32767, dtype=np.int16)
    image = transform.synthesise(values, both, 0, 8, 8, pool, 1)
    # 512 * 128 * 32767 >> 16 = 32767; two of them, 2**-10 of it is 64
    assert (image == 128 + 64).all()


def layer_names(tensors):
    return sorted(name.removesuffix(".weight") for name in tensors if name.endswith(".weight"))


LAYERS = layer_names(make(6, (20, 7), 30, (2, 3), 3, CONFIG))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", [name for name in LAYERS if not name.endswith(("linear", "depthwise"))])
def test_a_bias_over_the_bound_is_refused(tensors, name, sign):
    changed = dict(tensors)
    kind = "biases" if name.endswith("hidden") else "bias"
    bias = changed[f"{name}.{kind}"] = tensors[f"{name}.{kind}"].copy()
    used = np.abs(tensors[f"{name}.weight"][:, -1].astype(np.int64)).sum() * largest_input(name, CONFIG)
    bias[..., -1].flat[-1] = 0
    bias[(-1,) * bias.ndim] = sign * (SUM_LIMIT - used)
    transform_weights.parse(changed, CONFIG)
    bias[(-1,) * bias.ndim] += sign
    with pytest.raises(ModelError, match=f"{name}: sums may reach 2147483648, exact only up to 2147483647"):
        transform_weights.parse(changed, CONFIG)


DENSE = [name for name in LAYERS if name != "analysis.linear" and not name.endswith("depthwise")]


@pytest.mark.parametrize("name", DENSE)
def test_a_weight_over_the_bound_is_refused(name):
    # The linear map of analysis is left out, because 192 inputs of 128 cannot reach the bound.
    tensors = make(3, (20, 7), 30, (2, 3), 3, CONFIG)
    weight = tensors[f"{name}.weight"]
    if name == "synthesis.linear":
        weight[:, 1] = 32767, -32767, 4  # 65538 * 32767 = 2**31 - 2
    else:
        bias = tensors[f"{name}.{'biases' if name.endswith('hidden') else 'bias'}"]
        bias[..., 1] = SUM_LIMIT - np.abs(weight[:, 1].astype(np.int64)).sum() * largest_input(name, CONFIG)
    transform_weights.parse(tensors, CONFIG)
    weight[2, 1] += 1 if weight[2, 1] >= 0 else -1
    with pytest.raises(ModelError, match=rf"{name}: sums may reach \d+, exact only up to 2147483647"):
        transform_weights.parse(tensors, CONFIG)


@pytest.mark.parametrize("name", ["analysis.coarse1.depthwise", "synthesis.fine2.depthwise"])
def test_depthwise_weights_over_the_bound_are_refused(tensors, name):
    weight, shift = (tensors[f"{name}.{part}"].copy() for part in ("weight", "shift"))
    shift[-1] = 20  # half of it is 2**19
    left = (SUM_LIMIT - (1 << 19)) // CONFIG["stream_limit"] - 7 * 32767
    weight[:, -1] = [-32767] * 7 + [left, 0]
    changed = tensors | {f"{name}.weight": weight, f"{name}.shift": shift}
    transform_weights.parse(changed, CONFIG)
    weight[-1, -1] += 1
    with pytest.raises(ModelError, match=rf"{name}: sums may reach \d+, exact only up to 2147483647"):
        transform_weights.parse(changed, CONFIG)


@pytest.mark.parametrize("name", ["stream_limit", "hidden_limit"])
def test_a_larger_limit_is_refused(name):
    config = {"stream_limit": 4095, "hidden_limit": 4095}
    tensors = make(2, (120, 120), 1200, (1, 1), 1, config)
    transform_weights.parse(tensors, config)
    with pytest.raises(ModelError, match="sums may reach"):
        transform_weights.parse(tensors, config | {name: 32767})


@pytest.mark.parametrize("name", ["stream_limit", "hidden_limit"])
@pytest.mark.parametrize("value", [0, -1, 32768, 100.0, True, None, "100"])
def test_a_wrong_configuration_is_refused(tensors, name, value):
    with pytest.raises(ModelError, match=f"{name}: expected 1 to 32767"):
        transform_weights.parse(tensors, CONFIG | {name: value})
    with pytest.raises(ModelError, match=f"{name}: expected 1 to 32767"):
        transform_weights.parse(tensors, {key: entry for key, entry in CONFIG.items() if key != name})


NAMES = sorted(make(6, (20, 7), 30, (2, 3), 3, CONFIG))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor[..., :-1],
        lambda tensor: tensor[..., :0],
        lambda tensor: np.concatenate([tensor, tensor]),
        lambda tensor: tensor[None],
        lambda tensor: tensor.reshape(-1)[0],
        lambda tensor: tensor.astype(np.int64),
        lambda tensor: tensor.astype(np.float32),
    ],
    ids=["short", "empty", "long", "deep", "scalar", "wide", "float"],
)
def test_a_tensor_of_another_shape_or_type_is_refused(tensors, name, change):
    with pytest.raises(ModelError):
        transform_weights.parse(tensors | {name: change(tensors[name])}, CONFIG)


@pytest.mark.parametrize("name", NAMES)
def test_each_tensor_is_needed(tensors, name):
    with pytest.raises(ModelError):
        transform_weights.parse({key: tensor for key, tensor in tensors.items() if key != name}, CONFIG)


def test_nothing_is_left_over(tensors):
    spare = np.zeros(3, dtype=np.int8)
    for name in ("analysis.coarse4.hidden.shift", "analysis.coarse3.hidden.weight", "synthesis.x"):
        with pytest.raises(ModelError):
            transform_weights.parse(tensors | {name: spare}, CONFIG)
    transform_weights.parse(tensors | {"likelihood.x": spare}, CONFIG | {"radius": 4})


def test_transforms_without_width_levels_or_channels_are_refused():
    whole = make(1, (1, 1), 1, (0, 0), 1, CONFIG)
    for empty in ("levels", "channels", "coarse", "fine"):
        sizes = {"levels": 1, "channels": 1, "coarse": 1, "fine": 1} | {empty: 0}
        steps = np.zeros((sizes["levels"], sizes["channels"]), dtype=np.int32)
        coarse, fine = sizes["coarse"], 4 * sizes["fine"]
        between = {
            "analysis.between.weight": np.zeros((fine, coarse), dtype=np.int8),
            "synthesis.between.weight": np.zeros((coarse, fine), dtype=np.int8),
        }
        shapes = transform_weights.tensor_shapes({"synthesis.steps": steps} | between)
        assert set(shapes) == set(whole)
        tensors = {name: np.ones(shape, dtype=dtype) for name, (dtype, shape) in shapes.items()}
        with pytest.raises(ModelError, match="expected a tensor that is not empty"):
            transform_weights.parse(tensors, CONFIG)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("prices", (-1,)),
        ("shares", (-1,)),
        ("shift", (-1, 32)),
        ("multiplier", ((1 << 30) + 1, -(1 << 30) - 1, -(1 << 31))),
        ("steps", (0, -1)),
    ],
)
def test_numbers_out_of_range_are_refused(tensors, kind, values):
    for name in NAMES:
        if name.endswith(kind):
            for value in values:
                changed = tensors[name].copy()
                changed.flat[-1] = value
                with pytest.raises(ModelError, match=f"{name}: {kind}s? are"):
                    transform_weights.parse(tensors | {name: changed}, CONFIG)


def test_callers_mistakes_are_named(tensors, pool):
    both = transform_weights.parse(tensors, CONFIG)
    samples, values = np.zeros((9, 8, 3), dtype=np.uint8), np.zeros((2, 1, 6), dtype=np.int16)
    for level in (-1, 3):
        with pytest.raises(ValueError, match="level: expected 0 to 2"):
            transform.analyse(samples, both, level, pool, 1)
        with pytest.raises(ValueError, match="level: expected 0 to 2"):
            transform.synthesise(values, both, level, 9, 8, pool, 1)
    for wrong in (samples.astype(np.int16), samples[..., :2], samples[0], samples[:0]):
        with pytest.raises(ValueError, match="samples: expected uint8"):
            transform.analyse(wrong, both, 0, pool, 1)
    for wrong in (values.astype(np.int32), values[..., :1], values[:1], values[0]):
        with pytest.raises(ValueError, match="values: expected int16"):
            transform.synthesise(wrong, both, 0, 9, 8, pool, 1)
