"""What the commands share: options, progress on stderr, and errors that are the fault of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from codec.errors import CodecError

Result = TypeVar("Result")

force_option = click.option("--force", is_flag=True, help="Replace an existing output.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no messages but errors.")


@contextmanager
def progress_bar(quiet: bool, unit: str = "band") -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callable that shows units done of units in all on stderr; None if that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, file=sys.stderr, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        yield show


def prepare(quiet: bool, *, for_lossy: bool) -> None:
    """Have the kernels compiled before anything is timed or shows progress, and say so."""
    from codec import kernels

    kernels.prepare(lambda line: None if quiet else click.echo(f"vlae: {line}", err=True), for_lossy=for_lossy)


def usage(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Call a function whose ValueError is the fault of the command line."""
    try:
        return function(*arguments, **options)
    except CodecError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from error
