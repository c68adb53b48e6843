"""Crops are made ahead, in order or for a pool, by this process or others. Needs torch."""

import time

import numpy as np
import pytest
from support.tiny_runs import TINY, draw_images

torch = pytest.importorskip("torch")

from models.errors import RecipeError, TrainingError  # noqa: E402
from models.nets.objective import Batch  # noqa: E402
from models.noise import CPU  # noqa: E402
from models.ranks import ALONE, Ranks  # noqa: E402
from models.recipes.reading import load_recipe  # noqa: E402
from models.tasks.interface import task_of  # noqa: E402
from models.training import loader  # noqa: E402
from models.training.loader import Numbers, Ordered, Pool, each, join, make_batches  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def task():
    return task_of(load_recipe("photo", TINY | {"data": [{"folder": "some", "share": 1.0, "past": 0.5}]}))


@pytest.fixture(scope="module")
def material(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw_images(folder / "some", 2)
    return task.material(folder, 5)


def first_batches(task, material, count, workers=0, ranks=ALONE, first=0):
    batches = Ordered(make_batches(task, material, Numbers(first, first + count, 4, ranks), workers), 1)
    found = [batches.batch(step) for step in range(count)]
    batches.close()
    return found


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_depends_on_its_number_alone(task, material):
    four = first_batches(task, material, 4)
    assert four[0].samples.shape == (4, task.crop, task.crop, 3)
    assert not torch.equal(four[0].samples, four[1].samples)
    later = first_batches(task, material, 2, first=2)
    assert equal(four[2], later[0])
    assert equal(four[3], later[1])
    assert np.array_equal(four[1].samples.numpy(), material.batch(1, 4))


def test_processes_make_the_same_batches(task, material):
    alone, others = (first_batches(task, material, 3, workers) for workers in (0, 2))
    assert all(equal(a, b) for a, b in zip(alone, others, strict=True))


def test_ranks_share_each_batch(task, material):
    whole = first_batches(task, material, 2)
    parts = [first_batches(task, material, 2, ranks=Ranks(rank, 2)) for rank in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert equal(batch, join(halves))
    with pytest.raises(RecipeError, match="3 processes cannot share 4 crops equally"):
        Numbers(0, 1, 4, Ranks(0, 3))


def counting(batches):
    for number in range(batches):
        yield torch.full((3,), float(number))


def test_steps_share_a_batch_and_waiting_is_counted():
    def slow():
        for batch in counting(3):
            time.sleep(0.05)
            yield batch

    ordered = Ordered(slow(), 2)
    assert [float(ordered.batch(step)[0]) for step in range(6)] == [0, 0, 1, 1, 2, 2]
    assert 0.03 < ordered.waited < 2
    ordered.close()
    assert ordered.made == 3


def test_a_pool_draws_from_all_it_holds_and_replaces_the_oldest():
    pool = Pool(counting(1000), 1, CPU, pooled=4)
    drawn = [pool.batch(step) for step in range(100)]
    pool.close()
    for step, batch in enumerate(drawn):
        assert batch.shape == (3,)
        assert max(0, step - 4) <= batch.min() <= batch.max() < loader.AHEAD * (step + 1)
    assert any(len(set(batch.tolist())) > 1 for batch in drawn)
    assert pool.made >= 100  # one for each step at least


def test_a_pool_waits_where_crops_would_be_drawn_too_often():
    def slow():
        for batch in counting(4):
            time.sleep(0.05)
            yield batch

    pool = Pool(slow(), 5, CPU)
    begin = time.perf_counter()
    for step in range(20):
        pool.batch(step)
        assert pool.made >= 1 + step // 5
    assert time.perf_counter() - begin >= 0.2
    pool.close()


def test_a_pools_crops_keep_their_parts_together():
    def batches():
        for number in range(50):
            part = torch.full((2, 1), number)
            yield Batch(part, part + 1, part[:, 0] + 2, part[:, 0] > 3)

    pool = Pool(batches(), 1, CPU, pooled=3)
    for step in range(30):
        batch = pool.batch(step)
        assert torch.equal(batch.decoded, batch.samples + 1)
        assert torch.equal(batch.errors, batch.samples[:, 0] + 2)
        assert torch.equal(batch.grey, batch.samples[:, 0] > 3)
    pool.close()


@pytest.mark.parametrize("kind", [Ordered, Pool])
def test_what_fails_ahead_fails_the_step(kind):
    def broken():
        yield torch.zeros(1)
        raise TrainingError("an image")

    batches = kind(broken(), 1, CPU)

    def take_all():
        for step in range(3):
            batches.batch(step)

    with pytest.raises(TrainingError, match="an image"):
        take_all()
    batches.close()


def test_nothing_is_left_running(task, material):
    batches = Ordered(make_batches(task, material, Numbers(0, 1000, 4, ALONE), 2), 1)
    batches.batch(0)
    begin = time.perf_counter()
    batches.close()
    assert time.perf_counter() - begin < 5
    assert not torch.multiprocessing.active_children()


def test_parts_of_batches_are_joined():
    assert torch.equal(join([torch.ones(1, 2), torch.zeros(2, 2)]), torch.tensor([[1.0, 1], [0, 0], [0, 0]]))
    batch = Batch(*(torch.ones(1) * k for k in range(4)))
    assert equal(each(lambda a, b: a + b, batch, batch), Batch(*(torch.ones(1) * 2 * k for k in range(4))))
