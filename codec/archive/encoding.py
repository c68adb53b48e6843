"""Encoding a block of an archive. Each image is pushed onto what the images after it left in the messages of its model.

See `codec.archive.blocks` and FORMAT.md, "Archives".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby

from PIL import Image

from codec.archive.plan import Named, Source, small_pixels
from codec.errors import ImageError
from codec.format.archive_index import Block, ChainEntry, ImageEntry
from codec.format.headers import CodingHeader
from codec.frozen.model import Model
from codec.image_files import frame_files, loading
from codec.image_files.conversion import Pixels
from codec.image_files.frames import Frame
from codec.image_files.wide_image import Picture, WideImage
from codec.images.choice import file_of, pixels_for
from codec.images.fidelities import Chain, Encoder, File, chosen_model
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
    images = _without_frames(images)
    named = chosen_model(model, goal)
    models = [named] * len(images) if named else models_for(images, lambda image: _if_small(*image, goal), goal)
    for (name, source), chosen in zip(reversed(images), reversed(models), strict=True):
        report(1)
        try:
            file = _file_of(name, source, goal, partial(_encoder_of, threads, dict(chains), chosen))
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


def _without_frames(images: Sequence[Named]) -> list[Named]:
    """Return images of which frames are loaded. The frames of a file are loaded together, because each needs others."""
    found: list[Named] = []
    for _, group in groupby(images, lambda image: image[1].source if isinstance(image[1], Frame) else image[0]):
        members = list(group)
        frames = [image for _, image in members if isinstance(image, Frame)]
        if len(frames) == len(members):
            with suppress(ImageError, OSError):  # then each is loaded alone, and those that fail are left out
                members = list(zip([name for name, _ in members], frame_files.load_frames(frames), strict=True))
        found += members
    return found


def _encoder_of(
    threads: int | None, chains: Mapping[int, Chain], model: Model | None, image: Image.Image, pixels: Pixels
) -> Encoder:
    return Encoder(image, pixels, None, DEFAULT_EFFORT, threads, None, chains, model)


def _file_of(name: str, source: Source, goal: Goal, encoder_of: Callable[[Image.Image, Pixels], Encoder]) -> File:
    image = _picture_of(source)
    try:
        return file_of(image, goal, encoder_of)
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error


def _picture_of(source: Source) -> Picture:
    return next(frame_files.load_frames([source])) if isinstance(source, Frame) else loading.picture_of(source)


def _if_small(name: str, source: Source, goal: Goal) -> Pixels | None:
    """Return the samples of an image if it is small. It is not kept, because a block may have thousands of images."""
    if small_pixels(source) is None:
        return None
    try:
        image = _picture_of(source)
        wide = loading.wide_of(image)
        return None if wide is not None or isinstance(image, WideImage) else pixels_for(image, goal)
    except (ImageError, OSError):  # it will be left out
        return None


def _chain_entry(coding: CodingHeader, chain: Chain) -> ChainEntry:
    return ChainEntry(coding.model, coding.weights_hash, lanes.lane_table(chain.messages))
