"""Reading blocks of an archive. The images of one model form a chain: they share one message for each lane.

A chain is encoded from its last image to the first, and decoded from the first to the last. An image borrows the bits
that choose its z from the images after it. Only the last image of a chain finds none. See FORMAT.md, "Archives".
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from codec.entropy.rans import Message
from codec.errors import CorruptDataError
from codec.format.archive_index import Block, telling
from codec.format.container import holds
from codec.format.headers import Latents
from codec.frozen.model import Model
from codec.image_files.wide_image import Picture
from codec.images import decoder
from codec.vlae import decoding, lanes
from codec.vlae.image import Image as Raster


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

    def image(self, index: int) -> Picture:
        """Return an image of the block, by its number in the block.

        Raises
        ------
        CorruptDataError
            The image, or one before it in its chain, is damaged.
        ModelError
            The image's model is missing or has other weights.
        """
        with telling(repr(self.block.images[index].name)):
            return self._opened(index).image(self.threads)

    def opened(self, index: int) -> decoder.Opened:
        """Return the decoded file of an image of the block, by its number in the block. Its payload is left empty.

        Raises
        ------
        CorruptDataError
            The image, or one before it in its chain, is damaged.
        ModelError
            The image's model is missing or has other weights.
        """
        with telling(repr(self.block.images[index].name)):
            return self._opened(index)

    def _opened(self, index: int) -> decoder.Opened:
        file = self._files[index]
        if file.coding is None:
            return decoder.Opened(file, None, None)
        alpha = decoder.unpack_alpha(file)
        return decoder.Opened(file, self.raster(index), alpha)

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
