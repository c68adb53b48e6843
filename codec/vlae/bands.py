"""An image, or a tensor, as the VLAE coder sees it: bands of rows, each a bits-back codec of its own.

Band s has latents z_s, and is coded with

    prior p(z_s), likelihood p(x_s | x_<s, z_s), posterior q(z_s | x_s).

See FORMAT.md, "Bands".
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from codec.encoder import search
from codec.entropy.bits_back import Codec, Intervals, bits_back, mixture, mixture_intervals, push_intervals, two_part
from codec.entropy.mixtures import load_tables
from codec.entropy.rans import PRECISION, Message, check_not_dry, empty_message, random_message, reserve
from codec.errors import ModelError
from codec.format.headers import Latents
from codec.frozen.likelihood import Band, Raster, make_work
from codec.frozen.model import Model
from codec.frozen.prior import code_latents
from codec.networks.products import I16
from codec.networks.transform import PATCH
from codec.vlae.pipeline import CHUNK, Ready
from codec.vlae.wavefront import BATCH, DECODE, ENCODE, MEASURE, code_band, push_band, wave_count

LANES = 2
"""Lanes of a file with more than one band: as many threads can decode it."""

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


def _at_once(waves: int) -> None:
    """Wait for nothing: encoding knows all pixels."""


class Image:
    """An image while it is coded, or a tensor: its raster, its bands and their codecs.

    Parameters
    ----------
    model : Model
    raster : uint8 or int16 array (H, W, channels of the model's layout), contiguous
        What is decoded; a grey image has its channel three times.
    source : array like ``raster``, contiguous
        What is coded, if it is known; of a raster that is coded exactly, the raster itself.
    channels : int
        Those that are coded: all of the layout, or 1 of a grey image.
    condition : int
        Row of the model's biases: d of an image that is coded within d, quality - 1 of a tensor.
    lanes : int
        At most one a band.

    Attributes
    ----------
    max_error : int
        d of an image, 0 of a tensor.
    known : int, prices : int64 array (channels,), or empty, worth : int64 array (H * W,), or empty
        See `codec.frozen.likelihood.Band`.
    moved : int64 array (bias count,) or None
        Adaptation of the biases.
    dry : bool
        Whether the messages hold nothing yet when the image is encoded, so that the last band of each lane has
        nothing to borrow; not so of images in an archive that are encoded onto others.
    tiles : int
        Of a band.
    z : list of int64 arrays (tiles, latents) or None
        Latents of the bands coded so far.

    Raises
    ------
    ModelError
        The model has no such condition.
    """

    def __init__(
        self, model: Model, raster: Raster, source: Raster, channels: int, condition: int, lanes: int = LANES
    ) -> None:
        if not 0 <= condition < model.conditions:
            raise ModelError(f"model {model.number}: serves conditions up to {model.conditions - 1}, got {condition}")
        self.model = model
        self.raster = raster
        self.source = source
        self.channels = channels
        self.condition = condition
        self.max_error: int = condition if model.kind == "samples" else 0
        self.height: int = raster.shape[0]
        self.width: int = raster.shape[1]
        self.rows: int = model.band * model.tile
        self.bands: int = -(-self.height // self.rows)
        self.lanes: int = min(lanes, self.bands)
        self.across: int = -(-self.width // model.tile)
        self.tiles: int = model.band * self.across
        self.table = load_tables()
        self.latent_table = model.latent_tables
        self.prior_net = model.prior(condition)
        self.known = 0
        self.prices: I64 = np.zeros(0, dtype=np.int64)
        self.worth: I64 = np.zeros(0, dtype=np.int64)
        self.moved: I64 | None = None
        self.dry = True
        self.z: list[I64 | None] = [None] * self.bands
        self._posteriors: dict[int, I64] = {}

    @classmethod
    def of(cls, model: Model, values: Raster, condition: int) -> Image:
        """Return what is to be encoded.

        Parameters
        ----------
        values : uint8 array (H, W, 3 or 1) of samples, or int16 array (H, W, C) of a tensor
        condition : as of the class

        Raises
        ------
        TypeError, ValueError
            The model does not code such values.
        """
        layout = model.layout
        channels = len(layout.order)
        if values.dtype != model.dtype:
            raise TypeError(f"values: expected {model.dtype} of model {model.number}, got {values.dtype}")
        if values.shape[2] not in ({1, channels} if model.kind == "samples" else {channels}):
            raise ValueError(f"values: expected {channels} channels, got {values.shape[2]}")
        if values.min() < layout.low or values.max() > layout.high:
            raise ValueError(f"values: expected {layout.low} to {layout.high}, got {values.min()} to {values.max()}")
        source = np.array(np.broadcast_to(values, (*values.shape[:2], channels)))
        image = cls(model, source, source, values.shape[2], condition)
        if image.max_error:  # it is rounded
            image.raster = source.copy()
        return image

    @classmethod
    def blank(cls, model: Model, shape: tuple[int, int, int], condition: int, lanes: int) -> Image:
        """Return what is to be decoded, of a shape (H, W, channels that are coded)."""
        raster = np.zeros((*shape[:2], len(model.layout.order)), dtype=model.dtype)
        return cls(model, raster, raster, shape[2], condition, lanes)

    @property
    def band_height(self) -> int:
        """Rows of pixels in a band: a position of a tensor stands for `codec.networks.transform.PATCH` of them."""
        return self.rows * (PATCH if self.model.kind == "tensor" else 1)

    @property
    def samples(self) -> Raster:
        """The decoded samples (H, W, channels), or values of a tensor."""
        return np.ascontiguousarray(self.raster[..., : self.channels])

    def _rows(self, top: int, rows: int, biases: I32, features: I16) -> Band:
        flat = self.raster.reshape(-1), self.source.reshape(-1)
        places = len(self.model.layout.sizes) if self.channels == self.raster.shape[2] else 1
        prices = self.prices, self.worth
        return Band(*flat, self.width, top, rows, places, self.max_error, self.known, *prices, biases, features)

    def band(self, index: int, z: I64 | None) -> Band:
        """Return a band with what its latents and the adaptation say to the likelihood."""
        top = index * self.rows
        rows = min(self.rows, self.height - top)
        biases = self.model.biases(z, self.condition, self.tiles, self.moved)
        features = self.model.networks.features(z, self.model.band, self.across)[:rows, : self.width]
        return self._rows(top, rows, biases, features.reshape(features.shape[0] * features.shape[1], features.shape[2]))

    @property
    def is_adaptable(self) -> bool:
        """Whether an adaptation could win back what it costs; it is made for images only."""
        return self.model.adaptable and self.height * self.width >= search.LEAST_PIXELS

    def adapt(self, latents: bool, steps: int, pool: Executor, workers: int) -> I64:
        """Return an adaptation (bias count,) that shortens the image with its latents at their mode, or off."""
        modes = [self.mode(index) if latents else None for index in range(self.bands)]
        biases = [self.model.biases(z, self.condition, self.tiles, None) for z in modes]
        whole = self._rows(0, self.height, np.concatenate(biases), np.zeros((1, 0), dtype=np.int16))
        net, units = self.model.network, self.model.adaptation_units
        return search.adapt(whole, net, units, self.table, steps, pool, workers)

    @property
    def wave_counts(self) -> list[int]:
        """Waves of each band."""
        heights = (min(self.rows, self.height - top) for top in range(0, self.height, self.rows))
        return [wave_count(self.width, rows) for rows in heights]

    def area(self, index: int) -> Raster:
        """Return a band's pixels (rows, columns, channels), the last row and column repeated to fill tiles."""
        area = self.source[index * self.rows : (index + 1) * self.rows]
        more = self.rows - len(area), -self.width % self.model.tile
        return np.pad(area, ((0, more[0]), (0, more[1]), (0, 0)), "edge") if any(more) else area

    def posterior_raw(self, index: int) -> I64:
        """Return the raw posterior parameters (tiles * latents, 3) of a band."""
        if index not in self._posteriors:
            self._posteriors[index] = self.model.networks.posterior(self.area(index), self.condition)
        return self._posteriors[index]

    def posterior(self, index: int) -> Codec:
        """Return the codec of a band's z (tiles, latents) under q(z|x)."""
        symbols = mixture(self.posterior_raw(index), self.model.grid, self.latent_table)
        limit = self.model.grid.count // 2

        def push(message: Message, z: I64) -> Message:
            return symbols.push(message, z.reshape(-1) + limit)

        def pop(message: Message) -> tuple[Message, I64]:
            message, flat = symbols.pop(message)
            return message, flat.reshape(self.tiles, -1) - limit

        return Codec(push, pop)

    def draw(self, index: int, seed: int) -> I64:
        """Return latents (tiles, latents) of a band that a seed draws from q(z|x)."""
        _, z = self.posterior(index).pop(random_message(self.tiles * self.model.latents + 2, seed))
        return z  # type: ignore[no-any-return]

    def mode(self, index: int) -> I64:
        """Return the grid points nearest to the posterior's means, (tiles, latents)."""
        return ((self.posterior_raw(index)[:, 1] + 128) >> 8).reshape(self.tiles, -1)

    def prior_intervals(self, z: I64) -> Intervals:
        """Return the intervals of z (tiles, latents) under p(z)."""
        starts = np.zeros(z.shape, dtype=np.uint32)
        freqs = np.zeros(z.shape, dtype=np.uint32)
        net, grid, unused = self.prior_net, self.model.grid, empty_message(1)
        bits = code_latents(False, z, self.across, net, grid, self.latent_table, unused, starts, freqs)
        return Intervals(starts.reshape(-1), freqs.reshape(-1), bits)

    def posterior_intervals(self, index: int, z: I64) -> Intervals:
        """Return the intervals of z (tiles, latents) under q(z|x)."""
        symbols = z.reshape(-1) + self.model.grid.count // 2
        return mixture_intervals(symbols, self.posterior_raw(index), self.model.grid, self.latent_table)

    @property
    def prior(self) -> Codec:
        """Codec of a band's z under p(z)."""

        def push(message: Message, z: I64) -> Message:
            intervals = self.prior_intervals(z)
            message = reserve(message, z.size)
            push_intervals(message, intervals.starts, intervals.freqs)
            return message

        def pop(message: Message) -> tuple[Message, I64]:
            z = np.zeros((self.tiles, self.model.latents), dtype=np.int64)
            net, grid = self.prior_net, self.model.grid
            code_latents(True, z, self.across, net, grid, self.latent_table, message, _NOTHING[0], _NOTHING[0])
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
        bits = code_band(mode, batches, band, self.model.network, self.table, unused, starts, freqs, work)
        return Intervals(starts, freqs, bits)

    def in_waves(self, mode: int, index: int, z: I64 | None, message: Message, ready: Ready) -> None:
        """Decode, round or choose a band's rows of the raster; ``ready(waves)`` comes before each chunk of waves."""
        band, net = self.band(index, z), self.model.network
        work = make_work(net, self.rows)
        count = wave_count(band.width, band.rows)
        for begin in range(0, count, CHUNK):
            end = min(begin + CHUNK, count)
            ready(end)
            code_band(mode, (begin, end, 1), band, net, self.table, message, _NOTHING, _NOTHING, work)
            check_not_dry(message)

    def likelihood(self, index: int, ready: Ready) -> Callable[[I64 | None], Codec]:
        """Return p(x|z) of a band: from z to the codec of its rows of the raster.

        The raster itself is read and written, so the value that is pushed or popped is the band's index.
        `in_waves` says what ``ready`` is.
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
                self.in_waves(DECODE, index, z, message, ready)
                return message, index

            return Codec(push, pop)

        return codec

    def is_dry(self, index: int) -> bool:
        """Return whether a band finds no bits to borrow: it is the first that is encoded in its lane."""
        return self.dry and index >= self.bands - self.lanes

    def codec(self, index: int, latents: Latents, ready: Ready = _at_once) -> Codec:
        """Return the codec of a band; its value is the band's index."""
        likelihood = self.likelihood(index, ready)
        if latents == Latents.NONE:
            return likelihood(None)
        if latents == Latents.TWO_PART or self.is_dry(index):
            return two_part(self.prior, likelihood, self.mode)
        return bits_back(self.prior, likelihood, self.posterior)


_NOTHING = np.zeros((1, 1, 1), dtype=np.uint32)
"""Stands for the intervals that decoding does not write."""
