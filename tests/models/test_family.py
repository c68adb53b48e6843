"""A new family of models is a recipe and one module: `support.toy_family` is trained, frozen, and codes an image.

Needs torch.
"""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import toy_family  # noqa: E402

from codec.encoder import encoding  # noqa: E402
from codec.errors import ModelError  # noqa: E402
from codec.format.headers import Latents  # noqa: E402
from codec.frozen import contexts  # noqa: E402
from codec.frozen.weights import parse_model  # noqa: E402
from codec.vlae import decoding  # noqa: E402
from codec.vlae.image import Image  # noqa: E402
from codec.vlae.latents import posterior_raw  # noqa: E402
from models.data.small import load_array  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks.maps import posterior_inputs  # noqa: E402
from models.training.finish import FROZEN, finish  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = pytest.mark.train

RECIPE = Path(toy_family.__file__).with_name("toy.toml")


@pytest.fixture(scope="module", autouse=True)
def tables():
    """The family is in the tables: what a real one has instead is a line in each."""
    with pytest.MonkeyPatch.context() as patch:
        for table, entry in toy_family.ENTRIES:
            patch.setitem(table, toy_family.WORD, entry)
        yield


@pytest.fixture(scope="module")
def trained(tables, tmp_path_factory):
    """Return a finished run, its card, and the frozen model."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:16, 0:16][..., None]
    phase = rng.uniform(0, 6, (160, 2, 1, 1, 3))
    waves = np.sin(y / 3 + phase[:, 0]) * np.cos(x / 4 + phase[:, 1])
    images = np.clip(128 + 100 * waves + rng.normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
    np.savez(folder / "small.npz", images=images)
    run = Run(load_recipe(str(RECIPE)), folder, folder / "run")
    assert run.train(float("inf"))
    return run, finish(run), parse_model((run.folder / FROZEN).read_bytes())


@pytest.fixture
def images(trained):
    run, _, _ = trained
    return load_array(run.data / run.recipe.validation_folders[0])


def test_it_differs_from_the_families_that_ship(trained):
    _, _, frozen = trained
    assert isinstance(frozen.networks, toy_family.ToyNetworks)
    shipped = [contexts.offsets(r) for r in range(2, 17)]
    shipped += [contexts.window(columns, rows) for columns in range(1, 34) for rows in range(17)]
    assert not any(np.array_equal(frozen.network.offsets, offsets) for offsets in shipped)


def test_training_learns(trained, images):
    run, card, _ = trained
    fresh = run.task.evaluate(run.task.new_model(), run.data / run.recipe.validation_folders[0])
    (figures,) = card["validation"].values()
    assert figures["bpsp"] < 0.9 * fresh["bpsp"]


def test_frozen_and_float_model_agree(trained, images):
    run, card, frozen = trained
    (figures,) = card["validation"].values()
    assert abs(figures["freezing_percent"]) < 0.5
    with torch.no_grad():
        means, scales = run.average.infer(posterior_inputs(torch.from_numpy(images), "samples"))
    raw = np.stack([posterior_raw(Image.of(frozen, image, 0), 0) for image in images])
    np.testing.assert_allclose(raw[..., 1] / 256, means.flatten(1).numpy(), atol=0.05)
    np.testing.assert_allclose(raw[..., 2] / 32, scales.flatten(1).numpy(), atol=0.05)
    z = np.zeros((8, 3), dtype=np.int64)
    z[5] = [9, -9, 4]
    features = frozen.networks.features(z, 2, 4)
    assert features.shape == (8, 16, 2)
    assert np.array_equal(np.argwhere((features != features[0, 0]).any(-1)).min(0), [4, 4])
    assert np.array_equal(np.argwhere((features != features[0, 0]).any(-1)).max(0), [7, 7])


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back(trained, images, latents, channels):
    _, _, frozen = trained
    wide = np.concatenate([images[0], images[1], images[2][:, :3]], 1)
    image = np.concatenate([wide, wide[::-1], wide[:5]])[..., :channels]  # no whole tiles, and several bands
    coded = encoding.encode(frozen, image, 0, latents)
    assert coded.latents == latents
    assert len(coded.payload) < image.size
    found = Image.blank(frozen, image.shape, 0, coded.lanes)
    decoding.decode_bands(found, coded.payload, coded.lane_table, coded.latents)
    np.testing.assert_array_equal(found.samples, image)


def test_a_thawed_model_computes_what_was_frozen(trained, images, tmp_path):
    run, _, _ = trained
    again = Run(run.recipe, run.data, tmp_path, run.folder / FROZEN)
    with torch.no_grad():
        before, after = (run.task.terms(model, torch.from_numpy(images), None) for model in (run.average, again.model))
    assert float(after[0].sum()) == pytest.approx(float(before[0].sum()), rel=0.005)
    assert float(after[1].tile_bits.sum()) == pytest.approx(float(before[1].tile_bits.sum()), rel=0.02)


def test_without_its_entry_the_family_is_unknown(trained, monkeypatch):
    run, _, _ = trained
    for table, _ in toy_family.ENTRIES:
        monkeypatch.delitem(table, toy_family.WORD)
    with pytest.raises(ModelError, match="networks: expected one of modulation, spatial, plain, got 'toy'"):
        parse_model((run.folder / FROZEN).read_bytes())
