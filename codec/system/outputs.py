"""Outputs: a file is written completely or not at all. A pipe or a device is written into, and never replaced.

A new file is written under a temporary name in the same folder, and gets its own name at the end. Without ``force``, it
gets the name by a hard link. That fails if a file of this name has appeared meanwhile, so that of two processes that
write the same file one is refused. `undo_all` removes what is unfinished; a signal may call it before the process ends.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from codec.errors import RequestError
from codec.system.targets import AnyPath, check_free, descriptor, existing, is_stream, naming

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BEGIN, _END = ".vlae-", ".tmp"
"""Beginning and end of temporary names."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""Errors of ``fsync`` for pipes and devices, which have no disk to wait for."""

_undo: list[Callable[[], object]] = []
_lock = threading.Lock()
"""Held while a file gets a name. `undo_all` keeps it for ever, so that no file appears afterwards."""


class _Output(io.FileIO):
    """A file whose errors have the name of the output, not the temporary name."""

    def __init__(self, file: AnyPath | int, mode: str, name: str, permissions: int = 0o666) -> None:
        super().__init__(
            file if isinstance(file, int) else os.fspath(file),
            mode,
            opener=lambda path, flags: os.open(path, flags, permissions),
        )
        self.name = name

    def write(self, data: ReadableBuffer) -> int:
        """Write bytes."""
        with naming(self.name):
            return super().write(data)


@contextmanager
def undoing(undo: Callable[[], object]) -> Iterator[None]:
    """Call a function if the block fails, or if a signal ends the process within it."""
    _undo.append(undo)
    try:
        yield
    except BaseException:
        undo()
        raise
    finally:
        _undo.remove(undo)


def undo_all() -> None:
    """Undo all unfinished outputs, before the process ends. No output appears after this call."""
    _lock.acquire()
    for undo in reversed(_undo):
        with suppress(OSError):
            undo()


def write_file(path: AnyPath, data: bytes, *, force: bool = False, like: os.stat_result | None = None) -> None:
    """Write data to a file, a pipe or a device.

    Parameters
    ----------
    path : path
    data : bytes
    force : bool
        Whether to replace an existing file.
    like : os.stat_result, optional
        Status of the source, whose permissions and time of change the file gets, see `output`.

    Raises
    ------
    ValueError
        The path is a folder, or the file exists and ``force`` is false.
    OSError
        The folder is missing, or the file cannot be written.
    """
    with output(path, force=force, like=like) as file:
        file.write(data)


@contextmanager
def output(path: AnyPath, *, force: bool = False, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """Yield a file that is open for writing. It gets its name when the block ends.

    If the block fails, an old file stays as it was, and no new file appears. If the path is a link, its target is
    written. A pipe or a device is written directly.

    Parameters
    ----------
    path : path
    force : bool
        Whether to replace an existing file.
    like : os.stat_result, optional
        Status of the source. The file gets its permissions and its time of change, where the file system has them.
        Without it, a new file has the usual permissions, and one that replaces another has those of the old one.

    Raises
    ------
    ValueError
        The path is a folder; or ``force`` is false, and the file exists or has appeared meanwhile.
    OSError
        The folder is missing, or the file cannot be written.
    """
    check_free(path, force)
    number, name = descriptor(path), os.fspath(path)
    if number is not None or is_stream(path):
        with naming(name):
            opened = os.dup(number) if number is not None else os.open(path, os.O_WRONLY)
        with to_descriptor(opened, name) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    # The temporary name is short, because the name of the file itself may have the greatest possible length.
    temporary = target.with_name(f"{_BEGIN}{secrets.token_hex(8)}{_END}")
    with undoing(lambda: temporary.unlink(missing_ok=True)):
        with _lock, naming(name):
            # Nobody else may read what is written before it has the permissions of its source.
            raw = _Output(temporary, "xb", name, 0o666 if like is None else 0o600)
        with io.BufferedWriter(raw) as file:
            yield file
            sync(file)
        with _lock, naming(name):
            if like is not None:
                _make_like(temporary, like)
            elif force and target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
            if force:
                temporary.replace(target)
            else:
                _claim(temporary, target, name)


def is_unfinished(path: Path) -> bool:
    """Return whether a file has a temporary name, because it is being written, or was when its process was killed."""
    return path.name.startswith(_BEGIN) and path.name.endswith(_END)


def _make_like(path: Path, status: os.stat_result) -> None:
    """Give a file the permissions and the time of change of another, where the file system has them."""
    with suppress(OSError):
        path.chmod(status.st_mode & 0o777)
    with suppress(OSError):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _claim(temporary: Path, target: Path, name: str) -> None:
    """Give a temporary file its name. Raise RequestError if something of this name exists."""
    try:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:  # not every file system has hard links
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            with undoing(target.unlink):
                temporary.replace(target)
    except FileExistsError:
        raise RequestError(existing(name)) from None
    temporary.unlink(missing_ok=True)


def sync(file: BinaryIO) -> None:
    """Wait until all that was written is on the disk. A pipe, a device or memory has none, and returns at once."""
    try:
        file.flush()
        os.fsync(file.fileno())
    except io.UnsupportedOperation:
        return  # the file is in memory
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise OSError(error.errno, error.strerror, file.name) from error


def to_descriptor(number: int, name: str) -> BinaryIO:
    """Return a file that writes to a descriptor and closes it. The file's errors have the given name."""
    return io.BufferedWriter(_Output(number, "wb", name))


def open_to_add(path: AnyPath) -> BinaryIO:
    """Return an existing file, open for reading and writing.

    Raises
    ------
    OSError
        The file cannot be opened.
    """
    return io.BufferedRandom(_Output(path, "r+b", os.fspath(path)))


@contextmanager
def spooled(source: BinaryIO) -> Iterator[Path]:
    """Yield the path of a temporary file with all bytes of a stream. The file is removed afterwards.

    Readers that seek and other processes can use it.

    Raises
    ------
    OSError
        The stream cannot be read, or the file cannot be written.
    """
    path = Path(tempfile.gettempdir()) / f"vlae-{secrets.token_hex(8)}.tmp"

    def remove() -> None:
        path.unlink(missing_ok=True)

    with undoing(remove):
        with _lock:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(number, "wb") as file:
            shutil.copyfileobj(source, file)
        yield path
        remove()
