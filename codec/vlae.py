"""The VLAE coder of an integer tensor: bands of rows, each a bits-back codec of its own.

Band s has latents z_s, and is coded with

    prior p(z_s), likelihood p(x_s | x_<s, z_s), posterior q(z_s | x_s).

Encoded from the last band to the first and decoded from the first to the last, a band borrows the
bits that choose its z from the bands below it. Bands go in turn to the lanes of the file, each a
message of its own, so that as many bands are worked at once. In the last band of each lane there
is nothing to borrow yet: its z is the posterior's mode and is not returned.
See FORMAT.md, "Bands".
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from codec.coders import Codec, Intervals, bits_back, mixture, mixture_intervals, push_intervals, two_part
from codec.container import Latents
from codec.distributions import load_tables, sample_grid
from codec.errors import CorruptDataError, UnsupportedError
from codec.model import Model, prior_intervals, prior_pop
from codec.rans import (
    PRECISION,
    Message,
    check_not_dry,
    empty_message,
    flatten,
    is_empty,
    random_message,
    reserve,
    unflatten,
)
from codec.wavefront import BATCH, DECODE, ENCODE, MEASURE, Band, code_band, lag, make_work, push_band, wave_count

LANES = 2
"""Lanes of a file with more than one band: as many threads can decode it."""
CHUNK = 32
"""Waves between two looks at the band above."""
ESTIMATE_EVERY = 24
"""An estimate of the code length looks at one batch of pixels in so many."""

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Encoded:
    """What `encode` returns: the parts of a file, and what its decoder will put out.

    Attributes
    ----------
    latents : Latents
    lanes, band_height : int
    band_table : int64 array (bands,)
        Words in the band's lane when its decoding begins.
    payload : bytes
    decoded : uint8 array (H, W, C)
    z : list of int64 arrays (tiles, latents), or None for a band without
    """

    latents: Latents
    lanes: int
    band_height: int
    band_table: I64
    payload: bytes
    decoded: U8
    z: list[I64 | None]


class Image:
    """An image while it is coded: its raster, its bands and their codecs.

    Parameters
    ----------
    model : Model
    raster : uint8 array (H, W, 3), contiguous
        Decoded samples; a grey image has its channel three times.
    channels : int
        3, or 1 for a grey image.
    max_error : int
    lanes : int
        At most one a band.

    Attributes
    ----------
    z : list of int64 arrays (across, latents) or None
        Latents of the bands coded so far.
    """

    def __init__(self, model: Model, raster: U8, channels: int, max_error: int, lanes: int = LANES) -> None:
        if max_error > model.max_error:
            raise UnsupportedError(f"model {model.number}: serves errors up to {model.max_error}, got {max_error}")
        self.model = model
        self.raster = raster
        self.channels = channels
        self.max_error = max_error
        self.height: int = raster.shape[0]
        self.width: int = raster.shape[1]
        self.rows: int = model.tile
        self.bands: int = -(-self.height // self.rows)
        self.lanes: int = min(lanes, self.bands)
        self.across: int = -(-self.width // model.tile)
        self.grid = sample_grid(max_error)
        self.table = load_tables()
        self.prior_net = model.prior(max_error)
        self.z: list[I64 | None] = [None] * self.bands
        self._posteriors: dict[int, I64] = {}

    def band(self, index: int, z: I64 | None) -> Band:
        """Return a band with the biases that its latents set."""
        top = index * self.rows
        biases = self.model.biases(z, self.max_error, self.across)
        rows = min(self.rows, self.height - top)
        return Band(self.raster.reshape(-1), self.width, top, rows, self.channels, self.max_error, biases)

    def waves(self, index: int) -> int:
        """Return the number of waves of a band."""
        return wave_count(self.width, min(self.rows, self.height - index * self.rows))

    def tiles(self, index: int) -> U8:
        """Return a band's tiles (across, T, T, 3), their last row and column repeated to fill them."""
        t = self.model.tile
        area = self.raster[index * self.rows : (index + 1) * self.rows]
        padded = np.pad(area, ((0, t - len(area)), (0, -self.width % t), (0, 0)), "edge")
        return np.ascontiguousarray(padded.reshape(t, self.across, t, 3).swapaxes(0, 1))

    def posterior_raw(self, index: int) -> I64:
        """Return the raw posterior parameters (across * latents, 3) of a decoded band."""
        if index not in self._posteriors:
            self._posteriors[index] = self.model.posterior(self.tiles(index), self.max_error)
        return self._posteriors[index]

    def posterior(self, index: int) -> Codec:
        """Return the codec of a band's z (across, latents) under q(z|x)."""
        symbols = mixture(self.posterior_raw(index), self.model.grid)
        limit = self.model.grid.count // 2

        def push(message: Message, z: I64) -> Message:
            return symbols.push(message, z.reshape(-1) + limit)

        def pop(message: Message) -> tuple[Message, I64]:
            message, flat = symbols.pop(message)
            return message, flat.reshape(self.across, -1) - limit

        return Codec(push, pop)

    def mode(self, index: int) -> I64:
        """Return the grid points nearest to the posterior's means, (across, latents)."""
        return ((self.posterior_raw(index)[:, 1] + 128) >> 8).reshape(self.across, -1)

    def prior_intervals(self, z: I64) -> Intervals:
        """Return the intervals of z (across, latents) under p(z)."""
        starts = np.zeros(z.shape, dtype=np.uint32)
        freqs = np.zeros(z.shape, dtype=np.uint32)
        bits = prior_intervals(z, self.across, self.prior_net, self.model.grid, self.table, starts, freqs)
        return Intervals(starts.reshape(-1), freqs.reshape(-1), bits)

    def posterior_intervals(self, index: int, z: I64) -> Intervals:
        """Return the intervals of z (across, latents) under q(z|x)."""
        return mixture_intervals(z.reshape(-1) + self.model.grid.count // 2, self.posterior_raw(index), self.model.grid)

    @property
    def prior(self) -> Codec:
        """Codec of a band's z under p(z)."""

        def push(message: Message, z: I64) -> Message:
            intervals = self.prior_intervals(z)
            message = reserve(message, z.size)
            push_intervals(message, intervals.starts, intervals.freqs)
            return message

        def pop(message: Message) -> tuple[Message, I64]:
            z = np.zeros((self.across, self.model.latents), dtype=np.int64)
            prior_pop(message, self.across, self.prior_net, self.model.grid, self.table, z)
            check_not_dry(message)
            return message, z

        return Codec(push, pop)

    def pixel_intervals(self, index: int, z: I64 | None, *, every: int = 1, ideal: bool = False) -> Intervals:
        """Return the intervals (rows, W, C) of a band's pixels; 0 where ``every`` leaves a batch out."""
        band = self.band(index, z)
        starts = np.zeros((band.rows, self.width, self.channels), dtype=np.uint32)
        freqs = np.zeros_like(starts)
        batches = (0, -(-band.rows * self.width // BATCH), every)
        work = make_work(self.model.network, BATCH)
        mode = MEASURE if ideal else ENCODE
        unused = empty_message(1)
        bits = code_band(mode, batches, band, self.model.network, self.grid, self.table, unused, starts, freqs, work)
        return Intervals(starts, freqs, bits)

    def likelihood(self, index: int, ready: Callable[[int], None] | None = None) -> Callable[[I64 | None], Codec]:
        """Return p(x|z) of a band: from z to the codec of its rows of the raster.

        The raster itself is read and written, so the value that is pushed or popped is the band's index.
        ``ready(waves)`` is called before that many waves are decoded, and may wait.
        """

        def codec(z: I64 | None) -> Codec:
            self.z[index] = z

            def push(message: Message, _: int) -> Message:
                intervals = self.pixel_intervals(index, z)
                # A push can take 1/128 more than its bits: the head is divided by a frequency, rounding down.
                message = reserve(message, int(intervals.coded_bits * (1 + 1 / 64) / PRECISION) + 4)
                push_band(message, intervals.starts, intervals.freqs)
                return message

            def pop(message: Message) -> tuple[Message, int]:
                band, net = self.band(index, z), self.model.network
                work = make_work(net, self.rows)
                count = self.waves(index)
                for begin in range(0, count, CHUNK):
                    end = min(begin + CHUNK, count)
                    if ready is not None:
                        ready(end)
                    waves = (begin, end, 1)
                    code_band(DECODE, waves, band, net, self.grid, self.table, message, _NOTHING, _NOTHING, work)
                    check_not_dry(message)
                return message, index

            return Codec(push, pop)

        return codec

    def is_dry(self, index: int) -> bool:
        """Return whether a band is the first that is encoded in its lane."""
        return index >= self.bands - self.lanes

    def codec(self, index: int, latents: Latents, ready: Callable[[int], None] | None = None) -> Codec:
        """Return the codec of a band; its value is the band's index."""
        likelihood = self.likelihood(index, ready)
        if latents == Latents.NONE:
            return likelihood(None)
        if latents == Latents.TWO_PART or self.is_dry(index):
            return two_part(self.prior, likelihood, self.mode)
        return bits_back(self.prior, likelihood, self.posterior)


_NOTHING = np.zeros((1, 1, 1), dtype=np.uint32)
"""Stands for the intervals that decoding does not write."""


def quantise(samples: U8, max_error: int) -> U8:
    """Return the samples that are coded: on the grid of step 2 d + 1, nowhere further than d away."""
    if max_error == 0:
        return samples
    step = 2 * max_error + 1
    return np.minimum((samples.astype(np.int16) + max_error) // step * step, 255).astype(np.uint8)


def _raster(samples: U8) -> U8:
    return np.array(np.broadcast_to(samples, (*samples.shape[:2], 3)))


def _threads(image: Image, threads: int | None) -> int:
    return image.lanes if threads is None else max(1, min(threads, image.lanes))


def choose_latents(image: Image, threads: int) -> Latents:
    """Return how latents are coded best, estimated from some of the pixels.

    Bits-back pays for samples of the posterior but gets their bits back; two parts pay for its mode
    in full; without latents nothing is paid and the likelihood knows less.
    """

    def band(index: int) -> tuple[float, float, float]:
        words = random_message(image.across * image.model.latents + 2, seed=index)
        _, sample = image.posterior(index).pop(words)
        mode = image.mode(index)
        two = image.prior_intervals(mode).coded_bits + pixels(index, mode)
        back = two
        if not image.is_dry(index):
            latent = image.prior_intervals(sample).coded_bits - image.posterior_intervals(index, sample).coded_bits
            back = latent + pixels(index, sample)
        return pixels(index, None), back, two

    def pixels(index: int, z: I64 | None) -> float:
        freqs = image.pixel_intervals(index, z, every=ESTIMATE_EVERY).freqs
        freqs = freqs[freqs > 0]
        return ESTIMATE_EVERY * float(PRECISION * freqs.size - np.log2(freqs, dtype=np.float64).sum())

    with ThreadPoolExecutor(threads) as pool:
        none, back, two = np.sum(list(pool.map(band, range(image.bands))), 0)
    if none <= min(back, two):
        return Latents.NONE
    return Latents.BITS_BACK if back < two else Latents.TWO_PART


def encode(
    model: Model,
    samples: U8,
    max_error: int,
    latents: Latents | None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Return the code of samples (H, W, C), C = 1 or 3, within ``max_error``; `decode` undoes it.

    ``latents`` None takes what makes the file shortest.
    """
    decoded = quantise(samples, max_error)
    image = Image(model, _raster(decoded), samples.shape[2], max_error)
    workers = _threads(image, threads)
    table = np.zeros(image.bands, dtype=np.int64)
    done: list[int] = []

    def lane(number: int) -> bytes:
        message = empty_message()
        for index in reversed(range(number, image.bands, image.lanes)):
            message = image.codec(index, mode).push(message, index)
            table[index] = message.size[0]
            done.append(index)
            if progress is not None:
                progress(len(done), image.bands)
        return flatten(message)

    with threadpoolctl.threadpool_limits(1, "blas"):
        mode = choose_latents(image, workers) if latents is None else latents
        with ThreadPoolExecutor(workers) as pool:
            payload = b"".join(pool.map(lane, range(image.lanes)))
    return Encoded(mode, image.lanes, image.rows, table, payload, decoded, image.z)


class _Waves:
    """How many waves of each band are decoded: what the thread of the band below waits for."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.done = [0] * image.bands
        self.failed = False
        self.changed = Condition()

    def wait(self, band: int, waves: int) -> None:
        """Wait until so many waves of a band can be decoded; say so of the band's earlier waves."""
        needed = 0
        if band:
            needed = min(self.image.waves(band - 1), waves + lag(self.image.rows))
        with self.changed:
            self.done[band] = (waves - 1) // CHUNK * CHUNK
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.failed or needed == 0 or self.done[band - 1] >= needed)
            if self.failed:
                raise CorruptDataError("message: a band above could not be decoded")

    def finish(self, band: int) -> None:
        """Say that a band is decoded."""
        with self.changed:
            self.done[band] = self.image.waves(band)
            self.changed.notify_all()

    def fail(self) -> None:
        """Let nobody wait any longer."""
        with self.changed:
            self.failed = True
            self.changed.notify_all()


def decode(
    model: Model,
    payload: bytes,
    band_table: I64,
    shape: tuple[int, int, int],
    max_error: int,
    latents: Latents,
    lanes: int,
    band_height: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> U8:
    """Return the samples (H, W, C) that `encode` coded.

    Raises
    ------
    CorruptDataError
        The payload does not hold these samples.
    """
    image = decode_image(
        model, payload, band_table, shape, max_error, latents, lanes, band_height, threads=threads, progress=progress
    )
    return image.raster if shape[2] == 3 else np.ascontiguousarray(image.raster[..., :1])


def decode_image(
    model: Model,
    payload: bytes,
    band_table: I64,
    shape: tuple[int, int, int],
    max_error: int,
    latents: Latents,
    lanes: int,
    band_height: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Image:
    """Return the image as `decode` does, together with the latents that its file holds."""
    if band_height != model.tile:
        raise CorruptDataError(f"header: bands of model {model.number} have {model.tile} rows, got {band_height}")
    height, width, channels = shape
    image = Image(model, np.zeros((height, width, 3), dtype=np.uint8), channels, max_error, lanes)
    messages = []
    begin = 0
    for lane in range(image.lanes):
        end = begin + 8 + 4 * int(band_table[lane])
        messages.append(unflatten(payload[begin:end]))
        begin = end
    waves = _Waves(image)
    done: list[int] = []

    def band(index: int) -> None:
        lane = index % image.lanes
        if messages[lane].size[0] != band_table[index]:
            raise CorruptDataError(
                f"band {index}: expected {band_table[index]} words in its lane, got {messages[lane].size[0]}"
            )
        codec = image.codec(index, latents, lambda count: waves.wait(index, count))
        messages[lane], _ = codec.pop(messages[lane])
        waves.finish(index)
        done.append(index)
        if progress is not None:
            progress(len(done), image.bands)

    def worker(first: int, step: int) -> None:
        try:
            for index in range(first, image.bands, step):
                band(index)
        except BaseException:
            waves.fail()
            raise

    with threadpoolctl.threadpool_limits(1, "blas"):
        # A single thread takes the bands as they come, several one lane each.
        workers = image.lanes if _threads(image, threads) == image.lanes else 1
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(worker, first, workers) for first in range(workers)]
        errors = [e for e in (f.exception() for f in futures) if e is not None]
        for error in sorted(errors, key=lambda e: "above" in str(e)):
            raise error
    for number, message in enumerate(messages):
        if not is_empty(message):
            raise CorruptDataError(f"message: lane {number} holds more than the image")
    return image
