"""How fast crops are made, against how fast steps learn from them.

    python -m benchmarks.loader [RECIPE] --data DIR [--workers N] [--seconds 20]

Prints the crops a second that one process makes, and that all processes make together; the crops a second that
steps on the CPU take, each crop seen once; and how many times that 16 processes would feed, extrapolated from one.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
import torch

from benchmarks.common import markdown_table
from models.loader import Numbers, Ordered, make_batches
from models.ranks import ALONE
from models.recipe import load_recipe
from models.train import Run

BATCHES = 1 << 40
WARM_STEPS = 3
EXTRAPOLATED = 16


def made_a_second(run: Run, workers: int, seconds: float) -> float:
    """Return the crops a second that processes make and this one takes."""
    train = run.recipe.train
    material = run.task.material(run.data, train.seed)
    batches = Ordered(make_batches(run.task, material, Numbers(0, BATCHES, train.batch, ALONE), workers), 1)
    for step in range(2 * workers):  # what they make while they start is not counted
        batches.batch(step)
    begin, step = time.perf_counter(), 2 * workers
    while time.perf_counter() - begin < seconds:
        batches.batch(step)
        step += 1
    made = (step - 2 * workers) * train.batch / (time.perf_counter() - begin)
    batches.close()
    return made


def taken_a_second(run: Run, seconds: float) -> float:
    """Return the crops a second that steps learn from, their making not counted."""
    batches = run.batches()
    spent, steps = 0.0, 0
    while spent < seconds or steps < 1:
        batch = batches.batch(run.progress.step)
        begin = time.perf_counter()
        run.step(batch)
        if run.progress.step > WARM_STEPS:
            spent, steps = spent + time.perf_counter() - begin, steps + 1
    batches.close()
    return steps * run.recipe.train.batch / spent


@click.command()
@click.argument("recipe", default="photo")
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--workers", type=int, default=len(os.sched_getaffinity(0)), help="Processes.")
@click.option("--seconds", type=float, default=20.0, help="For each figure.")
def main(recipe: str, data: Path, workers: int, seconds: float) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(load_recipe(recipe), data, Path(folder))
        one = made_a_second(run, 1, seconds)
        all_ = made_a_second(run, workers, seconds)
        taken = taken_a_second(run, seconds)
    rows = [
        ["made by 1 process", f"{one:.0f}"],
        [f"made by {workers} processes", f"{all_:.0f}"],
        [f"made by {EXTRAPOLATED} processes, extrapolated from 1", f"{EXTRAPOLATED * one:.0f}"],
        [f"taken by steps on the CPU, {torch.get_num_threads()} threads, each crop once", f"{taken:.1f}"],
        [f"{EXTRAPOLATED} processes against the CPU's steps", f"{EXTRAPOLATED * one / taken:.1f} times"],
    ]
    click.echo(markdown_table([f"crops of {recipe}", "a second"], rows))


if __name__ == "__main__":
    main()
