"""From the messages of a file to the raster that it holds. See FORMAT.md, "Bands"."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from codec.entropy.rans import Message
from codec.errors import CorruptDataError
from codec.format.container import Container, holds, samples_demand
from codec.format.headers import BITS_MODE, OFFSETS, Fidelity, Header, Latents
from codec.frozen.layout import BITS, SAMPLES, TENSOR, Kind
from codec.frozen.model import Model
from codec.vlae import adaptation, coders, pipeline
from codec.vlae.image import Image
from codec.vlae.lanes import check_all_popped, read_lanes
from codec.vlae.pipeline import Progress, Ready
from codec.vlae.wavefront import lag


def kind_of(header: Header) -> Kind:
    """Return the kind of raster that a coded file holds."""
    if header.fidelity == Fidelity.LOSSY:
        return TENSOR
    return BITS if header.mode == BITS_MODE else SAMPLES


def demand(model: Model, header: Header) -> int:
    """Return what a coded file asks of its payload: values times the symbols that each could be besides."""
    if model.kind is TENSOR:
        return prod(_shape(model, header)) * (model.layout.high - model.layout.low)
    return samples_demand(header)


def _shape(model: Model, header: Header) -> tuple[int, int, int]:
    """Return the shape of what a file of this model holds."""
    down, across = (-(-side // model.kind.patch) for side in (header.height, header.width))
    return down, across, header.channels if model.kind.may_be_grey else len(model.layout.order)


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
    kind = kind_of(header)
    if kind is not model.kind:
        raise CorruptDataError(f"header: model {model.number} codes {model.kind.name}, got {kind.name}")
    image = Image.blank(model, _shape(model, header), header.condition, coding.lanes)
    if coding.band_height != image.band_height:
        raise CorruptDataError(
            f"header: bands of model {model.number} have {image.band_height} rows, got {coding.band_height}"
        )
    return replace(image, moved=adaptation.unpack(file.adaptation, model.network))


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
    if not holds(demand(model, file.header), len(file.payload)):
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
        From `blank`. Then its ``samples`` are what was encoded.
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
    """Decode the raster of an image from messages, in which those of its lanes are replaced by what is left of them.

    Parameters and errors are those of `decode_bands`.
    """

    def band(index: int, ready: Ready) -> None:
        lane = index % image.lanes
        messages[lane], _ = coders.band(image, index, latents, ready).pop(messages[lane])

    # A single thread takes the bands as they come, several one lane each.
    workers = image.lanes if threads is None or threads >= image.lanes else 1
    pipeline.run(image.wave_counts, lag(image.rows), band, workers, progress)
