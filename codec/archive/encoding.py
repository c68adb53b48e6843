"""Encoding a block of an archive. Each image is pushed onto what the images after it left in the messages of its model.

See `codec.archive.blocks` and FORMAT.md, "Archives".
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from PIL import Image

from codec.archive.plan import Named, Source, small_pixels
from codec.errors import ImageError
from codec.format.archive_index import Block, ChainEntry, ImageEntry
from codec.format.headers import CodingHeader
from codec.image_files import pillow
from codec.image_files.pillow import Pixels
from codec.images.choice import pixels_for, reach
from codec.images.fidelities import Chain, Encoder, chosen_model
from codec.images.goals import DEFAULT_EFFORT, Goal
from codec.images.small import models_for
from codec.system.workers import Report
from codec.vlae import lanes

Refused = dict[str, Exception]
"""Errors of images that cannot be coded, by the images' names."""


def encode_block(
    images: Sequence[Named],
    goal: Goal,
    model: str | None,
    threads: int | None,
    report: Report,
) -> tuple[Block, bytes, Refused]:
    """Return a block of named images, its bytes, and the errors of images that it does not have.

    The block may have no image.

    Parameters
    ----------
    images : sequence of (str, image)
        Names and images, in the order of the archive.
    goal : Goal
    model : str or None
        Name of the model that codes lossless images; None chooses one for each image.
    threads : int or None
        Largest number of threads.
    report : Report
        Called when images are done.

    Raises
    ------
    ModelError
        The weights are missing or damaged.

    Notes
    -----
    `codec.archive.blocks.BlockReader` decodes a block.
    """
    refused: Refused = {}
    chains: dict[int, Chain] = {}
    codings: dict[int, CodingHeader] = {}
    entries: list[ImageEntry] = []
    chunks: list[bytes] = []
    named = chosen_model(model, goal)
    models = [named] * len(images) if named else models_for(images, lambda image: _if_small(*image, goal), goal)
    for (name, source), chosen in zip(reversed(images), reversed(models), strict=True):
        report(1)
        try:
            image, pixels = _loaded(name, source, goal)
            file = reach(Encoder(image, pixels, None, DEFAULT_EFFORT, threads, None, chains, chosen), goal)
        except (ImageError, OSError) as error:
            refused[name] = error
            continue
        parts, coding = file.container, file.container.coding
        if coding is not None and file.chain is not None:
            chains[coding.model] = file.chain
            codings[coding.model] = coding
        own = (parts.metadata, parts.adaptation, parts.alpha, b"" if coding else parts.payload)
        lengths = (len(own[0]), len(own[1]), len(own[2]), len(own[3]))
        entries.append(ImageEntry(name, parts.header, coding, file.dry, lengths))
        chunks.append(b"".join(own))
    numbers = sorted(chains)
    data = b"".join([*(lanes.write_lanes(chains[number].messages) for number in numbers), *reversed(chunks)])
    shared = tuple(_chain_entry(codings[number], chains[number]) for number in numbers)
    return Block(zlib.crc32(data), shared, tuple(reversed(entries))), data, refused


def _loaded(name: str, source: Source, goal: Goal) -> tuple[Image.Image, Pixels]:
    """Return an image, and its samples that are coded."""
    image = source if isinstance(source, Image.Image) else pillow.load_image(source)
    try:
        return image, pixels_for(image, goal)
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error


def _if_small(name: str, source: Source, goal: Goal) -> Pixels | None:
    """Return the samples of an image if it is small. It is not kept, because a block may have thousands of images."""
    try:
        return None if small_pixels(source) is None else _loaded(name, source, goal)[1]
    except (ImageError, OSError):  # it will be left out
        return None


def _chain_entry(coding: CodingHeader, chain: Chain) -> ChainEntry:
    return ChainEntry(coding.model, coding.weights_hash, lanes.lane_table(chain.messages))
