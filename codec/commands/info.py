"""``vlae info`` and ``vlae models``, which code nothing."""

from __future__ import annotations

import json

import click

from codec.commands.console import naming, read
from codec.commands.options import file_argument, max_pixels_option


@click.command()
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@max_pixels_option
def info(file: str, as_json: bool, max_pixels: int | None) -> None:
    """Print what FILE says of itself, without decoding it."""
    from codec import api

    data = read(file)
    with naming(file):
        facts = api.info(data, max_pixels=max_pixels).as_dict()
    if as_json:
        click.echo(json.dumps({"file": file, **facts}))
        return
    for name, value in facts.items():
        text = _text(value)
        if text:
            click.echo(f"{name:15} {text}")


def _text(value: object) -> str:
    """Return a field of `codec.Info` as text; empty if the field is empty or None."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


@click.command()
def models() -> None:
    """Print the models of this installation and how they were made."""
    from codec.frozen.shipped import model_cards

    for card in model_cards():
        for name, value in card.items():
            click.echo(f"{name:24} {value}")
        click.echo()
