"""Paths of outputs: what they name, and whether anything can be written there, before any work is done."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from codec.errors import RequestError

AnyPath = str | os.PathLike[str]

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(self|thread-self|[0-9]+))/fd/([0-9]+)")
_LINK_LIMIT = 40
"""Most links to links that are followed. Linux has the same limit."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of the output into an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error


def descriptor(path: AnyPath) -> int | None:
    """Return the descriptor that a path like ``/dev/stdout`` or ``/dev/fd/63`` names, or None for other paths.

    Such a path must not be opened anew, because the new descriptor would write from the beginning.
    """
    name = os.path.abspath(path)
    for _ in range(_LINK_LIMIT):
        if found := _DESCRIPTOR.fullmatch(name):
            return int(found[2]) if found[1] in (None, "self", "thread-self", str(os.getpid())) else None
        if not os.path.islink(name):
            return None
        name = os.path.abspath(os.path.join(os.path.dirname(name), os.readlink(name)))
    return None


def is_stream(path: AnyPath) -> bool:
    """Return whether a path names a descriptor, a pipe or a device. They are written into, and never replaced."""
    special = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    return special or descriptor(path) is not None


def check_free(path: AnyPath, force: bool) -> None:
    """Raise ValueError if a path is a folder, or if it exists, is not a stream, and ``force`` is false."""
    if os.path.isdir(path):
        raise RequestError(f"output {os.fspath(path)}: is a folder")
    if force or descriptor(path) is not None or not os.path.lexists(os.path.realpath(path)):
        return
    mode = os.lstat(os.path.realpath(path)).st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise RequestError(existing(os.fspath(path)))


def check_output(path: AnyPath, force: bool) -> None:
    """Check that `output` will accept a path, before any work is done.

    Raises
    ------
    ValueError
        The path is empty or a folder, it exists and ``force`` is false, or its folder is missing or cannot be written.
    OSError
        The path names a descriptor that is closed, or open for reading only; or the disk is full.
    """
    name = os.fspath(path)
    if not name:
        raise RequestError("output: expected a name, got an empty one")
    if name.endswith(("/", os.sep)):
        raise RequestError(f"output {name}: is a folder")
    check_free(path, force)
    number = descriptor(path)
    if number is not None:
        check_descriptor(number, name)
    if is_stream(path):
        return
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise RequestError(f"output {name}: its folder does not exist")
    _check_writable(folder, name, "its folder")


def check_folder(path: AnyPath) -> None:
    """Check that files can be written below a folder, before any work is done. The folder may be missing.

    Raises
    ------
    ValueError
        The path is empty, or that of a file; or the folder cannot be written or made.
    OSError
        Its disk is full.
    """
    name = os.fspath(path)
    if not name:
        raise RequestError("output: expected a folder, got an empty name")
    nearest = os.path.realpath(path)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest):
        raise RequestError(f"output {name}: {nearest} is no folder")
    _check_writable(nearest, name, nearest)


def _check_writable(folder: str, name: str, called: str) -> None:
    """Raise RequestError or OSError if nothing can be written into a folder, for an output of this name."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"output {name}: {called} cannot be written")
    usage = shutil.disk_usage(folder)
    if usage.total and not usage.free:  # some file systems do not say how large they are
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def check_descriptor(number: int, name: str) -> None:
    """Raise OSError with the given name unless a descriptor is open for writing."""
    with naming(name):
        os.write(number, b"")


def existing(name: str) -> str:
    """Return the message that an output exists."""
    return f"output {name}: exists, expected --force"
