"""Files decode without the package: the plain-integer decoder written from docs/FORMAT.md returns the same."""

import ast
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import plain_model, spatial_model, tensor_model
from support import reference_decoder as reference

import codec
from codec import constants
from codec.encoder import encoding
from codec.entropy import mixtures, tables
from codec.errors import CorruptDataError
from codec.format import container, headers
from codec.format.headers import Fidelity, Latents
from codec.frozen import contexts
from codec.frozen.shipped import WEIGHTS, load_model
from codec.frozen.weights import parse_model
from codec.images import choice, decoder
from codec.vlae import decoding

SOURCE = Path(reference.__file__)
ALLOWED = {
    "__future__", "dataclasses", "decimal", "hashlib", "io", "json", "numpy", "pathlib", "PIL", "re", "struct",
    "typing", "zlib",
}  # fmt: skip


def picture(mode, size, seed=0):
    """Return an image of smooth colour, noise and a hard edge, so that all parts of the model are met."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    planes = np.stack([120 + 90 * np.sin(y / 17 + p) * np.cos(x / (11 + p)) for p in range(4)], axis=-1)
    planes += rng.normal(0, 4, (height, width, 1)) + rng.normal(0, 2, planes.shape)
    planes[height // 2 :, : width // 3] = 255
    planes[: height // 4, width // 2 :] = rng.integers(0, 256, (height // 4, width - width // 2, 1))
    array = np.clip(planes, 0, 255).astype(np.uint8)[..., : len(Image.new(mode, (1, 1)).getbands())]
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def samples_of(image):
    array = np.asarray(image.convert("L") if image.mode == "1" else image)
    return array.reshape(image.height, image.width, -1)


def lanes_of(encoded):
    """Return the bytes of each lane's message."""
    ends = np.cumsum(encoded.lane_table)
    return [encoded.payload[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def assert_same_decoding(data):
    expected = codec.decompress(data)
    mode, array = reference.decode(data, WEIGHTS)
    assert mode == expected.mode
    assert array.dtype == np.uint8
    assert np.array_equal(array, samples_of(expected))
    return array


@pytest.mark.parametrize(
    ("mode", "size", "max_error", "latents"),
    [
        ("RGB", (40, 140), 0, Latents.BITS_BACK),
        ("RGB", (66, 131), 2, Latents.TWO_PART),
        ("RGB", (20, 66), 0, Latents.TWO_PART),
        ("RGB", (16, 66), 0, Latents.NONE),
        ("RGB", (31, 29), 10, Latents.NONE),
        ("RGB", (23, 31), 1, None),
        ("RGBA", (23, 31), 4, None),
        ("L", (65, 140), 0, Latents.BITS_BACK),
        ("L", (20, 40), 6, None),
        ("LA", (9, 11), 0, None),
        ("RGBA", (24, 30), 0, None),
        ("RGB", (5, 3), 0, None),
        ("RGB", (1, 1), 0, None),
        ("RGB", (1, 9), 3, None),
        ("RGB", (9, 1), 0, None),
    ],
)
def test_coded_images(mode, size, max_error, latents):
    image = picture(mode, size)
    data = codec.compress(image, max_error=max_error, latents=latents)
    file = container.unpack(data)
    if latents is not None:
        assert file.coding.latents == latents
    error = np.abs(assert_same_decoding(data).astype(int) - samples_of(image)).max()
    assert error <= max_error


@pytest.mark.parametrize("max_error", range(1, 11))
def test_every_error_of_near_lossless(max_error):
    image = picture("RGB", (19, 17), seed=max_error)
    data = codec.compress(image, max_error=max_error)
    assert container.unpack(data).header.fidelity == Fidelity.NEAR_LOSSLESS
    assert np.abs(assert_same_decoding(data).astype(int) - samples_of(image)).max() == max_error


def adaptation_of(seed):
    """Return an adaptation: u (bias count,) with zeros, usual numbers and the largest."""
    rng = np.random.default_rng(seed)
    count = len(load_model().adaptation_units)
    return np.where(rng.random(count) < 0.02, rng.choice([-127, 127], count), rng.integers(-2, 3, count))


def adapt_to(monkeypatch, latents, u):
    """Let the encoder adapt all images to u, though they get longer."""
    monkeypatch.setattr(encoding, "choose", lambda *_: (latents, u))
    monkeypatch.setattr(choice, "QUICK_FACTOR", 0)


@pytest.mark.parametrize(
    ("mode", "size", "max_error", "latents"),
    [
        ("RGB", (30, 150), 0, Latents.BITS_BACK),
        ("RGB", (70, 20), 0, Latents.NONE),
        ("RGB", (70, 20), 3, Latents.TWO_PART),
        ("LA", (30, 20), 2, Latents.NONE),
        ("L", (70, 20), 0, Latents.TWO_PART),
    ],
)
def test_adapted_images(monkeypatch, mode, size, max_error, latents):
    # An image that is worth its adaptation would take this decoder long.
    u = adaptation_of(max_error)
    adapt_to(monkeypatch, latents, u)
    data = codec.compress(picture(mode, size), max_error=max_error)
    file = container.unpack(data)
    assert file.coding.latents == latents
    model = reference.load_model(WEIGHTS, file.coding.weights_hash)
    moved = reference.pop_adaptation(model, file.adaptation)
    assert np.array_equal(moved, u * load_model(file.coding.model).adaptation_units)
    error = np.abs(assert_same_decoding(data).astype(int) - samples_of(picture(mode, size))).max()
    assert error <= max_error


@pytest.mark.slow
@pytest.mark.parametrize("max_error", [0, 3])
def test_an_image_that_is_worth_its_adaptation(max_error):
    y, x = np.mgrid[0:128, 0:256]  # waves as short as no photograph has them
    waves = 128 + 60 * np.sin(1.3 * x + 0.7 * y) + np.random.default_rng(0).normal(0, 6, x.shape)
    image = Image.fromarray(waves.astype(np.uint8))
    data = codec.compress(image, max_error=max_error)
    assert container.unpack(data).adaptation
    assert np.abs(assert_same_decoding(data).astype(int) - samples_of(image)).max() <= max_error


@pytest.mark.parametrize("damage", ["cut", "zero", "longer", "empty"])
def test_a_damaged_adaptation_is_refused(monkeypatch, damage):
    adapt_to(monkeypatch, Latents.NONE, adaptation_of(1))
    file = container.unpack(codec.compress(picture("L", (20, 30)), lossless=True))
    chunk = file.adaptation
    changed, message = {
        "cut": (chunk[4:], "exhausted"),
        "zero": (chunk + b"\0", "length"),
        "longer": (bytes(4) + chunk, "more than the biases"),
        "empty": (b"", "message|samples_crc"),
    }[damage]
    with pytest.raises(ValueError, match=message):
        reference.decode(container.pack(replace(file, adaptation=changed)), WEIGHTS)


def test_bits_back_is_refused_in_a_near_lossless_file():
    data = bytearray(codec.compress(picture("L", (20, 30)), max_error=2, latents=Latents.TWO_PART))
    at = 14  # behind the header, the form, the sides and the degree
    assert data[at] == Latents.TWO_PART
    data[at] = Latents.BITS_BACK
    data[5:9] = zlib.crc32(data[9:], zlib.crc32(data[:5])).to_bytes(4, "little")
    with pytest.raises(ValueError, match="latents"):
        reference.decode(bytes(data), WEIGHTS)
    with pytest.raises(CorruptDataError, match="latents"):
        codec.decompress(bytes(data))


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize(("size", "seed"), [((1, 1), 0), ((1, 20), 1), ((40, 19), 2), ((50, 37), 3)])
def test_tensors(size, seed, latents):
    weights = tensor_model.weights(seed)
    tensor = tensor_model.draw(*size, seed)
    condition = seed % tensor_model.CONDITIONS
    encoded = encoding.encode(parse_model(weights), tensor, condition, latents)
    found = reference.decode_raster(weights, lanes_of(encoded), tensor.shape, condition, latents)
    np.testing.assert_array_equal(found, tensor)


@pytest.mark.parametrize(("size", "seed"), [((1, 1), 0), ((1, 20), 1), ((40, 19), 2), ((20, 37), 3)])
def test_tensors_of_models_without_latents(size, seed):
    weights = plain_model.weights(seed)
    tensor = tensor_model.draw(*size, seed)
    condition = seed % tensor_model.CONDITIONS
    lanes = lanes_of(encoding.encode(parse_model(weights), tensor, condition, None))
    found = reference.decode_raster(weights, lanes, tensor.shape, condition, Latents.NONE)
    np.testing.assert_array_equal(found, tensor)
    with pytest.raises(ValueError, match="latents of a model without any"):
        reference.decode_raster(weights, lanes, tensor.shape, condition, Latents.TWO_PART)


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("name", spatial_model.CONFIGS)
@pytest.mark.parametrize(("height", "width", "channels"), [(13, 17, 3), (1, 1, 3), (26, 9, 1)])
def test_models_with_maps_of_features(name, height, width, channels, latents):
    weights = spatial_model.weights(name, seed=height)
    values = spatial_model.draw(name, height, width, seed=width, channels=channels)
    encoded = encoding.encode(parse_model(weights), values, 0, latents)
    if height > 1:  # there is something to borrow
        assert encoded.latents == latents
    found = reference.decode_raster(weights, lanes_of(encoded), values.shape, 0, encoded.latents)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("name", spatial_model.CONFIGS)
def test_files_of_models_with_maps_of_features(name, tmp_path):
    weights = spatial_model.weights(name)
    (tmp_path / "spatial-test-78.safetensors").write_bytes(weights)
    frozen, values = parse_model(weights), spatial_model.draw(name, 19, 12)
    mode = "1" if frozen.kind.name == "bits" else "RGB"
    pixels = values * np.uint8(255) if mode == "1" else values
    crc = zlib.crc32(pixels.tobytes()) % 2**31
    encoded = encoding.encode(frozen, values, 0, None, checksum=lambda _: crc)
    header = headers.Header(Fidelity.LOSSLESS, mode, 0, 12, 19, crc)
    coding = headers.CodingHeader(encoded.latents, encoded.lanes, 78, frozen.hash[:2])
    parts = encoded.lane_table, b"", encoded.adaptation, b"", encoded.payload
    file = container.Container(header, coding, *parts)
    found, samples = reference.decode(container.pack(file), tmp_path)
    assert found == mode
    np.testing.assert_array_equal(samples, pixels)
    image = decoder.coded_image(file, frozen, decoding.decode(frozen, file)[0].samples, None)
    assert image.mode == mode
    np.testing.assert_array_equal(samples_of(image), pixels)
    other = replace(file, header=replace(header, mode="RGB" if mode == "1" else "1"))
    with pytest.raises(ValueError, match="model"):
        reference.decode(container.pack(other), tmp_path)
    with pytest.raises(CorruptDataError, match=r"codes (bits|samples)"):
        decoding.decode(frozen, other)


def test_the_table_of_normals_is_equal():
    np.testing.assert_array_equal(reference.NORMAL, tables.normal())


@pytest.mark.parametrize("window", [(1, 0), (1, 3), (2, 1), (9, 0), (7, 4), (3, 9)])
def test_windows_are_equal(window):
    assert reference.window(*window) == [tuple(pair) for pair in contexts.window(*window).tolist()]


def test_an_image_of_three_bands_in_two_lanes_returns_borrowed_bits():
    data = codec.compress(picture("RGB", (40, 140)), lossless=True, latents=Latents.BITS_BACK)
    opened = decoder.opened(container.unpack(data))
    assert (opened.raster.lanes, opened.raster.bands) == (2, 3)


def test_constant_alpha():
    image = picture("RGB", (24, 30))
    image.putalpha(77)
    data = codec.compress(image, lossless=True)
    assert container.unpack(data).alpha == bytes([77])
    assert_same_decoding(data)


@pytest.mark.parametrize("mode", ["P", "1", "L", "RGBA"])
def test_stored_images(mode):
    # Noise that repeats itself: PNG finds the repetition, a window of four pixels cannot.
    noise = np.random.default_rng(3).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    repeated = Image.fromarray(np.tile(noise, (6, 8, 1)))
    data = codec.compress(repeated.convert(mode), lossless=True)
    assert container.unpack(data).header.fidelity == Fidelity.STORED
    assert_same_decoding(data)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_stored_images_of_few_colours(mode):
    image = picture(mode, (40, 30)).quantize(12).convert(mode)
    if mode == "RGBA":
        image.putalpha(image.convert("L").point(lambda v: 0 if v < 128 else 200))
    data = codec.compress(image, lossless=True)
    file = container.unpack(data)
    assert (file.header.fidelity, file.payload[0] >> 3 & 7) == (Fidelity.STORED, 3)
    assert np.array_equal(assert_same_decoding(data), samples_of(image))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 2}, {"quality": 60}])
