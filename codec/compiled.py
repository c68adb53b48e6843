"""How kernels are compiled: without the GIL, and cached on disk where some folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Return a function compiled at its first call; the result is cached between processes.

    Notes
    -----
    numba caches beside the module, else in the user's cache folder or ``NUMBA_CACHE_DIR``. Where none
    can be written it refuses to decorate; then the function is compiled anew in every process.
    """
    try:
        return njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        return njit(nogil=True)(function)  # type: ignore[no-any-return]
