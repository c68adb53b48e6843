"""Many files at once, for ``vlae compress`` and ``vlae decompress``."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec.commands.console import STANDARD, check_source, left_out, progress_bar, read, say
from codec.commands.options import Request
from codec.system.signals import advising
from codec.system.targets import check_folder

if TYPE_CHECKING:
    from codec.batch.plan import Way
    from codec.batch.work import FileResult, Job


def one_of(request: Request) -> str | None:
    """Return the name of the only file that is to be coded, or None if there is a folder for the outputs of many.

    Raises
    ------
    click.UsageError
        There is no file; or there are several, or a folder, and none for the outputs.
    """
    files = request.files
    for name in files:
        if request.quiet and name.isdigit() and not os.path.lexists(name):
            raise click.UsageError(f"{name}: no such file, and -q is --quiet; expected --quality {name}?")
    if not files and request.listed is None:
        raise click.UsageError("Missing argument 'FILES|FOLDERS...'.")
    if request.to is not None:
        if request.output is not None:
            raise click.UsageError("--to: is a folder for all outputs, expected no -o")
        if STANDARD in files:
            raise click.UsageError("-: has no name, which an output in a folder needs")
        return None
    for option, given in (
        ("--from", request.listed is not None),
        ("--jobs", request.jobs is not None),
        ("--json", request.as_json),
        ("--verbose", request.verbose),
    ):
        if given:
            raise click.UsageError(f"{option}: expected --to DIR, too")
    if len(files) > 1:
        raise click.UsageError(f"{files[0]} and {len(files) - 1} more: expected --to DIR, a folder for the outputs")
    from codec.batch.plan import is_pattern

    (name,) = files
    if name not in ("", STANDARD) and (Path(name).is_dir() or is_pattern(name)):
        what = "is a folder" if Path(name).is_dir() else "is a pattern"
        raise click.UsageError(f"{name}: {what}, expected --to DIR, a folder for the outputs")
    return check_source(name)


class _Summary:
    """What became of the files of a batch, and its lines."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.begin = time.perf_counter()
        self.counts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.failures: list[str] = []
        self.source_bytes = self.output_bytes = self.larger = 0

    def add(self, result: FileResult) -> None:
        """Count a file, and print its line of JSON."""
        self.counts[result.status] += 1
        if self.request.as_json:
            click.echo(json.dumps(result.as_dict()))
        if result.error is not None:
            self.failures.append(f"vlae: {result.file}: {result.error}")
        elif result.status == "made" and result.source_bytes is not None and result.output_bytes is not None:
            self.lost.update(result.lost)
            self.source_bytes += result.source_bytes
            self.output_bytes += result.output_bytes
            self.larger += result.info is not None and result.output_bytes > result.source_bytes

    def say(self) -> None:
        """Say what became of all files, and name those that failed."""
        for line in self.failures:
            say(line)
        if self.request.quiet:
            return
        made, skipped, failed = (self.counts[status] for status in ("made", "skipped", "failed"))
        seconds = time.perf_counter() - self.begin
        line = f"{self.request.to}: {made} files made"
        line += f" of {self.source_bytes:,} bytes, {self.output_bytes:,} bytes in all, {seconds:.1f} s" if made else ""
        line += f"; {skipped} were there already, --force makes them again" if skipped else ""
        say(line + (f"; {failed} failed" if failed else ""))
        if self.larger:
            say(f"vlae: {self.larger} of the files are larger than their sources")
        if self.lost:
            say(f"vlae: not kept: {', '.join(f'{what} ({count} files)' for what, count in self.lost.most_common())}")


def run_batch(
    way: Way,
    request: Request,
    options: dict[str, Any],
    before: Callable[[Sequence[Job]], None],
    lines: Callable[[FileResult], list[str]],
) -> int:
    """Compress or decompress many files, and return the exit code, which is 1 if one of them failed.

    Parameters
    ----------
    way : Way
    request : Request
    options : dict
        Parameters of `codec.compress` or `codec.decompress`.
    before : callable
        Called with the jobs before they begin, if there are any.
    lines : callable
        Returns what is said of a file that was made.
    """
    from codec.batch import engine
    from codec.batch.plan import plan

    to = request.to or ""
    engine.check_options(way, options)
    check_folder(to)
    made = plan(way, request.files, Path(to), _listed(request.listed))
    summary = _Summary(request)
    with advising("the same command goes on with what is left"), _said_at_the_end(summary):
        ready, todo = engine.sort_out(way, made.tasks, request.force, options)
        for result in ready:
            _tell(summary, result, lines)
        if todo:
            before(todo)
        with progress_bar(request.quiet, "image") as show:
            for done, result in enumerate(engine.run(todo, request.jobs, request.threads), 1):
                _tell(summary, result, lines)
                if show is not None:
                    show(done, len(todo))
    for line in left_out(made.found, request.quiet):
        say(line)
    return 1 if summary.failures else 0


@contextmanager
def _said_at_the_end(summary: _Summary) -> Iterator[None]:
    """Say a summary at the end of the block, also if an error ends it."""
    try:
        yield
    finally:
        summary.say()


def _tell(summary: _Summary, result: FileResult, lines: Callable[[FileResult], list[str]]) -> None:
    """Count a result and, if that is wanted, say what became of the file."""
    summary.add(result)
    if summary.request.verbose:
        texts = {"made": lines(result), "skipped": [f"{result.file} -> {result.output}: was there already"]}
        for line in texts.get(result.status, [f"vlae: {result.file}: {result.error}"]):
            say(line)


def _listed(name: str | None) -> list[str]:
    """Return the names in a list of files, one a line."""
    if name is None:
        return []
    lines = (line.removesuffix("\r") for line in os.fsdecode(read(name)).split("\n"))
    return [line for line in lines if line]
