"""Training, from a folder of images to weights that the codec codes with. Needs torch."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from codec import constants  # noqa: E402
from codec.encoder import encoding  # noqa: E402
from codec.entropy import mixtures, rans  # noqa: E402
from codec.format.headers import Latents  # noqa: E402
from codec.frozen import contexts, likelihood  # noqa: E402
from codec.frozen.shipped import WEIGHTS  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from codec.vlae import adaptation, decoding, wavefront  # noqa: E402
from codec.vlae.image import Image as CodedImage  # noqa: E402
from codec.vlae.latents import mode, posterior_intervals, prior_intervals  # noqa: E402
from codec.vlae.pixels import band as band_of  # noqa: E402
from codec.vlae.pixels import intervals  # noqa: E402
from models.data.crops import Crops, Source, give_past  # noqa: E402
from models.data.rounding import Rounder  # noqa: E402
from models.freezing.balance import hidden_units, norm  # noqa: E402
from models.freezing.thaw import frozen_config, thaw_samples  # noqa: E402
from models.nets.inputs import Inputs, Places  # noqa: E402
from models.nets.latents import BEYOND  # noqa: E402
from models.nets.likelihood import MAX_ERROR  # noqa: E402
from models.nets.objective import bins, make_batch, tiles_of  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks.evaluate import image_bits  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.training.device import Machine  # noqa: E402
from models.training.finish import CARD, FROZEN, finish, freeze  # noqa: E402
from models.training.learner import learning_rate  # noqa: E402
from models.training.optimizer import orthogonal, orthogonal_each  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

SMALL = {
    "model.width": 32,
    "model.head": 16,
    "model.posterior": [8, 8, 16],
    "train.steps": 24,
    "train.decay_steps": 12,
    "train.warmup_steps": 2,
    "train.batch": 2,
    "train.pixels": 64,
    "train.errors": [0.9, 0.0, 0.0, 0.1, *[0.0] * 7],  # rounding takes longer than all else
    "train.average": 0.5,
    "data": [{"folder": "some", "share": 1.0, "past": 0.5}],
    "validation.folders": ["some"],
    "validation.pixels": 32,
}


def new_model(recipe):
    return task_of(recipe).new_model()


def picture(seed, height=150, width=170):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 40.0
    planes = [np.sin(x * rng.uniform(1, 3) + rng.uniform(0, 6)) * np.cos(y * rng.uniform(1, 3)) for _ in range(3)]
    noise = rng.normal(0, 3, (height, width, 3))
    return np.clip(128 + 80 * np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "some").mkdir()
    for seed in range(3):
        Image.fromarray(picture(seed)).save(folder / "some" / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    torch.set_num_threads(1)
    run = Run(load_recipe("photo", SMALL), data, tmp_path_factory.mktemp("run"))
    assert run.train(float("inf"))
    return run


def test_training_learns(data, trained):
    fresh = new_model(trained.recipe)
    before = sum(image_bits(fresh, picture(9), 64))
    after = sum(image_bits(trained.model, picture(9), 64))
    assert after < 0.97 * before


def test_a_stopped_run_resumes_to_the_bit(data, trained, tmp_path):
    recipe = trained.recipe
    first = Run(recipe, data, tmp_path)
    assert not first.train(0.0)
    first = Run(recipe, data, tmp_path)
    assert not first.train(float("inf"), stop=lambda: first.progress.step == 10)
    second = Run(recipe, data, tmp_path, machine=Machine(workers=1))
    assert second.progress.step == 10
    assert second.train(float("inf"))
    for part in ("model", "average"):
        pairs = zip(getattr(second, part).parameters(), getattr(trained, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_learning_rate_warms_up_and_decays():
    train = load_recipe("photo", SMALL).train
    rates = [learning_rate(train, step) for step in range(train.steps)]
    assert rates[0] == train.learning_rate / 2
    assert max(rates) == rates[1] == rates[11] == train.learning_rate
    assert 0 < rates[-1] < train.learning_rate / 10


def test_frozen_and_float_model_agree_and_code(trained, tmp_path):
    card = finish(trained)
    assert json.loads((trained.folder / CARD).read_text()) == card
    # Hardly trained weights are rounded as well as others.
    for d in (0, 2):
        assert abs(card["validation"][f"some d={d}"]["freezing_percent"]) < 0.5
    model = parse_model((trained.folder / FROZEN).read_bytes())
    assert model.hash.hex() == card["hash"]
    samples = picture(5)
    for d in (0, 3):
        coded = encoding.encode(model, samples, d, None if d else Latents.BITS_BACK)
        moved = adaptation.unpack(coded.adaptation, model.network)
        image = dataclasses.replace(CodedImage.blank(model, samples.shape, d, coded.lanes), moved=moved)
        decoding.decode_bands(image, coded.payload, coded.lane_table, coded.latents)
        assert np.abs(image.samples.astype(int) - samples).max() <= d
        assert np.array_equal(image.samples, coded.samples)


def test_inputs_equal_the_codecs(trained):
    model = parse_model(_frozen(trained))
    image = picture(4, 12, 21)
    y, x = (a.reshape(1, 1, -1) for a in np.mgrid[0:12, 0:21])
    gather = Inputs(contexts.offsets(trained.recipe.model.radius))
    pixels = Places(torch.from_numpy(y), torch.from_numpy(x))
    _, reference, inputs = gather(torch.from_numpy(image)[None], pixels)
    band = band_of(CodedImage.of(model, image, 0), 0, None)
    work = likelihood.make_work(model.network, wavefront.BATCH)
    starts, freqs = (np.zeros(image.shape, dtype=np.uint32) for _ in range(2))
    unused, table = rans.empty_message(1), mixtures.load_tables()
    wavefront.code_band(wavefront.ENCODE, (0, 1, 1), band, model.network, table, unused, starts, freqs, work)
    expected = inputs[0, 0].numpy() * 64
    assert np.array_equal(work.inputs[: len(expected), : expected.shape[1]], expected)
    assert np.array_equal(work.ref[: 12 * 21], reference[0, 0].numpy())


def _frozen(run):
    return freeze(run.task, run.average, run.task.material(run.data, 2))


SHIPPED = WEIGHTS / "photo-9.safetensors"


def _shipped_recipe():
    """Return the recipe with the shape of the weights that ship, from which it may have grown."""
    recipe = load_recipe("photo", {"data": SMALL["data"]})
    return dataclasses.replace(recipe, model=frozen_config(SHIPPED.read_bytes()))


@pytest.mark.parametrize("d", [0, 3])
def test_a_thawed_model_computes_what_was_frozen(trained, d):
    thawed = new_model(trained.recipe)
    thaw_samples(_frozen(trained), thawed)
    for latents in (False, True):
        decoded = trained.task.rounder(picture(6), d)
        models = (trained.average, thawed)
        before, after = (image_bits(m, picture(6), 64, d, latents=latents, decoded=decoded) for m in models)
        assert after[0] == pytest.approx(before[0], rel=0.005)
        assert after[1] == pytest.approx(before[1], rel=0.005, abs=1)


def test_thawed_units_are_balanced_and_finite():
    model = new_model(_shipped_recipe())
    thaw_samples(SHIPPED.read_bytes(), model)
    for units in hidden_units(model):
        before, after = norm(units.weights), norm(units.outgoing)
        alive = (before > 0) & (after > 0)
        assert alive.any()
        assert torch.allclose(before[alive], after[alive], rtol=0.01)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_units_that_nothing_reads_thaw_to_numbers(trained):
    model = new_model(trained.recipe)
    model.load_state_dict(trained.average.state_dict())
    with torch.no_grad():
        model.likelihood.hidden1.weight[3] = 0
        model.likelihood.hidden1.bias[3] = -1
        model.likelihood.hidden3.weight[:, 5] = 0
        model.modulate2.weight[:, 7] = 0
    thawed = new_model(trained.recipe)
    thaw_samples(freeze(trained.task, model, trained.task.material(trained.data, 2)), thawed)
    assert all(torch.isfinite(p).all() for p in thawed.parameters())
    assert sum(image_bits(thawed, picture(6), 64)) == pytest.approx(sum(image_bits(model, picture(6), 64)), rel=0.005)


def _coded_bits(model, samples):
    image = CodedImage.of(model, samples, 0)
    z = mode(image, 0)
    latent = prior_intervals(image, z).ideal_bits - posterior_intervals(image, 0, z).ideal_bits
    return intervals(image, 0, z, ideal=True).ideal_bits + latent


def test_shipped_weights_thawed_and_frozen_again_code_as_they_did(data):
    recipe = _shipped_recipe()
    thawed = new_model(recipe)
    thaw_samples(SHIPPED.read_bytes(), thawed)
    again = parse_model(freeze(task_of(recipe), thawed, task_of(recipe).material(data, 2)))
    samples = np.ascontiguousarray(picture(8)[:64, :128])
    shipped = _coded_bits(parse_model(SHIPPED.read_bytes()), samples)
    assert _coded_bits(again, samples) == pytest.approx(shipped, rel=0.001)


def test_new_units_leave_the_function_as_it_was(trained):
    frozen = _frozen(trained)
    small = new_model(trained.recipe)
    thaw_samples(frozen, small)
    larger = {"model.radius": 5, "model.width": 40, "model.head": 24, "model.modulation": 72}
    grown, fresh = (new_model(load_recipe("photo", SMALL | larger)) for _ in range(2))
    thaw_samples(frozen, grown)
    for d in (0, 2):
        decoded = trained.task.rounder(picture(6), d)
        before, after = (image_bits(m, picture(6), 64, d, decoded=decoded) for m in (small, grown))
        assert after == pytest.approx(before, rel=1e-5)
    net, random = grown.likelihood, fresh.likelihood
    assert torch.equal(net.hidden1.weight[32:], random.hidden1.weight[32:])
    assert torch.equal(net.split.weight[16:24], random.split.weight[16:24])
    assert not net.split.weight[:16, 32:].any()
    assert not net.outputs[2].weight[:, 16:].any()
    assert not grown.modulate2.weight[:32, 64:].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model.mixtures": 3}, "mixtures is 4, not 3"),
        ({"model.width": 24}, "width is 32, not 24"),
        ({"model.posterior": [8, 8, 24], "model.radius": 3}, "radius is 4, not 3, posterior is"),
        ({"model.latents": 8}, "latents is 16, not 8"),
    ],
)
def test_weights_of_another_shape_are_not_thawed(trained, change, says):
    with pytest.raises(ValueError, match=says):
        thaw_samples(_frozen(trained), new_model(load_recipe("photo", SMALL | change)))


def test_a_run_says_what_it_began_from(trained, data, tmp_path):
    card = finish(trained)
    assert card["start"] is None
    start = trained.folder / FROZEN
    run = Run(trained.recipe, data, tmp_path / "run", start)
    assert run.progress.start == {"hash": card["hash"], "steps": 24, "hours": card["hours"]}
    assert run.progress.step == 0
    assert torch.equal(run.average.off, run.model.off)
    before, after = (sum(image_bits(m, picture(6), 64)) for m in (trained.average, run.model))
    assert after == pytest.approx(before, rel=0.005)
    assert run.train(float("inf"))
    second = finish(Run(trained.recipe, data, tmp_path / "run", start))
    assert second["start"] == run.progress.start
    third = Run(trained.recipe, data, tmp_path / "third", tmp_path / "run" / FROZEN)
    assert third.progress.start["steps"] == 48


@pytest.mark.parametrize("name", ["photo", "photo-near"])
def test_the_shares_of_errors_are_shares(name):
    errors = load_recipe(name).train.errors
    assert len(errors) == MAX_ERROR + 1
    assert sum(errors) == pytest.approx(1)


def test_crops_are_coded_within_their_errors():
    crops = np.stack([picture(seed, 72, 72) for seed in range(3)] + [np.repeat(picture(3, 72, 72)[..., :1], 3, -1)])
    rounder = Rounder(load_recipe("photo").rounding)
    batch = make_batch(crops, [0.0, 0.0, 0.5, 0.5], np.random.default_rng(1), rounder)
    difference = (batch.decoded.int() - batch.samples).abs().amax((1, 2, 3))
    assert set(batch.errors.tolist()) == {2, 3}
    assert torch.equal(difference.long(), batch.errors)
    assert batch.grey.tolist() == [False, False, False, True]
    assert (batch.decoded[3] == batch.decoded[3, ..., :1]).all()
    lossless = make_batch(crops, [1.0], np.random.default_rng(1), Rounder(None))
    assert torch.equal(lossless.decoded, lossless.samples)


def test_steps_share_the_crops_of_a_batch(data, tmp_path):
    recipe = load_recipe("photo", SMALL | {"train.uses": 3})
    coming = Run(recipe, data, tmp_path).batches()
    batches = [coming.batch(step) for step in range(4)]
    coming.close()
    assert all(torch.equal(batches[0].samples, batch.samples) for batch in batches[:3])
    assert torch.equal(batches[0].errors, batches[2].errors)
    assert not torch.equal(batches[0].samples, batches[3].samples)


def test_training_in_bfloat16_learns_too(data, trained, tmp_path):
    run = Run(trained.recipe, data, tmp_path, machine=Machine(bfloat16=True))
    assert run.train(float("inf"))
    # The model that is kept computes in single precision.
    assert not run.average.likelihood.in_bfloat16
    fresh = sum(image_bits(new_model(trained.recipe), picture(9), 64))
    assert sum(image_bits(run.average, picture(9), 64)) < 0.97 * fresh


@pytest.mark.parametrize("d", range(11))
def test_bins_equal_the_codecs(d):
    samples, centres = torch.arange(256.0)[:, None], torch.arange(256.0)[None]
    low, high, count = (part.expand(256, 256) for part in bins(samples, centres, torch.tensor([[float(d)]])))
    for centre in range(256):
        grid = mixtures.sample_grid(centre, d)
        symbols = np.array([mixtures.symbol_of(x, grid) for x in range(256)])
        below = (symbols * grid.step + grid.first) / constants.MEAN_STEPS
        assert (count[:, centre] == grid.count).all()
        first, last = symbols == 0, symbols == grid.count - 1
        assert np.array_equal(low[:, centre], np.where(first, -BEYOND, below))
        assert np.array_equal(high[:, centre], np.where(last, BEYOND, below + 2 * d + 1))


def test_tiles_are_cut_in_raster_order():
    image = torch.arange(4 * 6 * 3, dtype=torch.uint8).reshape(1, 4, 6, 3)
    tiles = tiles_of(image.permute(0, 3, 1, 2), 2)
    assert tiles.shape == (6, 3, 2, 2)
    assert torch.equal(tiles[4], image[0, 2:4, 2:4].permute(2, 0, 1))


def test_crops_depend_on_seed_and_step_alone(data):
    sources = [Source("some", 1.0, 0.7)]
    a, b = (Crops(data, sources, 136, 3) for _ in range(2))
    assert np.array_equal(a.batch(7, 4), b.batch(7, 4))
    assert not np.array_equal(a.batch(7, 4), a.batch(8, 4))
    assert a.batch(0, 2).shape == (2, 136, 136, 3)


@pytest.mark.parametrize("seed", range(12))
def test_every_past_gives_a_crop_of_the_size_asked(seed):
    crop = give_past(picture(seed, 160, 160), 136, np.random.default_rng(seed))
    assert crop.shape == (136, 136, 3)
    assert crop.dtype == np.uint8


def test_muons_step_has_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((32, 32), (48, 20), (20, 48)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_matrices_of_one_shape_are_stepped_together_like_each_alone():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((48, 20), (20, 48), (32, 32), (48, 20))]
    counts = []

    def nearest(stacked):
        counts.append(len(stacked))
        return orthogonal(stacked)

    together = orthogonal_each(matrices, nearest)
    assert sorted(counts) == [1, 3]
    for matrix, found in zip(matrices, together, strict=True):
        assert torch.allclose(found, orthogonal(matrix), atol=1e-5)


def test_no_context_lies_outside_its_window():
    k, j = contexts.offsets(4).T
    assert (k * k + j * j <= 20).all()
