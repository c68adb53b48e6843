"""Speed of making crops, compared with the speed of the steps that learn from them.

    python -m benchmarks.loader [RECIPE] --data DIR [--workers N] [--seconds 20] [--bfloat16]

It prints the crops that one process makes in a second of processor time, and the crops that several processes make
together in a second; the crops that steps on all cores take in a second, if each crop is used once; and how many times
as many 16 processes would make, extrapolated from one. Processor time does not include other work of the machine.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import markdown_table
from models.ranks import ALONE
from models.recipes.reading import load_recipe
from models.training.device import Machine
from models.training.loader import Items, Numbers, Ordered, make_batches
from models.training.run import Run

BATCHES = 1 << 40
WARM_STEPS = 3
EXTRAPOLATED = 16
CORES = os.cpu_count() or 1


def made_a_second(run: Run, workers: int, seconds: float) -> float:
    """Return the crops that worker processes make, and this process takes, in a second."""
    train = run.recipe.train
    material = run.task.material(run.data, train.seed)
    batches = Ordered(make_batches(run.task, material, Numbers(0, BATCHES, train.batch, ALONE), workers), 1)
    for step in range(2 * workers):  # batches that are made while processes start do not count
        batches.batch(step)
    begin, step = time.perf_counter(), 2 * workers
    while time.perf_counter() - begin < seconds:
        batches.batch(step)
        step += 1
    made = (step - 2 * workers) * train.batch / (time.perf_counter() - begin)
    batches.close()
    return made


def one_process(run: Run, seconds: float) -> float:
    """Return the crops that one process makes in a second of processor time."""
    items = Items(run.task, run.task.material(run.data, run.recipe.train.seed))
    begin, made = time.process_time(), 0
    while time.process_time() - begin < seconds:
        _ = items[made]
        made += 1
    return made / (time.process_time() - begin)


def taken_a_second(run: Run, seconds: float) -> float:
    """Return the crops that steps learn from in a second, measured on one core, times the number of cores.

    The time to make the crops does not count.
    """
    batches = first_batches(run)
    spent, steps = 0.0, 0
    while spent < seconds:
        begin = time.process_time()
        run.step(batches[steps % len(batches)])
        if run.progress.step > WARM_STEPS:
            spent, steps = spent + time.process_time() - begin, steps + 1
    return steps * run.recipe.train.batch / spent * CORES


def first_batches(run: Run) -> list[Any]:
    """Return some batches."""
    batches = run.batches()
    found = [batches.batch(step * run.recipe.train.uses) for step in range(WARM_STEPS)]
    batches.close()
    return found


@click.command()
@click.argument("recipe", default="photo")
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--workers", type=int, default=CORES, help="Processes.")
@click.option("--seconds", type=float, default=20.0, help="Seconds of each measurement.")
@click.option("--bfloat16", is_flag=True, help="Steps multiply in bfloat16.")
def main(recipe: str, data: Path, workers: int, seconds: float, bfloat16: bool) -> None:
    """Print a table."""
    torch.set_num_threads(1)  # the time in which threads wait for each other would count as work
    with tempfile.TemporaryDirectory() as folder:
        run = Run(load_recipe(recipe), data, Path(folder), machine=Machine(bfloat16=bfloat16))
        one = one_process(run, seconds)
        all_ = made_a_second(run, workers, seconds)
        taken = taken_a_second(run, seconds)
    rows = [
        [f"crops of {recipe}", "a second"],
        ["made by 1 process", f"{one:.0f}"],
        [f"made by {workers} processes", f"{all_:.0f}"],
        [f"made by {EXTRAPOLATED} processes, extrapolated from 1", f"{EXTRAPOLATED * one:.0f}"],
        [f"taken by steps on {CORES} cores, each crop once", f"{taken:.1f}"],
        [f"{EXTRAPOLATED} processes against the CPU's steps", f"{EXTRAPOLATED * one / taken:.1f} times"],
    ]
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