def test_equal_colours(mode, options):
    image = picture("L", (19, 17)).convert(mode)
    data = codec.compress(image, **options)
    header = container.unpack(data).header
    assert (header.mode, header.channels, header.mode_number) == (mode, 1, 6 + (mode == "RGBA"))
    samples = assert_same_decoding(data)
    assert (samples[..., :1] == samples[..., :3]).all()


@pytest.mark.parametrize("components", [1, 4])
def test_cumulative_functions_are_equal_far_outside_what_models_say(components):
    rng = np.random.default_rng(components)
    table = mixtures.load_tables()
    prepared = np.zeros(3 * constants.COMPONENTS, dtype=np.int64)
    for draw in range(60):
        spread = 1 << rng.integers(1, 26)
        raw = rng.integers(-spread, spread, (1, 3 * components))
        raw[0, 2 * components :] = rng.integers(-200, 300, components)
        if draw % 3 == 0:
            raw[0, :components] = raw[0, 0]  # which of equal logits takes the rest matters
        shift = rng.integers(-(1 << 16), 1 << 16, 1)
        d = draw % 11
        mixtures.prepare(raw[0], components, shift[0], prepared, table)
        mixed = reference.mixtures(raw, shift)
        centre = reference.centres(mixed)
        assert centre.tolist() == [min(max(mixtures.mean(prepared), 0), 255)]
        for ours, theirs in (
            (mixtures.sample_grid(mixtures.mean(prepared), d), reference.sample_grid(centre, d)),
            (mixtures.number_grid(-31, 31), reference.number_grid(31)),
        ):
            cum = [mixtures.cumulative(k, ours, prepared, table) for k in range(ours.count + 1)]
            assert reference.cumulative(mixed, theirs)[0].tolist() == cum
            assert (np.diff(cum) >= 1).all()


