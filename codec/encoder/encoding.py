"""From an image or a tensor to the messages of a file; `codec.vlae.decoding` is the inverse. See FORMAT.md, "Bands"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, replace

from codec.encoder.estimates import choose
from codec.encoder.rounding import round_samples, workers_of
from codec.entropy.rans import DryMessageError
from codec.entropy.stack import Stack
from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.system.threads import pool_of
from codec.vlae import adaptation, coders, lanes
from codec.vlae.image import Image
from codec.vlae.pipeline import Progress


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
        See `codec.vlae.image.Image`.
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
        return lanes.lane_table(self.messages)

    @property
    def payload(self) -> bytes:
        """Return the messages of the lanes, laid flat."""
        return lanes.write_lanes(self.messages)


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
    """Return the code of an image or a tensor; `codec.vlae.decoding` undoes it.

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
    image = replace(image, dry=bool(max_error) or len(onto) < image.lanes)
    workers = workers_of(image, threads)
    # Bands to work: near-lossless they are rounded first, and coded then.
    before = image.bands if max_error else 0
    total = before + image.bands

    def report(worked: int) -> None:
        if progress is not None:
            progress(worked, total)

    with pool_of(workers) as pool:
        if max_error:  # to what contexts will hold, nearly
            round_samples(image, Latents.NONE, workers, None)
        how, moved = choose(image, latents, pool, workers)
        image = replace(image, moved=moved)
        if max_error:
            round_samples(image, how, workers, lambda rounded, _: report(rounded))
        while True:
            try:
                messages = _push_lanes(image, how, onto, pool, lambda coded: report(before + coded))
                break
            except DryMessageError:  # a message was shorter than what was to be borrowed
                if how != Latents.BITS_BACK:
                    raise
                if image.dry:
                    how = Latents.TWO_PART
                image = replace(image, dry=True)
    chunk = adaptation.pack(moved, model.network)
    dry = image.dry or how != Latents.BITS_BACK
    return Encoded(how, chunk, image.band_height, dry, messages, image.samples)


def _push_lanes(
    image: Image, how: Latents, onto: Sequence[Stack], pool: Executor, report: Callable[[int], None]
) -> tuple[Stack, ...]:
    """Return the messages of all lanes; ``report`` is called with the bands that are pushed."""
    pushed: list[int] = []

    def done(index: int) -> None:
        pushed.append(index)
        report(len(pushed))

    def push(number: int) -> Stack:
        bands = coders.bands_of(image, number)
        # More than z is never borrowed, and to pop a symbol takes a word at most.
        words = len(bands) * image.tiles * image.model.latents
        message, rest = (onto[number] if number < len(onto) else Stack()).lift(words)
        return rest.lay(coders.lane(image, number, how, done).push(message, bands))

    futures = [pool.submit(push, number) for number in range(image.lanes)]
    wait(futures)
    return tuple(future.result() for future in futures)
