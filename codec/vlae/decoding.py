"""Decoding: from the messages of a file to the raster that they hold. See FORMAT.md, "Bands"."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from codec.entropy.rans import Message
from codec.errors import CorruptDataError
from codec.format.container import Container, holds, samples_demand
from codec.format.headers import Header, Latents
from codec.frozen.layout import TENSOR, Kind
from codec.frozen.model import Model
from codec.vlae import adaptation, coders, pipeline
from codec.vlae.image import Image
from codec.vlae.lanes import check_all_popped, read_lanes, unseal
from codec.vlae.pipeline import Progress, Ready
from codec.vlae.wavefront import lag


def _may_hold(header: Header, kind: Kind) -> bool:
    """Return whether a coded file of this header may hold rasters of a kind."""
    if header.quality is not None:
        return kind is TENSOR
    return header.mode in kind.modes and (kind.is_rounded or not header.max_error)


def demand(model: Model, header: Header) -> int:
    """Return the demand of a coded file on its payload: values times (symbols that a value can be, less 1).

    `codec.format.container.holds` compares it with the payload's length.
    """
    if model.kind is not TENSOR:
        return samples_demand(header)
    return prod(_shape(model, header)) * (model.layout.high - model.layout.low)


def _shape(model: Model, header: Header) -> tuple[int, int, int]:
    """Return the shape (rows, columns, coded channels) of the raster that a file of this model holds."""
    down, across = (-(-side // model.kind.patch) for side in (header.height, header.width))
    return down, across, header.channels if model.kind.may_be_grey else len(model.layout.order)


def blank(model: Model, file: Container) -> Image:
    """Return the image of a coded file, or the tensor of a lossy one, before its bands are decoded.

    Raises
    ------
    CorruptDataError
        The file was not made by this model, or its adaptation is damaged.
    ModelError
        The model does not serve the file's error or quality.
    ValueError
        The file is a stored one.
    """
    header, coding = file.header, file.coding
    if coding is None:
        raise ValueError("expected a coded file")
    if not _may_hold(header, model.kind):
        what = f"{header.fidelity.name.lower().replace('_', '-')} mode {header.mode}"
        raise CorruptDataError(f"header: model {model.number} codes {model.kind.name}, got {what}")
    image = Image.blank(model, _shape(model, header), header.condition, coding.lanes)
    if coding.lanes > image.bands:
        raise CorruptDataError(
            f"header: lanes: expected at most one for each of {image.bands} bands, got {coding.lanes}"
        )
    if coding.latents != Latents.NONE and not model.latents:
        raise CorruptDataError(f"header: model {model.number} has no latents, got {coding.latents.name}")
    return replace(image, moved=adaptation.unpack(file.adaptation, model.network))


def decode(
    model: Model, file: Container, *, threads: int | None = None, progress: Progress | None = None
) -> tuple[Image, int]:
    """Return what a coded file holds: its image, or the tensor of a lossy file, and the checksum of the samples.

    The image has its latents and its adaptation. The checksum is to be compared with that of the samples.

    Parameters
    ----------
    model : Model
        The file's model.
    file : Container
        A coded file.
    threads : int or None
        A number below the file's lanes decodes with one thread. None, or more, decodes with one thread a lane.
    progress : callable or None
        Called with the bands done and the bands in all.

    Raises
    ------
    CorruptDataError
        The payload does not hold these samples, the file was not made by this model, or its adaptation is damaged.
    ModelError
        The model does not serve the file's error or quality.
    ValueError
        The file is a stored one.
    """
    coding = file.coding
    if coding is None:
        raise ValueError("expected a coded file")
    if not holds(demand(model, file.header), len(file.payload)):
        raise CorruptDataError("header: asks for more values than the payload can hold")
    image = blank(model, file)
    messages = read_lanes(file.payload, file.lane_table)
    pop_bands(image, messages, coding.latents, threads=threads, progress=progress)
    return image, unseal(messages)


def decode_bands(
    image: Image,
    payload: bytes,
    lane_table: tuple[int, ...],
    latents: Latents,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decode the raster of an image or a tensor whose shape, model and adaptation are known, and that has no checksum.

    Parameters
    ----------
    image : Image
        From `blank`. Afterwards its ``samples`` are what was encoded.
    payload : bytes
        The messages of the lanes, laid flat.
    lane_table : tuple of int
        Bytes of each lane's message.
    latents : Latents
        How latents are coded.
    threads, progress
        See `decode`.

    Raises
    ------
    CorruptDataError
        The payload does not hold these samples.
    """
    messages = read_lanes(payload, lane_table)
    pop_bands(image, messages, latents, threads=threads, progress=progress)
    check_all_popped(messages)


def pop_bands(
    image: Image,
    messages: list[Message],
    latents: Latents,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decode the raster of an image from messages, which may hold further images below it.

    Parameters
    ----------
    image : Image
        From `blank`. Afterwards its ``samples`` are what was encoded.
    messages : list of Message
        Message ``i`` is that of lane ``i``. Each lane's message is replaced by what is left of it.
    latents : Latents
        How latents are coded.
    threads, progress
        See `decode`.

    Raises
    ------
    CorruptDataError
        A message ends before the image does.
    """

    def band(index: int, ready: Ready) -> None:
        lane = index % image.lanes
        messages[lane], _ = coders.band(image, index, latents, ready).pop(messages[lane])

    # One thread works the bands from the first to the last. Several threads each work the bands of one lane.
    workers = image.lanes if threads is None or threads >= image.lanes else 1
    pipeline.run(image.wave_counts, lag(image.rows), band, workers, progress)
