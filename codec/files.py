"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file by way of a temporary one beside it, see `replacement`.

    What is no regular file (``/dev/null``, a pipe) is written directly.

    Raises
    ------
    OSError
        The folder is missing or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    with replacement(target) as file:
        file.write(data)


@contextmanager
def replacement(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a temporary file which takes the place of a file at the end.

    On failure the old file is as it was and the temporary one is gone. A link's target is
    replaced, not the link.

    Raises
    ------
    OSError
        The folder is missing or the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
