"""The first use on a machine: the kernels are compiled once for its processor, and kept in numba's cache.

The cache lies beside the modules or, where the installation is read-only, in the user's cache folder
(``NUMBA_CACHE_DIR`` names another).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba.core.event import Event, Listener, install_listener

from codec.compiled import uncached
from codec.encoder.encoding import Encoded, encode
from codec.encoder.search import adapt
from codec.format.headers import Latents
from codec.frozen.model import Model
from codec.frozen.shipped import LOSSY, load_model
from codec.images import lossy_encoder
from codec.images.goals import DEFAULT_EFFORT, EFFORTS
from codec.networks.transform import PATCH
from codec.vlae.decoding import decode_bands
from codec.vlae.image import Image


class _Announcer(Listener):  # type: ignore[misc]
    """Calls a function with a line before the first kernel is compiled. A kernel that is loaded does not count."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.announce = announce
        self.said = False

    def on_start(self, event: Event) -> None:
        """Announce the first compilation."""
        if not self.said:
            self.said = True
            self.announce(f"compiling for this machine, {'at each start' if uncached else 'once'}: about half a minute")
            if uncached:
                self.announce("no folder for what is compiled can be written, NUMBA_CACHE_DIR names another one")

    def on_end(self, event: Event) -> None:
        """Do nothing."""


def prepare(announce: Callable[[str], None], *, for_lossy: bool, effort: int = DEFAULT_EFFORT) -> None:
    """Load or compile all kernels, by coding a tiny image.

    Parameters
    ----------
    announce : callable
        Called with a line before the first kernel is compiled, and with another if that is so at each start. It is not
        called if all kernels can be loaded.
    for_lossy : bool
        Whether to load the kernels of lossy files; if not, those of exact and near-lossless files.
    effort : int
        Effort of lossy files. The highest one has a search of its own, whose kernels take as long again to compile.
    """
    with install_listener("numba:compile", _Announcer(announce)):
        if for_lossy:
            _code_lossy(effort)
        else:
            _code_samples()


def _code_samples() -> None:
    model = load_model()
    # Three bands: the first gets its bits back.
    samples = np.zeros((3 * model.tile, 2, 3), dtype=np.uint8)
    encoded = encode(model, samples, 0, Latents.BITS_BACK)
    encode(model, samples, 1, Latents.NONE)
    image = _decode(model, encoded)
    with ThreadPoolExecutor(1) as pool:
        adapt(image, False, 1, pool, 1)


def _code_lossy(effort: int) -> None:
    model = load_model(LOSSY)
    rows = np.arange(3 * PATCH * model.tile) % 256
    samples = rows.astype(np.uint8).repeat(3).reshape(-1, 1, 3)
    for each in {DEFAULT_EFFORT, effort} & set(EFFORTS):
        coded = lossy_encoder.encode(model, samples, 1, Latents.NONE, effort=each)
    _decode(model, coded.encoded)


def _decode(model: Model, encoded: Encoded) -> Image:
    """Decode what was encoded at condition 0."""
    image = Image.blank(model, encoded.samples.shape, 0, encoded.lanes)
    decode_bands(image, encoded.payload, encoded.lane_table, encoded.latents)
    return image
