"""Training of models whose latents become a map of features, from arrays of small images to frozen weights.

Needs torch.
"""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from codec.encoder import encoding  # noqa: E402
from codec.entropy.mixtures import ideal_bits, number_grid  # noqa: E402
from codec.format.headers import Latents  # noqa: E402
from codec.frozen.prior import NEIGHBOURS  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from codec.vlae import decoding  # noqa: E402
from codec.vlae.image import Image as CodedImage  # noqa: E402
from codec.vlae.latents import mode, posterior_raw  # noqa: E402
from codec.vlae.pixels import intervals  # noqa: E402
from models.data.small import SmallImages, load_array, shrunken  # noqa: E402
from models.errors import RecipeError, TrainingError  # noqa: E402
from models.nets.latents import normal_bits  # noqa: E402
from models.nets.spatial import Spatial, SpatialConfig, SpatialPrior  # noqa: E402
from models.noise import Noise  # noqa: E402
from models.recipes.reading import FOLDER, load_recipe  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.tasks.maps import posterior_inputs  # noqa: E402
from models.training.device import Machine  # noqa: E402
from models.training.finish import FROZEN, finish, freeze  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

SMALL = {
    "model.latents": 4,
    "model.stream": 8,
    "model.blocks": [1, 1],
    "model.features": 3,
    "model.prior": 2,
    "model.width": 16,
    "model.head": 8,
    "train.steps": 60,
    "train.decay_steps": 30,
    "train.warmup_steps": 2,
    "train.latent_steps": 10,
    "train.batch": 16,
    "train.average": 0.5,
    "validation.pixels": 40,
}
KINDS = {
    "bits": ("mnist-dynamic", {"window": [5, 3], "size": 12, "patch": 2, "cell": 3, "neighbours": 2}),
    "samples": ("tiny", {"window": [3, 2], "size": 16, "patch": 4, "cell": 1, "neighbours": 6, "mixtures": 2}),
    "grey": ("tiny", {"window": [3, 2], "size": 16, "patch": 4, "cell": 2, "grey": True, "prior": 0}),
}
"""Recipes that ship, and the shapes that are trained here."""


def recipe_of(kind, **changes):
    name, shape = KINDS[kind]
    array = "bits" if kind == "bits" else "samples"
    own = {f"model.{entry}": value for entry, value in shape.items()} | {
        "data": [{"folder": f"small.npz/{array}[:120]", "share": 1.0, "past": 0.0}],
        "validation.folders": [f"small.npz/{array}[120:]"],
    }
    return load_recipe(name, SMALL | own | changes)


