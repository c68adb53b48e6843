"""How kernels are compiled: without the GIL, and cached on disk where some folder can be written.

numba knows a cached kernel by the source of its own module alone. But functions and constants of other modules are
compiled into it, so here the files of a kernel are named by a hash of its module's source and of all that this
imports of the package. Each signature has a file of its own, which appears as a whole: processes that compile at the
same time do not disturb each other. When one is saved, those of other sources go.
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

ROOT = Path(__file__).parent
HASH_DIGITS = 16
VERSIONS = numba.__version__, f"{sys.version_info[:2]}", getattr(sys, "abiflags", "")
"""What else a compiled kernel depends on, beside its sources, its signature and the processor."""

_IMPORT = re.compile(rf"^\s*(?:from|import)\s+({ROOT.name}[\w.]*)(?:\s+import\s+(\([^)]*\)|.*))?", re.MULTILINE)

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Return a function compiled at its first call; the result is cached between processes.

    Notes
    -----
    The cache lies where numba has it: in ``NUMBA_CACHE_DIR`` if that is set, else beside the module, else in the
    user's cache folder. Where none can be written the function is compiled anew in every process.
    """
    compiled = njit(nogil=True)(function)
    with suppress(RuntimeError):
        compiled._cache = _Cache(function)
    return compiled  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _read(name: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a module's source and the names that it may import of its package; nothing of what is no module."""
    folder = ROOT.joinpath(*name.split(".")[1:])
    path = next((path for path in (folder / "__init__.py", folder.with_suffix(".py")) if path.is_file()), None)
    if path is None:
        return b"", ()
    source = path.read_bytes()
    found = _IMPORT.findall(source.decode("utf-8"))
    taken = [f"{module}.{name}" for module, names in found for name in re.findall(r"\w+", names)]
    return source, (*(module for module, _ in found), *taken)


def sources(module: str) -> dict[str, bytes]:
    """Return the sources of a module and of all that it imports of its package, by their names."""
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], names = _read(name)
            waiting += names
    return {name: source for name, source in sorted(found.items()) if source}


def _digest(*parts: bytes) -> str:
    """Return the hash of some parts, each with its length before it."""
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "little") + part)
    return made.hexdigest()[:HASH_DIGITS]


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """The files of a kernel in its folder, ``KERNEL.SOURCES.KEY.nbc``; those of numba have numbers and an index."""

    def __init__(self, folder: str, function: Callable[..., object]) -> None:
        self.module = function.__module__
        self.name = f"{function.__module__}.{function.__qualname__}"
        super().__init__(folder, self.name, None)

    def _begin(self) -> str:
        """Return what names of files begin with as long as the sources stay."""
        parts = ((name.encode(), source) for name, source in sources(self.module).items())
        return f"{self.name}.{_digest(*chain.from_iterable(parts))}."

    def _file(self, key: object) -> str:
        """Return the name of the file of a key: signature, processor and code."""
        return f"{self._begin()}{_digest(*(part.encode() for part in (*VERSIONS, repr(key))))}.nbc"

    def load(self, key: object) -> Any:
        """Return what is saved of a key; OSError if nothing is."""
        return self._load_data(self._file(key))

    def save(self, key: object, data: object) -> None:
        """Save what is compiled, and remove what other sources made."""
        self._save_data(self._file(key), data)
        self._remove(self._begin())

    def flush(self) -> None:
        """Remove all files of the kernel."""
        self._remove(None)

    def _remove(self, but: str | None) -> None:
        """Remove the files of the kernel, but those whose names begin as said."""
        for path in Path(self._cache_path).glob(f"{self.name}.*.nbc"):
            if but is None or not path.name.startswith(but):
                path.unlink(missing_ok=True)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of a function, with files of our own."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, function)

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        """Do without the cache where it fails: on a full disk, or where another process reads what is to be removed."""
        with suppress(OSError):
            yield
