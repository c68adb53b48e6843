"""``vlae train``: the command that this package adds to the codec's."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click


def _changes(pairs: tuple[str, ...]) -> dict[str, Any]:
    changes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"expected KEY=VALUE, got {pair}", param_hint="--set")
        changes[key] = json.loads(value)
    return changes


def _folder(exists: bool = False) -> click.Path:
    return click.Path(path_type=Path, exists=exists, file_okay=False)


@click.command()
@click.argument("recipe")
@click.option("--data", type=_folder(exists=True), required=True, help="Folder that holds the recipe's folders.")
@click.option("--run", "folder", type=_folder(), required=True, help="Folder of the checkpoint.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Frozen weights, of small images a checkpoint, from which a new run begins; its own checkpoint goes before.",
)
@click.option("--limit", type=float, default=float("inf"), help="Seconds; the same command goes on afterwards.")
@click.option("--out", type=_folder(), help="Folder of the frozen weights, by default the codec's own.")
@click.option("--threads", type=int, help="Threads of torch.")
@click.option("--bfloat16", is_flag=True, help="Multiply in bfloat16: twice as fast on processors that have it.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change the recipe: model.latents=0.")
def train(
    recipe: str,
    data: Path,
    folder: Path,
    start: Path | None,
    limit: float,
    out: Path | None,
    threads: int | None,
    bfloat16: bool,
    pairs: tuple[str, ...],
) -> None:
    """Train RECIPE (a name or a file), resuming if there is a checkpoint; when done, freeze it and write its card."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise click.ClickException("training needs torch: pip install vlae[train]") from error
    from codec.shipped import WEIGHTS
    from models.finish import finish
    from models.recipe import load_recipe
    from models.train import Run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads is not None:
        torch.set_num_threads(threads)
    run = Run(load_recipe(recipe, _changes(pairs)), data, folder, start, bfloat16=bfloat16)
    if not run.train(limit):
        click.echo(f"stopped at step {run.progress.step}: the same command goes on", err=True)
        return
    click.echo(json.dumps(finish(run, out or WEIGHTS), indent=2))
