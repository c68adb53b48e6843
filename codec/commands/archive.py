"""``vlae archive``: many images in one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec.commands.console import (
    STANDARD,
    check_source,
    check_target,
    is_stream,
    left_out,
    naming,
    prepare,
    progress_bar,
    say,
    seekable,
    standard_output,
)
from codec.commands.options import archive_options, force_option, is_lossy, processes_option, quiet_option
from codec.system.messages import text_of

if TYPE_CHECKING:
    from codec.archive.reader import Archive

_archive = click.argument("archive_name", metavar="ARCHIVE")
_sources = click.argument("sources", metavar="FILES|FOLDERS", nargs=-1, required=True)


@click.group()
def archive() -> None:
    """Put many images into one file, list them, and get them back."""


@archive.command()
@click.argument("output", metavar="OUT")
@_sources
@archive_options
@force_option
@quiet_option
@processes_option
def create(
    output: str, sources: tuple[str, ...], force: bool, quiet: bool, processes: int | None, **options: Any
) -> int:
    """Make the archive OUT of files and of the images in folders; - is standard output.

    Images keep the order of the arguments. All images below a folder are taken, in the order of their names.
    Small images share large blocks and, if lossless, get a model of their own where that makes them shorter.
    """
    check_target(output, force, *sources)
    lossy = is_lossy(options)
    images, lines = _named(sources, quiet)

    from codec.archive.writer import create_archive

    prepare(quiet, for_lossy=lossy)
    with (
        standard_output() if output == STANDARD else nullcontext(output) as to,
        image_progress(quiet, len(images)) as report,
    ):
        refused: dict[str, Exception] = {}
        dropped = create_archive(
            to, images, force=force, processes=processes, report=report, refuse=refused.__setitem__, **options
        )
    return _say(quiet, output, report.done, lines, dropped, refused)


@archive.command()
@_archive
@_sources
@archive_options
@quiet_option
@processes_option
def add(archive_name: str, sources: tuple[str, ...], quiet: bool, processes: int | None, **options: Any) -> int:
    """Add files, and the images in folders, to ARCHIVE."""
    if is_stream(check_source(archive_name)):
        raise click.UsageError(f"{archive_name}: is no file, expected an archive that can be written and read")
    lossy = is_lossy(options)
    images, lines = _named(sources, quiet)

    from codec.archive.writer import add_to_archive

    prepare(quiet, for_lossy=lossy)
    with image_progress(quiet, len(images)) as report:
        refused: dict[str, Exception] = {}
        dropped = add_to_archive(
            archive_name, images, processes=processes, report=report, refuse=refused.__setitem__, **options
        )
    return _say(quiet, archive_name, report.done, lines, dropped, refused)


@archive.command("list")
@_archive
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with the durations of frames.")
def list_(archive_name: str, as_json: bool) -> None:
    """Print what ARCHIVE says of its images, without decoding them."""
    from codec.api import fidelity_name

    with _opened(archive_name) as images:
        if as_json:
            _list_json(images)
        for name, entry in images.entries.items() if not as_json else ():
            header = entry.header
            size, degree = f"{header.width}x{header.height}", header.degree or ""
            click.echo(f"{fidelity_name(header):13} {degree:>3} {header.mode:7} {size:>11} {name}")
        _warn(images.ignored_bytes)


def _list_json(images: Archive) -> None:
    from codec.api import fidelity_name

    for name, info in images.metadata():
        header = images.entries[name].header
        click.echo(
            json.dumps(
                {
                    "name": name,
                    "fidelity": fidelity_name(header),
                    "max_error": header.max_error,
                    "quality": header.quality,
                    "mode": header.mode,
                    "width": header.width,
                    "height": header.height,
                    "duration_ms": info.get("duration"),
                    "dropped": info.get("dropped", ()),
                }
            )
        )


@archive.command()
@_archive
@click.argument("names", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Folder to write to; default: the current one.",
)
@force_option
@quiet_option
@processes_option
def extract(
    archive_name: str, names: tuple[str, ...], folder: Path, force: bool, quiet: bool, processes: int | None
) -> None:
    """Write the images of ARCHIVE, or those named, as PNG: NAME.jpg becomes NAME.jpg.png."""
    with _opened(archive_name) as images:
        prepare_for(images, quiet)
        with image_progress(quiet, len(names) or len(images)) as report:
            written = images.extract(folder, names or None, force=force, processes=processes, report=report)
        if not quiet:
            say(f"{archive_name} -> {folder}: {len(written)} images")
        if not names:
            images.check_end()
        _warn(images.ignored_bytes)


@archive.command()
@_archive
@quiet_option
@processes_option
def verify(archive_name: str, quiet: bool, processes: int | None) -> None:
    """Decode all images of ARCHIVE and compare them with their checksums."""
    with _opened(archive_name) as images:
        prepare_for(images, quiet)
        with image_progress(quiet, len(images)) as report:
            images.verify(processes=processes, report=report)
        if not quiet:
            say(f"{archive_name}: {len(images)} images, all as they were coded")


@contextmanager
def _opened(name: str) -> Iterator[Archive]:
    """Yield an archive that is a file or standard input."""
    from codec.archive.reader import Archive

    with seekable(check_source(name)) as path, naming(name, "an archive"), Archive(path) as images:
        yield images


def _named(sources: tuple[str, ...], quiet: bool) -> tuple[dict[str, Path | bytes], list[str]]:
    """Return files, and the images below folders, by their names in the archive; and messages about files left out."""
    from codec.system.folders import Found, find_images

    folders: dict[Path, Found] = {}
    images: dict[str, Path | bytes] = {}
    origins: dict[str, Path] = {}
    for source in sources:
        path = Path(check_source(source, folder=True))
        if source == STANDARD:
            raise click.UsageError("-: has no name, which an image of an archive needs")
        if path.is_dir():
            folders[path] = find_images(path)
            named = {p.relative_to(path).as_posix(): p for p in folders[path].images}
        else:
            named = {path.name: path}
        for name, file in named.items():
            if name in images:
                raise click.UsageError(f"name {name!r}: would be that of {origins[name]} and of {file}")
            origins[name] = file
            images[name] = file.read_bytes() if is_stream(str(file)) else file
    return images, left_out(folders, quiet)


def prepare_for(images: Archive, quiet: bool) -> None:
    """Compile the kernels that an archive's images need."""
    for lossy in {entry.header.quality is not None for entry in images.entries.values() if entry.coding is not None}:
        prepare(quiet, for_lossy=lossy)


