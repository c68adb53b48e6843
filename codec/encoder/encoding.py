"""Encoding: from a raster to the messages of a file. `codec.vlae.decoding` is the inverse. See FORMAT.md, "Bands"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, replace

from codec.encoder.estimates import choose
from codec.encoder.rounding import round_samples, workers_of
from codec.encoder.search import STEPS
from codec.entropy.rans import DryMessageError
from codec.entropy.stack import Stack
from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.system.threads import pool_of
from codec.vlae import adaptation, coders, lanes
from codec.vlae.image import LANE_BYTES, Image
from codec.vlae.pipeline import Progress

Checksum = Callable[[Raster], int]
"""Returns the checksum of the samples that decoded values stand for."""


@dataclass(frozen=True)
class Encoded:
    """What `encode` returns: the parts of a file, and the values that its decoder will return.

    Attributes
    ----------
    latents : Latents
        How latents are coded.
    adaptation : bytes
        The chunk of the adaptation; empty without one.
    dry : bool
        Whether the last band of each lane borrowed nothing; see `codec.vlae.image.Image`.
    messages : tuple of Stack
        The message of each lane.
    samples : uint8 array (H, W, 3 or 1), or int16 array (H, W, C) of a tensor
        The decoded values.
    """

    latents: Latents
    adaptation: bytes
    dry: bool
    messages: tuple[Stack, ...]
    samples: Raster

    @property
    def lanes(self) -> int:
        """Return the number of messages."""
        return len(self.messages)

    @property
    def lane_table(self) -> tuple[int, ...]:
        """Return the number of bytes of each lane's message."""
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
    steps: int = STEPS,
    checksum: Checksum | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Return the code of an image or a tensor. `codec.vlae.decoding` goes back.

    Parameters
    ----------
    model : Model
    samples : uint8 array (H, W, 3 or 1), or int16 array (H, W, C) of a tensor
    condition : int
        The largest error d of an image, or quality - 1 of a tensor.
    latents : Latents or None
        How latents are coded. None takes the shortest way. If bits-back finds too few bits to borrow, two parts are
        taken in its place.
    onto : sequence of Stack
        The messages of the lanes that already hold the images to be decoded after this one.
    steps : int
        Steps of the search for an adaptation, if the model allows one; with 0 there is none.
    checksum : callable, optional
        For a file of one image, which is not encoded ``onto`` others: returns the checksum of the decoded values, which
        the first message will hold. Such a file has one lane if it is short.
    threads : int or None
        Largest number of threads; None allows one for each lane.
    progress : callable or None
        Called with the bands done and the bands in all. Near-lossless coding counts each band twice.

    Raises
    ------
    ModelError
        The model does not serve the condition.
    TypeError
        The values have another dtype than the model codes.
    ValueError
        The values have another number of channels than the model codes, or are out of its range. Or ``latents`` asks
        for some of a model without latents.
    """
    image = Image.of(model, samples, condition)
    max_error = image.max_error
    image = replace(image, dry=bool(max_error) or len(onto) < image.lanes)
    workers = workers_of(image, threads)
    # Near-lossless coding works each band twice: it is rounded first and coded then.
    before = image.bands if max_error else 0
    total = before + image.bands

    def report(worked: int) -> None:
        if progress is not None:
            progress(worked, total)

    with pool_of(workers) as pool:
        if max_error:  # so that the contexts, from which the choice is made, are nearly those that will be coded
            round_samples(image, Latents.NONE, workers, None)
        how, moved = choose(image, latents, steps, pool, workers)
        image = replace(image, moved=moved)
        if max_error:
            round_samples(image, how, workers, lambda rounded, _: report(rounded))
        below = onto if checksum is None else (lanes.sealed(checksum(image.samples)),)
        image, how, messages = _push(image, how, below, pool, lambda coded: report(before + coded))
        is_short = sum(message.flat_bytes for message in messages) < LANE_BYTES * image.lanes
        if checksum is not None and image.lanes > 1 and is_short:
            image, how, messages = _push(replace(image, lanes=1), how, below, pool, lambda coded: None)
    chunk = adaptation.pack(moved, model.network)
    dry = image.dry or how != Latents.BITS_BACK
    return Encoded(how, chunk, dry, messages, image.samples)


def _push(
    image: Image, how: Latents, below: Sequence[Stack], pool: Executor, report: Callable[[int], None]
) -> tuple[Image, Latents, tuple[Stack, ...]]:
    """Return the messages of all lanes, with the image and the way of coding latents that they were pushed with."""
    try:
        return image, how, _push_lanes(image, how, below, pool, report)
    except DryMessageError:  # a message held fewer bits than the image has to borrow
        if how != Latents.BITS_BACK:
            raise
    how = Latents.TWO_PART if image.dry else how
    return _push(replace(image, dry=True), how, below, pool, report)


def _push_lanes(
    image: Image, how: Latents, below: Sequence[Stack], pool: Executor, report: Callable[[int], None]
) -> tuple[Stack, ...]:
    """Return the messages of all lanes, which begin as those ``below``, or as empty ones.

    ``report`` is called with the number of bands that are pushed so far.
    """
    pushed: list[int] = []

    def done(index: int) -> None:
        pushed.append(index)
        report(len(pushed))

    def push(number: int) -> Stack:
        bands = coders.bands_of(image, number)
        # Only the symbols of z are borrowed, and to pop a symbol takes one word at most.
        words = len(bands) * image.tiles * image.model.latents
        message, rest = (below[number] if number < len(below) else Stack()).lift(words)
        return rest.lay(coders.lane(image, number, how, done).push(message, bands))

    futures = [pool.submit(push, number) for number in range(image.lanes)]
    wait(futures)
    return tuple(future.result() for future in futures)
