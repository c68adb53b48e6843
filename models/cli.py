"""``vlae train``, ``ship`` and ``averages``: the commands that this package adds to the codec's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from models.extra import need_extra


def _changes(pairs: tuple[str, ...]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            changes[key] = json.loads(value if equals else "no value")
        except json.JSONDecodeError as error:
            raise click.BadParameter(
                f"expected KEY=VALUE, a value as in JSON, got {pair}", param_hint="--set"
            ) from error
    return changes


def _folder(exists: bool = False) -> click.Path:
    return click.Path(path_type=Path, exists=exists, file_okay=False)


@contextmanager
def _checking() -> Iterator[None]:
    """Turn a RecipeError into a usage error of the command line."""
    from models.errors import RecipeError

    try:
        yield
    except RecipeError as error:
        raise click.UsageError(str(error)) from error


# There are many parameters because click passes each option as one.
@click.command()
@click.argument("recipe")
@click.option("--data", type=_folder(exists=True), required=True, help="Folder that holds the recipe's folders.")
@click.option("--run", "folder", type=_folder(), required=True, help="Folder of the run; nothing else is written.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True),
    help="Frozen weights, averages or a run from which a new run begins. If RUN has a checkpoint, that is used.",
)
@click.option("--limit", type=float, default=float("inf"), help="Stop after these seconds; run it again to go on.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), help="auto takes a GPU if any.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that make crops; with a GPU one a core.")
@click.option("--threads", type=int, help="Threads of torch.")
@click.option(
    "--bfloat16/--float32", default=None, help="Multiply in bfloat16, which some processors and GPUs do faster."
)
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change the recipe, as in model.latents=0.")
def train(
    recipe: str,
    data: Path,
    folder: Path,
    start: Path | None,
    limit: float,
    device: str,
    workers: int | None,
    threads: int | None,
    bfloat16: bool | None,
    pairs: tuple[str, ...],
) -> int:
    """Train RECIPE (a name or a file), resuming if there is a checkpoint; when done, freeze it and write its card."""
    need_extra()
    import torch

    from models.ranks import connected
    from models.recipes.reading import load_recipe
    from models.training.device import Machine, choose_device, has_bfloat16
    from models.training.finish import finish
    from models.training.run import Run
    from models.training.stopping import stop_by_signals

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads is not None:
        torch.set_num_threads(threads)
    with _checking(), connected() as ranks, stop_by_signals() as stop:
        place = choose_device(device)
        if bfloat16 is None:
            bfloat16 = has_bfloat16(place)
        if workers is None:
            workers = 0 if place.type == "cpu" else os.cpu_count() or 1
        checked = load_recipe(recipe, _changes(pairs))
        run = Run(checked, data, folder, start, machine=Machine(place, bfloat16, workers, ranks))
        done = run.train(limit, stop=stop)
        card = stop.attempt(lambda: finish(run)) if done and ranks.first else None
        if card is not None:
            click.echo(json.dumps(card, indent=2))
        if stop() or not done:
            why = f" by {stop.received.name}" if stop.received else ""
            click.echo(f"vlae: stopped{why} at step {run.progress.step}: the same command goes on", err=True)
    return 128 + stop.received if stop.received else 0


@click.command()
@click.argument("run", type=_folder(exists=True))
@click.option("--number", type=int, required=True, help="Number of the model in files, never used before.")
@click.option("--name", help="Name of the model; default: the recipe's.")
def ship(run: Path, number: int, name: str | None) -> None:
    """Add the frozen weights of a finished RUN to the models of this package, under a new number."""
    need_extra()
    from models.training.ship import ship as add

    with _checking():
        click.echo(json.dumps(add(run, number, name), indent=2))


@click.command()
@click.argument("run", type=_folder(exists=True))
def averages(run: Path) -> None:
    """Write the averaged weights of a RUN's checkpoint as float16 into its folder, from which others may begin."""
    need_extra()
    from models.training.checkpoints import save_averages

    click.echo(save_averages(run))