@pytest.mark.parametrize("max_error", range(11))
def test_grids_of_samples_are_equal(max_error):
    centres = np.arange(256)
    theirs = reference.sample_grid(centres, max_error)
    for c in centres.tolist():
        ours = mixtures.sample_grid(c, max_error)
        assert ours == (theirs.count[c], theirs.step, theirs.first[c])
        decoded = [mixtures.value_of(k, ours, 0, 255) for k in range(ours.count)]
        assert [reference.symbol_sample(k, c, max_error) for k in range(ours.count)] == decoded


def test_grids_of_different_lengths_stand_in_one_table():
    rng = np.random.default_rng(0)
    raw = rng.integers(-3000, 3000, (40, 12))
    mixed = reference.mixtures(raw, rng.integers(0, 1 << 16, 40))
    centre = reference.centres(mixed)
    grid = reference.sample_grid(centre, 5)
    assert len(set(grid.count.tolist())) > 1
    for row, cum in enumerate(reference.cumulative(mixed, grid)):
        parts = (mixed.weights, mixed.means, mixed.inverse)
        alone = reference.Mixtures(*(part[row : row + 1] for part in parts), mixed.table)
        one = reference.cumulative(alone, reference.sample_grid(centre[row : row + 1], 5))[0]
        assert cum[: len(one)].tolist() == one.tolist()
        assert set(cum[len(one) :].tolist()) <= {1 << 24}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 12), (2, 9), (3, 3), (12, 1), (13, 12)])