def small_images(side, channels, count=160):
    rng = np.random.default_rng(side)
    y, x = np.mgrid[0:side, 0:side]
    phase = rng.uniform(0, 6, (count, 2, 1, 1, channels))
    waves = np.sin(y[..., None] / 2 + phase[:, 0]) * np.cos(x[..., None] / 3 + phase[:, 1])
    return np.clip(128 + 100 * waves + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    grey = small_images(12, 1)[..., 0]
    np.savez(folder / "small.npz", bits=(grey > 128).astype(np.uint8), grey=grey, samples=small_images(16, 3))
    return folder


@pytest.fixture(scope="module", params=KINDS)
def trained(request, data, tmp_path_factory):
    torch.set_num_threads(1)
    run = Run(recipe_of(request.param), data, tmp_path_factory.mktemp(request.param))
    assert run.train(float("inf"))
    return run


def validation(run):
    return run.data / run.recipe.validation_folders[0]


def test_training_learns(trained):
    fresh = trained.task.evaluate(trained.task.new_model(), validation(trained))
    after = trained.task.evaluate(trained.average, validation(trained))
    assert after["bpsp"] < 0.9 * fresh["bpsp"]
    size = trained.recipe.model.size
    count = size**2 * trained.recipe.model.coded.channels
    assert after["nats"] == pytest.approx(after["bpsp"] * count * np.log(2))
    assert 0 < after["KL"] < after["nats"]


def test_a_stopped_run_resumes_to_the_bit(data, trained, tmp_path):
    first = Run(trained.recipe, data, tmp_path)
    assert not first.train(float("inf"), stop=lambda: first.progress.step == 25)
    second = Run(trained.recipe, data, tmp_path)
    assert second.progress.step == 25
    assert second.train(float("inf"))
    for a, b in zip(second.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_in_bfloat16_have_about_the_same_loss(data, trained, tmp_path):
    losses = []
    for bfloat16 in (False, True):
        run = Run(trained.recipe, data, tmp_path / str(bfloat16), trained.folder, machine=Machine(bfloat16=bfloat16))
        batches = run.batches()
        losses.append(float(run.step(batches.batch(0))))
        batches.close()
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_run_begins_from_a_checkpoint(data, trained, tmp_path):
    run = Run(trained.recipe, data, tmp_path, trained.folder)
    assert run.progress.step == 0
    assert run.progress.start["steps"] == trained.recipe.train.steps
    for a, b in zip(run.model.parameters(), trained.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_frozen_and_float_model_agree_and_code(trained):
    card = finish(trained)
    (figures,) = card["validation"].values()
    assert abs(figures["freezing_percent"]) < 0.5
    weights = trained.folder / FROZEN
    assert json.loads(weights.with_suffix(".json").read_text()) == card
    frozen, config = parse_model(weights.read_bytes()), trained.recipe.model
    assert frozen.hash.hex() == card["hash"]
    assert (frozen.kind.name, frozen.normal) == (config.kind, True)
    assert frozen.band * frozen.tile == config.size
    values = load_array(validation(trained))[3]
    for latents in Latents:
        coded = encoding.encode(frozen, np.concatenate([values, values[:5]]), 0, latents)
        image = CodedImage.blank(frozen, (config.size + 5, *values.shape[1:]), 0, coded.lanes)
        decoding.decode_bands(image, coded.payload, coded.lane_table, coded.latents)
        np.testing.assert_array_equal(image.samples, np.concatenate([values, values[:5]]))


def test_frozen_posteriors_are_those_of_the_float_model(trained):
    frozen = parse_model(freeze(trained.task, trained.average, trained.task.material(trained.data, 2)))
    values = load_array(validation(trained))[:8]
    with torch.no_grad():
        means, scales = trained.average.infer(posterior_inputs(torch.from_numpy(values), frozen.kind.name))
    raw = np.stack([posterior_raw(CodedImage.of(frozen, image, 0), 0) for image in values])
    np.testing.assert_allclose(raw[..., 1] / 256, means.flatten(1).numpy(), atol=0.15)
    np.testing.assert_allclose(raw[..., 2] / 32, scales.flatten(1).numpy(), atol=0.1)
    assert means.std() > 0.1


def test_a_thawed_model_computes_what_was_frozen(data, trained, tmp_path):
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(freeze(trained.task, trained.average, trained.task.material(trained.data, 2)))
    run = Run(trained.recipe, data, tmp_path / "run", weights)
    images = torch.from_numpy(load_array(validation(trained))[:30])
    with torch.no_grad():
        before, after = (trained.task.terms(model, images, None) for model in (trained.average, run.model))
    assert float(after[0].sum()) == pytest.approx(float(before[0].sum()), rel=0.005)
    for part in ("prior_bits", "posterior_bits"):
        own, other = (float(getattr(latent, part).sum()) for _, latent in (before, after))
        assert other == pytest.approx(own, rel=0.01)
    sizes = [float(p.detach().abs().max()) for p in run.model.parameters() if p.numel()]
    assert max(sizes) < 100
    again = parse_model(freeze(trained.task, run.model, trained.task.material(trained.data, 2)))
    coded = [
        CodedImage.of(parse_model(weights.read_bytes()), images[0].numpy(), 0),
        CodedImage.of(again, images[0].numpy(), 0),
    ]
    bits = [intervals(image, 0, mode(image, 0), ideal=True).ideal_bits for image in coded]
    assert bits[1] == pytest.approx(bits[0], rel=0.01)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model.width": 8}, "width is 16, not 8"),
        ({"model.stream": 4}, "stream is 8, not 4"),
        ({"model.blocks": [1, 2]}, r"blocks is \(1, 1\), not \(1, 2\)"),
    ],
)
def test_weights_of_another_shape_are_not_thawed(data, trained, tmp_path, change, says):
    finish(trained)
    model = dataclasses.replace(trained.recipe.model, **{k.partition(".")[2]: v for k, v in change.items()})
    model = dataclasses.replace(model, blocks=tuple(model.blocks))
    recipe = dataclasses.replace(trained.recipe, model=model)
    with pytest.raises(RecipeError, match=rf"weights\.safetensors: the frozen model differs: {says}"):
        Run(recipe, data, tmp_path, trained.folder / FROZEN)


def test_every_recipe_loads_and_makes_a_model():
    recipes = {path.stem: load_recipe(path.stem) for path in sorted(FOLDER.glob("*.toml"))}
    assert {"photo", "lossy", "tiny", "mnist-dynamic", "mnist-static"} <= set(recipes)
    assert all(recipe.name == stem for stem, recipe in recipes.items())
    spatial = {stem: recipe for stem, recipe in recipes.items() if isinstance(recipe.model, SpatialConfig)}
    assert {recipe.model.kind for recipe in spatial.values()} == {"bits", "samples"}
    for recipe in spatial.values():
        task = task_of(recipe)
        model = task.new_model()
        assert model.config.size == model.config.cells * model.config.cell * model.config.patch
        assert set(task.multiply_adds(model)) == {"posterior", "features", "likelihood"}


def masked_prior(neighbours):
    torch.manual_seed(0)
    shape = {"latents": 5, "prior": 3, "neighbours": neighbours, "size": 16, "patch": 2, "cell": 2, "grid": 31}
    prior = SpatialPrior(SpatialConfig(**shape, width=8, head=4, mixtures=1))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_()
    prior.activation = torch.nn.Softplus()  # so that no gradient is 0 by chance
    return prior


@pytest.mark.parametrize("neighbours", [0, 1, 4, 6])
def test_the_prior_is_autoregressive(neighbours):
    prior = masked_prior(neighbours)
    cells, latents = prior.config.cells, prior.config.latents
    z = (torch.randn(1, cells**2, latents)).requires_grad_()
    means, scales = prior(z)
    near = NEIGHBOURS[:neighbours]
    for cell in (0, 1, 4, 5, 10, 15):
        row, column = divmod(cell, cells)
        around = {
            (row - up) * cells + column + right
            for up, right in near
            if row >= up and 0 <= column + right < cells
        }  # fmt: skip
        for channel in range(latents):
            for part in (means, scales):
                (gradient,) = torch.autograd.grad(part[0, cell, channel], z, retain_graph=True)
                seen = gradient[0] != 0
                expected = torch.zeros_like(seen)
                expected[cell, :channel] = True
                expected[list(around)] = True
                assert torch.equal(seen, expected)


def test_a_factorised_prior_sees_nothing():
    prior = SpatialPrior(SpatialConfig(latents=5, prior=0, width=8, head=4, mixtures=1))
    z = torch.randn(2, 1, 5)
    (a, _), (b, _) = prior(z), prior(-z)
    assert torch.equal(a, b)


def test_bits_of_normals_equal_the_codecs():
    rng = np.random.default_rng(0)
    grid = number_grid(-31, 31)
    raw = np.stack([np.zeros(200), rng.integers(-31 * 256, 31 * 256, 200), rng.integers(-32, 160, 200)], 1).astype(int)
    z = rng.integers(-31, 32, 200)
    means, scales = torch.tensor(raw[:, 1] / 256), torch.tensor(raw[:, 2] / 32)
    found = normal_bits(torch.tensor(z, dtype=torch.float64), means, scales, 31)
    expected = [ideal_bits(k + 31, grid, 1, row, 0, True) for k, row in zip(z.tolist(), raw, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_digits_are_drawn_with_their_brightness(data):
    task = task_of(recipe_of("bits"))
    crops = np.repeat(np.array([0, 51, 255], dtype=np.uint8), 4000).reshape(3, 40, 100, 1)
    drawn = task.batch(crops, np.random.default_rng(0)).numpy()
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn)) == {0, 1}
    np.testing.assert_allclose(drawn.mean((1, 2, 3)), [0, 0.2, 1], atol=0.03)
    bits = load_array(data / "small.npz" / "bits")
    assert np.array_equal(task.batch(bits, np.random.default_rng(0)).numpy(), bits)


def test_some_colour_images_are_mirrored(data):
    task = task_of(recipe_of("samples"))
    images = load_array(data / "small.npz" / "samples")
    batch = task.batch(images, np.random.default_rng(0)).numpy()
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(batch, images, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(batch, images, strict=True)])
    assert (mirrored ^ same).all()
    assert 0.3 < mirrored.mean() < 0.7


