"""Blocks of an archive. The images of one model form a chain: they share one message for each lane.

A chain is encoded from its last image to the first, and decoded from the first to the last. An image borrows the bits
that choose its z from the images after it. Only the last image of a chain finds none. See FORMAT.md, "Archives".
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from codec.entropy.rans import Message
from codec.errors import CorruptDataError, ImageError
from codec.format.archive_index import Block, ChainEntry, ImageEntry, telling
from codec.format.container import holds
from codec.format.headers import CodingHeader, Latents
from codec.frozen.model import Model
from codec.image_files import pillow
from codec.images import decoder
from codec.images.choice import pixels_for, reach
from codec.images.fidelities import Chain, Encoder, chosen_model
from codec.images.goals import DEFAULT_EFFORT, Goal
from codec.system.sources import Source
from codec.system.workers import Report
from codec.vlae import decoding, lanes
from codec.vlae.image import Image as Raster


def encode_block(
    images: Sequence[tuple[str, Image.Image | Source]],
    goal: Goal,
    model: str | None,
    threads: int | None,
    report: Report,
) -> tuple[Block, bytes]:
    """Return a block of named images, and its bytes. `BlockReader` is the inverse.

    Parameters
    ----------
    images : sequence of (str, image)
        Names and images, in the order of the archive.
    goal : Goal
    model : str or None
        Name of the model that codes lossless images; None takes the usual ones.
    threads : int or None
        Largest number of threads.
    report : Report
        Called when images are done.

    Raises
    ------
    ImageError
        An image cannot be read, or cannot be coded without changing it.
    ModelError
        The weights are missing or damaged.
    OSError
        A file cannot be opened.
    """
    chains: dict[int, Chain] = {}
    codings: dict[int, CodingHeader] = {}
    entries: list[ImageEntry] = []
    chunks: list[bytes] = []
    named = chosen_model(model, goal)
    for name, source in reversed(images):
        image = source if isinstance(source, Image.Image) else pillow.load_image(source)
        try:
            pixels = pixels_for(image, goal)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
        file = reach(Encoder(image, pixels, None, DEFAULT_EFFORT, threads, None, chains, named), goal)
        parts, coding = file.container, file.container.coding
        if coding is not None and file.chain is not None:
            chains[coding.model] = file.chain
            codings[coding.model] = coding
        own = (parts.metadata, parts.adaptation, parts.alpha, b"" if coding else parts.payload)
        lengths = (len(own[0]), len(own[1]), len(own[2]), len(own[3]))
        entries.append(ImageEntry(name, parts.header, coding, file.dry, lengths))
        chunks.append(b"".join(own))
        report(1)
    models = sorted(chains)
    data = b"".join([*(lanes.write_lanes(chains[model].messages) for model in models), *reversed(chunks)])
    shared = tuple(_chain_entry(codings[model], chains[model]) for model in models)
    return Block(zlib.crc32(data), shared, tuple(reversed(entries))), data


def _chain_entry(coding: CodingHeader, chain: Chain) -> ChainEntry:
    return ChainEntry(coding.model, coding.band_height, coding.weights_hash, lanes.lane_table(chain.messages))


class BlockReader:
    """Decodes the images of a block.

    In the order of a chain, each image is decoded once. To go back, the chain is decoded again from its first image.

    Parameters
    ----------
    block : Block
    data : bytes
    threads : int, optional

    Raises
    ------
    CorruptDataError
        The data has another length or another checksum than the index says.
    """

    def __init__(self, block: Block, data: bytes, threads: int | None = None) -> None:
        self.block = block
        self.threads = threads
        payloads, self._files = block.split(data)
        self._payloads = dict(zip(block.models, payloads, strict=True))
        self._chains: dict[int, list[int]] = {model: [] for model in block.models}
        """The numbers of each chain's images, by the number of the chain's model."""
        for index, file in enumerate(self._files):
            if file.coding is not None:
                self._chains[file.coding.model].append(index)
        self._left: dict[int, tuple[int, list[Message]]] = {}
        """The place of each chain, by the number of its model: the next image, and the messages that hold it."""

    def image(self, index: int) -> Image.Image:
        """Return an image of the block, by its number in the block.

        Raises
        ------
        CorruptDataError
            The image, or one before it in its chain, is damaged.
        ModelError
            The image's model is missing or has other weights.
        """
        entry, file = self.block.images[index], self._files[index]
        with telling(repr(entry.name)):
            if file.coding is None:
                return decoder.stored_image(file)
            alpha = decoder.unpack_alpha(file)
            raster = self.raster(index)
            return decoder.coded_image(file, raster.model, raster.samples, alpha, threads=self.threads)

    def raster(self, index: int) -> Raster:
        """Return the raster of a coded image, by its number in the block.

        The chain is decoded from where it was left or, to go back, from its first image.

        Raises
        ------
        CorruptDataError
            The image, or one before it in its chain, is damaged.
        ModelError
            The image's model is missing or has other weights.
        """
        coding = self._files[index].coding
        if coding is None:
            raise ValueError("expected a coded image")
        model = decoder.load_model(coding)
        chain = self._chains[model.number]
        begin, messages = self._left.pop(model.number, (index + 1, []))
        if begin > index:
            begin, messages = 0, self._begin(model, chain)
        for before in chain[bisect_left(chain, begin) : bisect_left(chain, index)]:
            self._pop(model, before, messages)
        raster = self._pop(model, index, messages)
        if index == chain[-1]:
            lanes.check_all_popped(messages)
        self._left[model.number] = index + 1, messages
        return raster

    def _pop(self, model: Model, index: int, messages: list[Message]) -> Raster:
        file = self._files[index]
        raster = replace(decoding.blank(model, file), dry=self.block.images[index].dry)
        latents = Latents.NONE if file.coding is None else file.coding.latents
        decoding.pop_bands(raster, messages, latents, threads=self.threads)
        return raster

    def _begin(self, model: Model, chain: list[int]) -> list[Message]:
        """Return the messages of a chain. They are checked to be long enough for all images of the chain."""
        payload = self._payloads[model.number]
        if not holds(sum(decoding.demand(model, self._files[i].header) for i in chain), len(payload)):
            raise CorruptDataError("chain: asks for more values than its messages can hold")
        table = self.block.chains[self.block.models.index(model.number)].lane_table
        return lanes.read_lanes(payload, table)
