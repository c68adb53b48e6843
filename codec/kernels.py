"""First use: the kernels are compiled for this machine's processor once, and kept in numba's cache.

The cache lies beside the modules or, where the installation is read-only, in the user's cache folder
(``NUMBA_CACHE_DIR`` names another).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Timer

import numpy as np

from codec.container import Latents
from codec.model import load_model
from codec.vlae import decode, encode

PATIENCE_S = 1.5
"""Loading compiled kernels takes less; whoever waits longer is told why."""


def prepare(announce: Callable[[str], None]) -> None:
    """Load or compile all kernels by coding a tiny image.

    Parameters
    ----------
    announce : callable
        Called with one line if compiling is what takes the time.
    """
    timer = Timer(PATIENCE_S, announce, ["compiling for this machine, once: about half a minute"])
    timer.start()
    try:
        model = load_model()
        rows = 3 * model.tile  # three bands: the first gets its bits back
        samples = np.zeros((rows, 2, 3), dtype=np.uint8)
        coded = encode(model, samples, 0, Latents.BITS_BACK)
        table, shape = coded.band_table, samples.shape
        decode(model, coded.payload, table, shape, 0, coded.latents, coded.lanes, coded.band_height)
    finally:
        timer.cancel()