def test_arrays_are_read_in_parts_and_flat_ones_too(data, tmp_path):
    whole = load_array(data / "small.npz" / "grey")
    assert whole.shape == (160, 12, 12, 1)
    assert np.array_equal(load_array(data / "small.npz" / "grey[3:10]"), whole[3:10])
    assert np.array_equal(load_array(data / "small.npz" / "grey[150:]"), whole[150:])
    np.savez(tmp_path / "flat.npz", flat=whole.reshape(160, -1), wide=whole.astype(np.int64))
    assert np.array_equal(load_array(tmp_path / "flat.npz" / "flat"), whole)
    with pytest.raises(TrainingError, match="expected images of uint8, got int64"):
        load_array(tmp_path / "flat.npz" / "wide")
    with pytest.raises(TrainingError, match="no array other"):
        load_array(tmp_path / "flat.npz" / "other")


def test_material_depends_on_seed_and_step_alone(data):
    sources = recipe_of("samples").data
    a, b, other = (SmallImages(data, sources, 16, seed) for seed in (3, 3, 4))
    assert np.array_equal(a.batch(7, 5), b.batch(7, 5))
    assert not np.array_equal(a.batch(7, 5), a.batch(8, 5))
    assert not np.array_equal(a.batch(7, 5), other.batch(7, 5))


def test_photographs_are_shrunk_to_small_images(tmp_path):
    Image.fromarray(small_images(120, 3, 1)[0]).save(tmp_path / "a.png")
    found = shrunken(tmp_path, 16, 0)
    assert found.shape[1:] == (16, 16, 3)
    assert len(found) > 20
    assert np.array_equal(found, shrunken(tmp_path, 16, 0))


def test_latents_that_are_dropped_are_not_seen_and_cost_nothing(data):
    task = task_of(recipe_of("bits", **{"train.drop_latents": 1.0}))
    model = task.new_model()
    batch = torch.from_numpy(load_array(data / "small.npz" / "bits")[:8])
    losses = []
    for seed in (0, 1):
        with torch.no_grad():
            model.posterior.out.bias.add_(seed)
            losses.append(float(task.loss(model, batch, Noise(seed), task.recipe.train.steps)))
    assert losses[0] == losses[1]
    assert isinstance(model, Spatial)
