"""``vlae measure``: prints the ledgers of images and of archives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from codec.commands.archive import image_progress, prepare_for
from codec.commands.console import (
    STANDARD,
    check_source,
    check_target,
    left_out,
    prepare,
    progress_bar,
    say,
    seekable,
    write,
)
from codec.commands.options import file_options, file_parameters, force_option, is_lossy
from codec.errors import ImageError
from codec.format.archive_sections import is_archive
from codec.system.messages import text_of

if TYPE_CHECKING:
    from codec.ledger.measure import Visit


@click.command()
@click.argument("names", metavar="FILES|FOLDERS|ARCHIVES", nargs=-1, required=True)
@file_options
@click.option(
    "--importance", type=int, metavar="K", help="Also bound log p(x) with K samples; each takes as long as decoding."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line; for images, totals come last.")
@click.option("--html", metavar="PAGE", help="Also write a page with pictures, which needs no other file.")
@force_option
@click.pass_context
def measure(
    context: click.Context,
    /,
    names: tuple[str, ...],
    importance: int | None,
    as_json: bool,
    html: str | None,
    force: bool,
    **options: Any,
) -> int:
    """Print where every bit went: of images, which are compressed and decompressed in memory, or of archives."""
    parameters = file_parameters(options)
    lossy = is_lossy(options)
    if html == STANDARD:
        raise click.UsageError("--html: expected a file, got standard output, where the ledger goes")
    for name in names:
        check_source(name, folder=True)
    if html is not None:
        check_target(html, force, *names)

    with ExitStack() as stack:
        files = {name: stack.enter_context(seekable(name)) for name in names}
        if archives := [name for name, path in files.items() if path.is_file() and is_archive(path)]:
            given = any(context.get_parameter_source(name) == ParameterSource.COMMANDLINE for name in options)
            if given or html or len(archives) < len(files):
                raise click.UsageError(
                    f"{archives[0]}: an archive is measured as it is, without images or their options"
                )
            for name, path in files.items():
                _print_archive(name, path, as_json, importance)
            return 0
        images, lines = _images(files)
        prepare(quiet=False, for_lossy=lossy)
        if html is None:
            refused = _print_images(images, as_json, importance=importance, **parameters)
        else:
            from codec.report.page import Page

            page = Page()
            refused = _print_images(images, as_json, importance=importance, visit=page.add, **parameters)
    for line in lines:
        say(line)
    if html is not None:
        data = page.encode()
        write(html, data, force)
        say(f"{html}: {len(data)} bytes")
    return 1 if refused else 0


def _images(files: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """Return files, and the images below folders, by their names; and messages about files left out."""
    from codec.system.folders import Found, find_images

    images: dict[str, Path] = {}
    folders: dict[Path, Found] = {}
    for name, path in files.items():
        if path.is_dir():
            folders[path] = find_images(path)
            images |= {str(file): file for file in folders[path].images}
        else:
            images[name] = path
    if not images:
        raise click.UsageError(f"{', '.join(files)}: expected images, got none")
    return images, left_out(folders, quiet=False)


def _print_images(
    images: Mapping[str, Path], as_json: bool, *, importance: int | None, visit: Visit | None = None, **parameters: Any
) -> int:
    """Print the ledger of each image and, of several, their total. Return how many of several cannot be coded."""
    from codec.ledger.measure import measure, total
    from codec.ledger.tables import image_table, total_table

    found, refused = [], []
    for name, path in images.items():
        try:
            with progress_bar(importance is None, "sample") as progress:
                measured = measure(path, name=name, importance=importance, progress=progress, visit=visit, **parameters)
        except (ImageError, OSError) as error:
            refused.append(f"vlae: {name}: left out: {text_of(error, path)}")
            if len(refused) == len(images):
                raise
            continue
        found.append(measured)
        click.echo(json.dumps(measured.as_dict()) if as_json else image_table(measured))
    if as_json:
        click.echo(json.dumps({"total": total(found).as_dict()}))
    elif len(found) > 1:
        click.echo(total_table(total(found)))
    for line in refused:
        say(line)
    return len(refused)


def _print_archive(name: str, path: Path, as_json: bool, importance: int | None) -> None:
    """Print the ledger of an archive."""
    from codec.archive.reader import Archive
    from codec.ledger.archive import measure_archive
    from codec.ledger.tables import archive_table

    with Archive(path) as images:
        prepare_for(images, quiet=False)
        count = len(images)
    with image_progress(False, count) as report:
        ledger = measure_archive(path, importance=importance, report=report)
    facts = {"file": name, **ledger.as_dict(), "overhead_percent": ledger.message_overhead_percent}
    click.echo(json.dumps(facts) if as_json else archive_table(name, ledger))
