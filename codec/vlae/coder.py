"""The VLAE coder of an integer tensor: chooses how its bands (`codec.vlae.bands`) are coded, and codes them.

Encoded from the last band to the first and decoded from the first to the last, a band borrows the
bits that choose its z from the bands below it. Bands go in turn to the lanes of the file, each a
message of its own, so that as many bands are worked at once. In the last band of each lane there
is nothing to borrow yet: its z is the posterior's mode and is not returned. In an archive the messages
already hold the images that come after, and they lend to that band, too.

Near-lossless coding, of images, rounds each sample around the mean that the likelihood predicts. What
is coded then depends on z, so no posterior of it could choose z: z is sent as it is, as in two-part files.
See FORMAT.md, "Bands".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from codec.encoder import search
from codec.entropy.rans import PRECISION, Message, empty_message, is_empty, unflatten
from codec.entropy.stack import Stack
from codec.errors import CorruptDataError
from codec.format.container import Container, holds, samples_demand
from codec.format.headers import BITS_MODE, OFFSETS, Fidelity, Header, Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.networks.transform import positions
from codec.system.threads import pool_of
from codec.vlae import adaptation, pipeline
from codec.vlae.bands import Image
from codec.vlae.pipeline import Progress, Ready
from codec.vlae.wavefront import CHOOSE, ROUND, lag

ESTIMATE_EVERY = 47
"""An estimate of the code length looks at one batch of pixels in so many: a prime, so that no width
makes the batches stand below each other. Tensors, and images of models of small ones, are looked at whole."""

ESTIMATE_PIXELS = 1 << 12
"""At least so many are looked at to estimate the length of a lossless file."""

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """What `encode` returns: the parts of a file, and what its decoder will put out.

    Attributes
    ----------
    latents : Latents
    adaptation : bytes
        Chunk of the biases' changes, empty if there are none.
    band_height : int
    dry : bool
        See `codec.vlae.bands.Image`.
    messages : tuple of Stack
        One a lane.
    samples : uint8 array (H, W, 3 or 1), or int16 array (H, W, C) of a tensor
    """

    latents: Latents
    adaptation: bytes
    band_height: int
    dry: bool
    messages: tuple[Stack, ...]
    samples: Raster

    @property
    def lanes(self) -> int:
        """Return the number of messages."""
        return len(self.messages)

    @property
    def lane_table(self) -> tuple[int, ...]:
        """Return the words of each lane's message, its head not counted."""
        return lane_table(self.messages)

    @property
    def payload(self) -> bytes:
        """Return the messages of the lanes, laid flat."""
        return write_lanes(self.messages)


def write_lanes(messages: Sequence[Stack]) -> bytes:
    """Return messages laid flat, one after the other; the inverse of `read_lanes`."""
    return b"".join(message.flatten() for message in messages)


def lane_table(messages: Sequence[Stack]) -> tuple[int, ...]:
    """Return the words of each message, its head not counted."""
    return tuple(message.size for message in messages)


def _workers(image: Image, threads: int | None) -> int:
    return image.lanes if threads is None else max(1, min(threads, image.lanes))


def choose(image: Image, latents: Latents | None, pool: Executor, workers: int) -> tuple[Latents, I64 | None]:
    """Return how latents are coded best, and the adaptation, estimated from some of the pixels.

    Bits-back pays for samples of the posterior but gets their bits back; two parts pay for its mode
    in full; without latents nothing is paid and the likelihood knows less.
    """
    if latents is None and image.model.needs_latents and not image.dry:
        return Latents.BITS_BACK, None
    allowed = list(Latents) if latents is None else [latents]
    if image.max_error:  # no posterior could choose z
        allowed = [mode for mode in allowed if mode != Latents.BITS_BACK] or [Latents.TWO_PART]

    every = ESTIMATE_EVERY if image.model.adaptable else 1

    def cost(candidate: tuple[Latents, I64 | None]) -> float:
        mode, image.moved = candidate
        bits = sum(pool.map(lambda index: _estimate(image, index, mode, every), range(image.bands)))
        return bits + 8 * len(adaptation.pack(image.moved, image.model.network))

    def adapted(latents: bool, steps: int) -> I64:
        return image.adapt(latents, steps, pool, workers)

    def shortest(candidates: list[tuple[Latents, I64 | None]]) -> tuple[Latents, I64 | None]:
        return candidates[0] if len(candidates) == 1 else min(candidates, key=cost)

    if not image.is_adaptable:
        return shortest([(mode, None) for mode in allowed])
    if len(allowed) > 1:
        off = cost((Latents.NONE, adapted(False, search.TRIAL_STEPS)))
        on = cost((Latents.TWO_PART, adapted(True, search.TRIAL_STEPS)))
        allowed = [mode for mode in allowed if (mode != Latents.NONE) == (on < off)]
    moved = adapted(allowed[0] != Latents.NONE, search.STEPS)
    return shortest([(mode, change) for mode in allowed for change in (moved, None)])