@contextmanager
def image_progress(quiet: bool, total: int) -> Iterator[ImageCount]:
    """Yield a callable that shows progress. It is called with the number of images done since its last call."""
    with progress_bar(quiet, "image") as show:
        yield ImageCount(show, total)


class ImageCount:
    """Counts images, and shows how many are done. A file of several frames becomes several images.

    Attributes
    ----------
    done : int
    """

    def __init__(self, show: Callable[[int, int], None] | None, total: int) -> None:
        self.done = 0
        self._show = show
        self._total = total

    def __call__(self, images: int) -> None:
        """Count images that are done."""
        self.done += images
        if self._show is not None:
            self._show(self.done, max(self.done, self._total))


def _say(
    quiet: bool,
    name: str,
    count: int,
    lines: list[str],
    dropped: dict[str, tuple[str, ...]],
    refused: dict[str, Exception],
) -> int:
    """Say what was added, which metadata was dropped, and what was left out. Return the exit code.

    It is 1 if an image was refused. A file of a folder that is no image does not count.
    """
    if not quiet:
        length = "" if is_stream(name) else f", {Path(name).stat().st_size} bytes in all"
        say(f"{name}: {count - len(refused)} images more{length}")
        counts = Counter(what for names in dropped.values() for what in names)
        if counts:
            lost = ", ".join(f"{what} ({count} images)" for what, count in counts.most_common())
            say(f"vlae: {name}: not kept: {lost}")
    for line in lines:
        say(line)
    for error in refused.values():
        say(f"vlae: {name}: left out: {text_of(error)}")
    return 1 if refused else 0


def _warn(ignored_bytes: int) -> None:
    """Warn of bytes behind the last valid index, which a crash may have left. The next addition removes them."""
    if ignored_bytes:
        say(f"vlae: the last {ignored_bytes} bytes are of an addition that did not end, or damaged")
