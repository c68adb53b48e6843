"""The commands ``vlae archive ...``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec.archive_index import BLOCK_IMAGES
from codec.console import force_option, prepare, progress_bar, quiet_option, usage
from codec.goals import DEFAULT_QUALITY, Kind, goal_of

if TYPE_CHECKING:
    from codec.archive import Archive
    from codec.workers import Report

_paths = click.Path(path_type=Path)
_archive = click.argument("path", metavar="ARCHIVE", type=_paths)
_sources = click.argument("sources", metavar="FILES|FOLDERS", nargs=-1, required=True, type=_paths)
_processes = click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="Processes; same bytes for any N."
)


def _fidelity(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what the images are to be, and how many share a block."""
    for option in reversed(
        (
            click.option("--lossless", is_flag=True, help="Every sample comes back."),
            click.option("--max-error", type=int, metavar="D", help="No colour sample is off by more than D, 0 to 10."),
            click.option("--quality", type=int, metavar="Q", help=f"1 to 100; {DEFAULT_QUALITY} if nothing is said."),
            click.option("--model", metavar="NAME", help="Of lossless images: a model for certain images."),
            click.option("--block", type=int, default=BLOCK_IMAGES, metavar="N", help="Images whose bits are chained."),
        )
    ):
        command = option(command)
    return command


@click.group()
def archive() -> None:
    """Put many images into one file, list them, and get them back."""


@archive.command()
@click.argument("output", metavar="OUT", type=_paths)
@_sources
@_fidelity
@force_option
@quiet_option
@_processes
def create(
    output: Path, sources: tuple[Path, ...], force: bool, quiet: bool, processes: int | None, **options: Any
) -> None:
    """Make the archive OUT of files and of the images in folders.

    Images keep their order; of folders, below which all images are taken, it is that of their names.
    """
    if output.is_dir():
        raise click.UsageError(f"output {output}: is a folder")
    if output.exists() and not force:
        raise click.UsageError(f"output {output}: exists, expected --force")
    images, lossy = _named(sources), _is_lossy(options)

    from codec.archive_writer import create_archive

    prepare(quiet, for_lossy=lossy)
    with _progress(quiet, len(images)) as report:
        dropped = usage(create_archive, output, images, processes=processes, report=report, **options)
    _say(quiet, output, images, dropped)


@archive.command()
@_archive
@_sources
@_fidelity
@quiet_option
@_processes
def add(path: Path, sources: tuple[Path, ...], quiet: bool, processes: int | None, **options: Any) -> None:
    """Add files, and the images in folders, to ARCHIVE."""
    images, lossy = _named(sources), _is_lossy(options)

    from codec.archive_writer import add_to_archive

    prepare(quiet, for_lossy=lossy)
    with _progress(quiet, len(images)) as report:
        dropped = usage(add_to_archive, path, images, processes=processes, report=report, **options)
    _say(quiet, path, images, dropped)


@archive.command("list")
@_archive
def list_(path: Path) -> None:
    """Print what ARCHIVE says of its images, without decoding them."""
    from codec.api import FIDELITY_NAMES
    from codec.archive import Archive

    with Archive(path) as images:
        for name, entry in images.entries.items():
            header = entry.header
            size, degree = f"{header.width}x{header.height}", header.degree or ""
            click.echo(f"{FIDELITY_NAMES[header.fidelity]:13} {degree:>3} {header.mode:4} {size:>11} {name}")
        _warn(images.ignored_bytes)


@archive.command()
@_archive
@click.argument("names", nargs=-1)
@click.option("--to", "folder", type=_paths, default=Path(), metavar="FOLDER", help="Where, if not here.")
@force_option
@quiet_option
@_processes
def extract(path: Path, names: tuple[str, ...], folder: Path, force: bool, quiet: bool, processes: int | None) -> None:
    """Write the images of ARCHIVE, or those named, as PNG: NAME.jpg becomes NAME.jpg.png."""
    from codec.archive import Archive

    with Archive(path) as images:
        _prepare_for(quiet, images)
        with _progress(quiet, len(names) or len(images)) as report:
            written = usage(images.extract, folder, names or None, force=force, processes=processes, report=report)
        if not quiet:
            click.echo(f"{path} -> {folder}: {len(written)} images", err=True)
            _warn(images.ignored_bytes)


@archive.command()
@_archive
@quiet_option
@_processes
def verify(path: Path, quiet: bool, processes: int | None) -> None:
    """Decode all images of ARCHIVE and compare them with their checksums."""
    from codec.archive import Archive

    with Archive(path) as images:
        _prepare_for(quiet, images)
        with _progress(quiet, len(images)) as report:
            images.verify(processes=processes, report=report)
        if not quiet:
            click.echo(f"{path}: {len(images)} images, all as they were coded", err=True)


def _named(sources: tuple[Path, ...]) -> dict[str, Path]:
    """Return files and the images below folders, by their names in the archive."""
    from codec.image_io import ENDINGS

    images: dict[str, Path] = {}
    for source in sources:
        if source.is_dir():
            found = sorted(p for p in source.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            named = {p.relative_to(source).as_posix(): p for p in found}
        else:
            named = {source.name: source}
        for name, path in named.items():
            if name in images:
                raise click.UsageError(f"name {name!r}: would be that of {images[name]} and of {path}")
            images[name] = path
    return images


def _is_lossy(options: dict[str, Any]) -> bool:
    """Return whether images are to be lossy; the options are checked before any work is done."""
    goal = usage(goal_of, **{name: value for name, value in options.items() if name not in ("block", "model")})
    return goal.kind != Kind.MAX_ERROR


def _prepare_for(quiet: bool, images: Archive) -> None:
    """Have the kernels compiled that an archive's images need."""
    for lossy in {entry.header.quality is not None for entry in images.entries.values() if entry.coding is not None}:
        prepare(quiet, for_lossy=lossy)


def measure(paths: Sequence[Path], as_json: bool, importance: int | None) -> None:
    """Print the ledger of archives."""
    from codec.archive import Archive
    from codec.archive_ledger import measure_archive, table

    for path in paths:
        with Archive(path) as images:
            _prepare_for(False, images)
            total = len(images)
        with _progress(False, total) as report:
            found = usage(measure_archive, path, importance=importance, report=report)
        for line in [json.dumps(found.as_dict())] if as_json else table(found):
            click.echo(line)


@contextmanager
def _progress(quiet: bool, total: int) -> Iterator[Report]:
    """Yield a callable that takes numbers of images when they are done, and shows them."""
    done = 0

    with progress_bar(quiet, "image") as show:

        def report(images: int) -> None:
            nonlocal done
            done += images
            if show is not None:
                show(done, total)

        yield report


def _say(quiet: bool, path: Path, images: dict[str, Path], dropped: dict[str, tuple[str, ...]]) -> None:
    if not quiet:
        click.echo(f"{path}: {len(images)} images more, {path.stat().st_size} bytes in all", err=True)
        counts = Counter(name for names in dropped.values() for name in names)
        if counts:
            lost = ", ".join(f"{name} ({count} images)" for name, count in counts.most_common())
            click.echo(f"vlae: {path}: not kept: {lost}", err=True)


def _warn(ignored_bytes: int) -> None:
    """Tell of what a crash left: the next addition removes it."""
    if ignored_bytes:
        click.echo(f"vlae: the last {ignored_bytes} bytes are of an addition that did not end, or damaged", err=True)
