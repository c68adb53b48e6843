"""Several processes learn what one learns. Needs torch."""

import os
import socket

import numpy as np
import pytest
from support.tiny_runs import MAPS, TINY, draw_images

torch = pytest.importorskip("torch")

from torch import multiprocessing  # noqa: E402

from models.noise import Noise  # noqa: E402
from models.ranks import ALONE, Ranks, connected  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.training.device import Machine  # noqa: E402
from models.training.run import Run  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]

SCHEDULE = {"train.steps": 200, "train.decay_steps": 100, "train.warmup_steps": 20, "train.batch": 4}
RECIPES = {
    "samples": ("photo", TINY | SCHEDULE | {"train.drop_latents": 0.3, "model.tile": 16}),
    "maps": (
        "tiny",
        MAPS
        | SCHEDULE
        | {
            "train.free_bits": 0.3,
            "train.drop_latents": 0.3,
            "data": [{"folder": "some", "share": 1.0, "past": 0.0}],
            "validation.folders": ["some"],
        },
    ),
}
"""Recipes. The loss of the second depends on means over a batch."""
COMPARED = {"samples": 200, "maps": 30}
"""Steps. In maps a latent that the last bit of a sum rounds otherwise moves the loss of a small batch by 1e-4."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw_images(folder / "some", 2)
    return folder


def losses(kind, data, folder, ranks):
    """Return the loss of the whole batch at each step."""
    torch.set_num_threads(1)
    name, changes = RECIPES[kind]
    run = Run(load_recipe(name, changes), data, folder, machine=Machine(ranks=ranks))
    batches = run.batches()
    found = [float(ranks.mean(run.step(batches.batch(step)))) for step in range(COMPARED[kind])]
    batches.close()
    return np.array(found)


def one_rank(rank, count, port, data, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with connected() as ranks:
        torch.set_num_threads(1)
        assert (ranks.rank, ranks.count, ranks.first) == (rank, count, rank == 0)
        assert ranks.any(rank == 1)
        assert not ranks.any(False)
        run = Run(load_recipe(*RECIPES["samples"]), data, folder / f"own-{rank}", machine=Machine(ranks=ranks))
        run.train(float("inf"), stop=lambda: rank == 0 and run.progress.step >= 3)
        assert run.progress.step == 10  # at which they asked each other
        assert (folder / f"own-{rank}").exists() == (rank == 0)
        # All processes go on from what only the first one has.
        again = Run(run.recipe, data, folder / f"own-{rank}", machine=Machine(ranks=ranks))
        assert again.progress.step == 10
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), run.model.parameters(), strict=True))
        for kind in RECIPES:
            np.save(folder / f"{kind}-{rank}.npy", losses(kind, data, folder / f"{kind}-{rank}", ranks))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    multiprocessing.spawn(one_rank, (2, free_port(), data, folder), nprocs=2)
    return {kind: [np.load(folder / f"{kind}-{rank}.npy") for rank in range(2)] for kind in RECIPES}


@pytest.mark.parametrize("kind", RECIPES)
def test_two_processes_learn_what_one_learns(kind, data, both, tmp_path):
    alone = losses(kind, data, tmp_path / "alone", ALONE)
    assert np.array_equal(*both[kind])
    assert np.abs(both[kind][0] / alone - 1).max() < 1e-4


def test_ranks_draw_the_numbers_of_one():
    for draw in (lambda n, b: n.uniform(b, 3), lambda n, b: n.normal(b, 2, 2), lambda n, b: n.integers(9, b)):
        whole = draw(Noise(7), 6)
        parts = [draw(Noise(7, ranks=Ranks(rank, 3)), 2) for rank in range(3)]
        assert torch.equal(torch.cat(parts), whole)


def test_alone_there_is_nobody_to_ask():
    with connected() as ranks:
        assert ranks == ALONE
        assert ranks.any(True)
        assert not ranks.any(False)
        assert torch.equal(ranks.mean(torch.ones(2)), torch.ones(2))
