"""Functions that several commands share: streams, names of files, and progress on stderr."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from codec.errors import CodecError, CorruptDataError
from codec.images.goals import DEFAULT_EFFORT
from codec.system import outputs, targets

if TYPE_CHECKING:
    from codec.system.folders import Found

STANDARD = "-"
"""The name of standard input and of standard output."""


@contextmanager
def progress_bar(quiet: bool, unit: str = "band") -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callable that shows on stderr the units done and the units in all; None if stderr is no terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, file=sys.stderr, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        yield show


def prepare(quiet: bool, *, for_lossy: bool, effort: int = DEFAULT_EFFORT) -> None:
    """Compile the kernels, and say so, before anything is timed or shows progress."""
    from codec.commands import warm_up

    warm_up.prepare(lambda line: None if quiet else say(f"vlae: {line}"), for_lossy=for_lossy, effort=effort)


def say(line: str) -> None:
    """Write a line to standard error. If that fails, the error is ignored: the work goes on without messages."""
    try:
        with _above_bars():
            click.echo(line, err=True)
    except OSError:
        _discard(2)


@contextmanager
def _above_bars() -> Iterator[None]:
    """Take progress bars away for the block. Without tqdm there are none."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        yield


def flush_output() -> bool:
    """Write what was printed to standard output. Return whether that succeeded; if not, the rest is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(1)
        return False
    return True


def _discard(number: int) -> None:
    """Replace a stream that cannot be written by the null device, so that the flush at exit raises no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def open_streams() -> None:
    """Open the standard streams that are closed, so that no file that is opened later gets their descriptors.

    They are opened in the wrong direction, so that their use raises an error.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        if not _is_open(number):
            os.open(os.devnull, flags)  # it gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def check_source(name: str, folder: bool = False) -> str:
    """Return the name of a file to read, checked. With ``folder`` it may be a folder, too.

    Raises
    ------
    click.UsageError
        The name is empty, or that of a folder where a file is expected.
    """
    if not name:
        raise click.UsageError("file: expected a name, got an empty one")
    if name != STANDARD and Path(name).is_dir():
        if not folder:
            raise click.UsageError(f"{name}: is a folder, expected a file")
        if Path(name).resolve() == Path(Path(name).resolve().anchor):
            raise click.UsageError(f"{name}: is the whole file system, expected a folder of images")
    return name


def check_target(name: str, force: bool, *sources: str) -> None:
    """Check, before any work is done, that an output can be written.

    Raises
    ------
    click.UsageError
        The output is a terminal, or one of the sources.
    RequestError
        The output exists and ``force`` is false, or nothing can be written there.
    """
    terminal = targets.descriptor(name) if name != STANDARD else 1
    if terminal is not None and (sys.stdout.isatty() if terminal == 1 else os.isatty(terminal)):
        raise click.UsageError("output: binary data is not written to a terminal, expected -o OUT or a pipe")
    if name == STANDARD:
        targets.check_descriptor(1, "standard output")
        return
    if not targets.is_stream(name) and Path(name).is_file():
        for source in sources:
            if source != STANDARD and Path(source).exists() and Path(name).samefile(source):
                raise click.UsageError(f"output {name}: is the source")
    targets.check_output(name, force)


def target_of(source: str, output: str | None, suffix: str, force: bool) -> str:
    """Return the name of the output, checked by `check_target`. By default it is the source's with another suffix."""
    if output is None:
        output = STANDARD if is_stream(source) else str(Path(source).with_suffix(suffix))
    check_target(output, force, source)
    return output


def is_stream(name: str) -> bool:
    """Return whether a name is that of a stream, a pipe or a device, whose bytes can be read only once."""
    return name == STANDARD or targets.is_stream(name)


def standard_input() -> BinaryIO:
    """Return standard input.

    Raises
    ------
    OSError
        Standard input is closed.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "is closed", "standard input")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Return a file that writes to standard output."""
    return outputs.to_descriptor(os.dup(1), "standard output")


def read(name: str) -> bytes:
    """Return the bytes of a file or of standard input."""
    return standard_input().read() if name == STANDARD else Path(name).read_bytes()


def write(name: str, data: bytes, force: bool, like: os.stat_result | None = None) -> None:
    """Write data to a file or to standard output; see `codec.system.outputs.output`."""
    if name == STANDARD:
        with standard_output() as file:
            file.write(data)
    else:
        outputs.write_file(name, data, force=force, like=like)


@contextmanager
def seekable(name: str) -> Iterator[Path]:
    """Yield the path of a file. For a stream it is a temporary file with the stream's bytes."""
    if not is_stream(name):
        yield Path(name)
        return
    with standard_input() if name == STANDARD else open(name, "rb") as source, outputs.spooled(source) as path:
        yield path


@contextmanager
def naming(name: str, expected: str = "a .vlae file") -> Iterator[None]:
    """Put the name of a file before what is wrong with it; and say what else it is, if it is something else.

    Raises
    ------
    CodecError
        The block raised one of this type.
    """
    try:
        yield
    except CodecError as error:
        found = ""
        if isinstance(error, CorruptDataError) and not is_stream(name):
            found = _kind_of(Path(name))
        text = f"is {found}, expected {expected}" if found not in ("", expected) else str(error)
        raise type(error)(f"{name}: {text}") from error


def _kind_of(path: Path) -> str:
    """Return what a file is, by its first bytes, empty if that is not known."""
    from codec.format.archive_sections import is_archive
    from codec.format.headers import MAGIC
    from codec.system.folders import is_image

    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return "a .vlae file"
    if is_archive(path):
        return "an archive"
    return "an image of another format" if is_image(path) else ""


def status_of(name: str) -> os.stat_result | None:
    """Return the status of a file, or None for a stream, whose permissions and time say nothing."""
    return None if is_stream(name) else os.stat(name)


def left_out(found: Mapping[Path, Found], quiet: bool) -> list[str]:
    """Return messages about what was left out of folders. With ``quiet``, files of other kinds get none."""
    worth = {folder: each for folder, each in found.items() if each.unreadable or (each.others and not quiet)}
    return [f"vlae: {each.left_out(folder)}" for folder, each in worth.items()]