def test_border_rules_are_equal(width, height):
    offsets = contexts.offsets(4)
    y, x = (a.reshape(-1) for a in np.mgrid[:height, :width])
    ours = contexts.neighbour(y[:, None], x[:, None], offsets[:, 0], offsets[:, 1], width)
    theirs = reference.context_places(y, x, reference.contexts(4), width)
    assert np.array_equal(ours, theirs)
    row, column = np.divmod(theirs, width)
    assert ((theirs < 0) | (column + 2 * row < (x + 2 * y)[:, None])).all()


def test_damage_is_refused():
    data = bytearray(codec.compress(picture("RGB", (24, 30)), lossless=True))
    data[-5] ^= 1
    with pytest.raises(ValueError, match="file_crc"):
        reference.decode(bytes(data), WEIGHTS)


def test_an_exhausted_message_is_refused():
    message = reference.Message((1 << 31).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="exhausted"):
        message.pop(np.array([0, 1, 1 << 24]))


def test_the_reference_shares_no_code_with_the_package():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= ALLOWED


def test_archives(tmp_path, monkeypatch):
    # Two additions, chains of three models, images that borrow and one that is stored.
    def choose(image, *_):
        how = Latents.TWO_PART if image.max_error else Latents.BITS_BACK
        return (how if image.model.latents else Latents.NONE), None

    monkeypatch.setattr(encoding, "choose", choose)
    monkeypatch.setattr(choice, "QUICK_FACTOR", 0)
    path = tmp_path / "a.vlar"
    images = {f"{i}": picture(mode, (20 + i, 70 - 9 * i), i) for i, mode in enumerate(["RGB", "L", "RGBA"])}
    images["grey"] = images["1"].convert("RGB")
    codec.create_archive(path, images | {"bits": Image.new("1", (9, 9), 1)}, lossless=True, processes=1)
    codec.add_to_archive(path, {"near": images["0"]}, max_error=2, processes=1)
    codec.add_to_archive(path, {f"lossy/{name}": image for name, image in images.items()}, quality=50, processes=1)
    decoded = reference.decode_archive(path.read_bytes() + b"what a crash left", WEIGHTS)
    with codec.Archive(path) as archive:
        assert list(decoded) == list(archive)
        entries = list(archive.entries.values())
        assert {entry.header.fidelity for entry in entries} == set(Fidelity)
        assert sum(not entry.dry for entry in entries) >= 2
        for name, image in archive.items():
            mode, array = decoded[name]
            assert mode == image.mode
            np.testing.assert_array_equal(array, samples_of(image))


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "a.vlar"
    codec.create_archive(path, {"a": picture("L", (9, 9)), "b": picture("P", (4, 4))}, lossless=True, processes=1)
    data = path.read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises((ValueError, OSError, SyntaxError)):
            reference.decode_archive(bytes(damaged), WEIGHTS)