def _estimate(image: Image, index: int, latents: Latents, every: int) -> float:
    """Return about how many bits a band costs, from one batch of pixels in ``every``."""
    z, bits = None, 0.0
    if latents == Latents.BITS_BACK and not image.is_dry(index):
        z = image.draw(index, seed=index)
        bits -= image.posterior_intervals(index, z).coded_bits
    elif latents != Latents.NONE:
        z = image.mode(index)
    if z is not None:
        bits += image.prior_intervals(z).coded_bits
    freqs = image.pixel_intervals(index, z, every=every).freqs
    seen = freqs[freqs > 0]
    return bits + freqs.size / seen.size * float(PRECISION * seen.size - np.log2(seen, dtype=np.float64).sum())


def estimate(model: Model, samples: Raster, *, threads: int | None = None) -> float:
    """Return about how many bits a lossless file's payload has, without latents and adaptation.

    Few pixels are looked at: it takes a fiftieth of the time of coding them, but for small images.
    """
    image = Image.of(model, samples, 0)
    workers = _workers(image, threads)
    every = min(max(image.height * image.width // ESTIMATE_PIXELS, 1), ESTIMATE_EVERY)
    with pool_of(workers) as pool:
        return sum(pool.map(lambda index: _estimate(image, index, Latents.NONE, every), range(image.bands)))


def work_in_waves(
    image: Image,
    mode: int,
    latents: Callable[[int], I64 | None],
    workers: int,
    progress: Progress | None,
    message: Message | None = None,
) -> None:
    """Fill the raster of an image by `Image.in_waves`, with the ``latents`` of each band.

    Several workers take bands at the same time, unless values are popped from a ``message``.
    """

    def band(index: int, ready: Ready) -> None:
        image.in_waves(mode, index, latents(index), empty_message(1) if message is None else message, ready)

    pipeline.run(image.wave_counts, lag(image.rows), band, workers if message is None else 1, progress)


def _round(image: Image, latents: Latents, workers: int, progress: Progress | None) -> None:
    """Turn the raster into what near-lossless coding leaves of the source."""
    off = latents == Latents.NONE
    work_in_waves(image, ROUND, lambda index: None if off else image.mode(index), workers, progress)


def rounded(model: Model, samples: Raster, max_error: int) -> Raster:
    """Return what a file of samples (H, W, C) within ``max_error`` holds, if it has no latents and no adaptation.

    Returns
    -------
    Raster (H, W, 3); a grey image has its channel three times.
    """
    image = Image.of(model, samples, max_error)
    _round(image, Latents.NONE, 1, None)
    return image.raster


def optimise(
    model: Model,
    tensor: Raster,
    fine: Raster,
    condition: int,
    prices: I64,
    worth: I64,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Raster:
    """Return the tensor (H, W, C) near ``fine`` that costs least, see `codec.entropy.rate_distortion`.

    Parameters
    ----------
    tensor : int16 array (H, W, C)
        The nearest one, from which latents are taken.
    fine : int16 array (H, W, C)
        In 1/16.
    condition : int
    prices : int64 array (C,)
        1/256 bits that a squared error of one is worth.
    worth : int64 array (H, W)
        Of errors at each position, see `codec.encoder.masking.worth`.
    """
    nearest = Image.of(model, tensor, condition)
    image = Image(model, nearest.raster.copy(), fine, nearest.channels, condition)
    image.prices, image.worth = prices, worth.reshape(-1)
    work_in_waves(image, CHOOSE, nearest.mode, _workers(image, threads), progress)
    return image.raster


def encode(
    model: Model,
    samples: Raster,
    condition: int,
    latents: Latents | None,
    *,
    onto: Sequence[Stack] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Return the code of an image or a tensor; `decode` and `decode_bands` undo it.

    Parameters
    ----------
    samples : uint8 array (H, W, 3 or 1), or int16 array (H, W, C) of a tensor
    condition : int
        The largest error d of an image, quality - 1 of a tensor.
    latents : Latents or None
        None takes what makes the code shortest. Where bits-back finds too few bits to borrow, two parts are taken.
    onto : sequence of Stack
        Of the lanes, as the images that are decoded after this one left them.

    Raises
    ------
    ModelError
        The model does not serve the condition.
    TypeError, ValueError
        The model does not code such values.
    """
    image = Image.of(model, samples, condition)
    max_error = image.max_error
    image.dry = bool(max_error) or len(onto) < image.lanes
    workers = _workers(image, threads)
    done: list[int] = []
    # Bands to work: near-lossless they are rounded first, and coded then.
    total = 2 * image.bands if max_error else image.bands

    def report(rounded: int, coded: int) -> None:
        if progress is not None:
            progress(rounded + coded, total)

    def lane(number: int) -> Stack:
        bands = range(number, image.bands, image.lanes)
        # More than z is never borrowed, and to pop a symbol takes a word at most.
        words = len(bands) * image.tiles * model.latents
        message, rest = (onto[number] if number < len(onto) else Stack()).lift(words)
        for index in reversed(bands):
            message = image.codec(index, mode).push(message, index)
            done.append(index)
            report(total - image.bands, len(done))
        return rest.lay(message)

    with pool_of(workers) as pool:
        if max_error:  # to what contexts will hold, nearly
            _round(image, Latents.NONE, workers, None)
        mode, image.moved = choose(image, latents, pool, workers)
        if max_error:
            _round(image, mode, workers, lambda rounded, _: report(rounded, 0))
        while True:
            futures = [pool.submit(lane, number) for number in range(image.lanes)]
            wait(futures)
            try:
                messages = tuple(future.result() for future in futures)
                break
            except CorruptDataError:  # a message was shorter than what was to be borrowed
                if mode != Latents.BITS_BACK:
                    raise
                if image.dry:
                    mode = Latents.TWO_PART
                image.dry = True
                done.clear()
    chunk = adaptation.pack(image.moved, model.network)
    dry = image.dry or mode != Latents.BITS_BACK
    return Encoded(mode, chunk, image.band_height, dry, messages, image.samples)


def _tensor_shape(model: Model, header: Header) -> tuple[int, int, int]:
    return (*positions(header.height, header.width), len(model.layout.order))


def demand(model: Model, header: Header) -> int:
    """Return what a coded file asks of its payload: values times the symbols that each could be besides."""
    if header.fidelity == Fidelity.LOSSY:
        return prod(_tensor_shape(model, header)) * (model.layout.high - model.layout.low)
    return samples_demand(header)


def blank(model: Model, file: Container) -> Image:
    """Return the image of a coded file, or the tensor of a lossy one, before its bands are decoded.

    Raises
    ------
    CorruptDataError
        The file is not one of this model, or its adaptation is damaged.
    """
    header, coding = file.header, file.coding
    if coding is None:
        raise ValueError("expected a coded file")
    lossy = header.fidelity == Fidelity.LOSSY
    if (model.kind == "tensor") != lossy:
        raise CorruptDataError(f"header: model {model.number} does not code such files, got fidelity {header.fidelity}")
    if (model.kind == "bits") != (header.mode == BITS_MODE):
        raise CorruptDataError(f"header: model {model.number} codes {model.kind}, got mode {header.mode}")
    shape = _tensor_shape(model, header) if lossy else (header.height, header.width, header.channels)
    image = Image.blank(model, shape, header.condition, coding.lanes)
    if coding.band_height != image.band_height:
        raise CorruptDataError(
            f"header: bands of model {model.number} have {image.band_height} rows, got {coding.band_height}"
        )
    image.moved = adaptation.unpack(file.adaptation, model.network)
    return image


def decode(model: Model, file: Container, *, threads: int | None = None, progress: Progress | None = None) -> Image:
    """Return the image of a coded file, or the tensor of a lossy one, with its latents and its adaptation.

    Raises
    ------
    CorruptDataError
        The payload does not hold these samples.
    """
    coding = file.coding
    if coding is None:
        raise ValueError("expected a coded file")
    if model.kind == "tensor" and not holds(demand(model, file.header), len(file.payload)):
        raise CorruptDataError("header: asks for more values than the payload can hold", OFFSETS["width"])
    image = blank(model, file)
    decode_bands(image, file.payload, file.lane_table, coding.latents, threads=threads, progress=progress)
    return image


def decode_bands(
    image: Image,
    payload: bytes,
    lane_table: tuple[int, ...],
    latents: Latents,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decode the raster of an image or a tensor that is otherwise known; errors are those of `decode`.

    Parameters
    ----------
    image : Image
        From `Image.blank`; its adaptation is set. Then its ``samples`` are what was encoded.
    """
    messages = read_lanes(payload, lane_table)
    pop_bands(image, messages, latents, threads=threads, progress=progress)
    check_all_popped(messages)


def read_lanes(payload: bytes, lane_table: Sequence[int]) -> list[Message]:
    """Return the messages of the lanes; the inverse of `write_lanes`.

    Raises
    ------
    CorruptDataError
        A head is out of range.
    """
    messages = []
    begin = 0
    for words in lane_table:
        end = begin + 8 + 4 * words
        messages.append(unflatten(payload[begin:end]))
        begin = end
    return messages


def check_all_popped(messages: Sequence[Message]) -> None:
    """Raise CorruptDataError unless all messages are empty, as they are after the last image."""
    for number, message in enumerate(messages):
        if not is_empty(message):
            raise CorruptDataError(f"message: lane {number} holds more than the image")


def pop_bands(
    image: Image,
    messages: list[Message],
    latents: Latents,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decode the raster of an image from messages, in which those of its lanes are replaced by what is left of them.

    Parameters and errors are those of `decode_bands`.
    """

    def band(index: int, ready: Ready) -> None:
        lane = index % image.lanes
        messages[lane], _ = image.codec(index, latents, ready).pop(messages[lane])

    # A single thread takes the bands as they come, several one lane each.
    workers = image.lanes if _workers(image, threads) == image.lanes else 1
    pipeline.run(image.wave_counts, lag(image.rows), band, workers, progress)
