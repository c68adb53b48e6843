"""Compilation of kernels: they release the GIL, and are cached on disk where a folder can be written.

numba's own cache identifies a kernel by the source of its module alone. But functions and constants of other modules
are compiled into it. So here the name of a kernel's file has a hash of the module's source and of all sources that the
module imports from the package. Each signature has a file of its own, which is renamed into place when it is complete,
so that processes that compile at the same time do not disturb each other. When a file is saved, those of other sources
are removed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

from codec.errors import UnsupportedError

if numba.config.DISABLE_JIT:
    raise UnsupportedError("NUMBA_DISABLE_JIT is set, but images are coded by compiled kernels only: unset it")

ROOT = Path(__file__).parent
HASH_DIGITS = 16
VERSIONS = numba.__version__, f"{sys.version_info[:2]}", getattr(sys, "abiflags", "")
"""Versions on which a compiled kernel depends, besides its sources, its signature and the processor."""

_IMPORT = re.compile(rf"^\s*(?:from|import)\s+({ROOT.name}[\w.]*)(?:\s+import\s+(\([^)]*\)|.*))?", re.MULTILINE)

uncached: list[str] = []
"""Names of the kernels that each process compiles anew, because no folder for the cache can be written."""

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Return a function compiled at its first call; the result is cached between processes.

    Notes
    -----
    The cache lies where numba puts it: in ``NUMBA_CACHE_DIR`` if that is set, else beside the module, else in the
    user's cache folder. If none of them can be written, each process compiles the function anew.
    """
    compiled = njit(nogil=True)(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError:
        uncached.append(function.__qualname__)
    return compiled  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _read(name: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a module's source, and the names that it imports from the package. Both are empty if it is no module."""
    folder = ROOT.joinpath(*name.split(".")[1:])
    path = next((path for path in (folder / "__init__.py", folder.with_suffix(".py")) if path.is_file()), None)
    if path is None:
        return b"", ()
    source = path.read_bytes()
    found = _IMPORT.findall(source.decode("utf-8"))
    taken = [f"{module}.{name}" for module, names in found for name in re.findall(r"\w+", names)]
    return source, (*(module for module, _ in found), *taken)


def sources(module: str) -> dict[str, bytes]:
    """Return the sources of a module and of all modules of the package that it needs, by their names."""
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], names = _read(name)
            waiting += names
    return {name: source for name, source in sorted(found.items()) if source}


def _digest(*parts: bytes) -> str:
    """Return a hash of some parts. The length of each part is hashed before it."""
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "little") + part)
    return made.hexdigest()[:HASH_DIGITS]


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """The files of a kernel in its folder, ``KERNEL.SOURCES.KEY.nbc``, in place of numba's index and files."""

    def __init__(self, folder: str, function: Callable[..., object]) -> None:
        self.module = function.__module__
        self.name = f"{function.__module__}.{function.__qualname__}"
        super().__init__(folder, self.name, None)

    def _begin(self) -> str:
        """Return the beginning of the names of the kernel's files, which depends on the sources."""
        parts = ((name.encode(), source) for name, source in sources(self.module).items())
        return f"{self.name}.{_digest(*chain.from_iterable(parts))}."

    def _file(self, key: object) -> str:
        """Return the name of the file for a key, which has signature, processor and code."""
        return f"{self._begin()}{_digest(*(part.encode() for part in (*VERSIONS, repr(key))))}.nbc"

    def load(self, key: object) -> Any:
        """Return the compiled code that is saved for a key; OSError if there is none."""
        return self._load_data(self._file(key))

    def save(self, key: object, data: object) -> None:
        """Save compiled code for a key, and remove the files that were made from other sources."""
        self._save_data(self._file(key), data)
        self._remove(self._begin())

    def flush(self) -> None:
        """Remove all files of the kernel."""
        self._remove(None)

    def _remove(self, but: str | None) -> None:
        """Remove the files of the kernel, except those whose names begin with ``but``."""
        for path in Path(self._cache_path).glob(f"{self.name}.*.nbc"):
            if but is None or not path.name.startswith(but):
                path.unlink(missing_ok=True)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of a function, with our names of files."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, function)

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        """Ignore errors of the cache: the disk may be full, or another process may read a file that is removed."""
        with suppress(OSError):
            yield
