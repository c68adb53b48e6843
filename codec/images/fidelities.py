"""The files that can be made of one image: stored, within an error, or of a quality.

`codec.images.choice` chooses the one that meets a goal best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from PIL import Image

from codec.encoder import encoding, estimates
from codec.encoder.encoding import Checksum, Encoded
from codec.encoder.search import STEPS
from codec.entropy.stack import Stack
from codec.errors import ImageError, RequestError
from codec.format import container, png
from codec.format.container import Container
from codec.format.headers import COLOURED_MODES, HASH_BYTES, SIDE_LIMIT, CodingHeader, Fidelity, Header, Latents
from codec.frozen.layout import BITS
from codec.frozen.model import Model
from codec.frozen.shipped import model_for, named_model, weights_path
from codec.image_files import conversion
from codec.image_files.conversion import U8, Pixels
from codec.images import lossy_encoder, metrics
from codec.images.goals import LOSSLESS, Goal
from codec.images.hidden import filled
from codec.vlae import decoding, lanes
from codec.vlae.pipeline import Progress

SEARCH_STEPS = (0, STEPS, 4 * STEPS)
"""Steps of the search for an adaptation of exact and near-lossless files, at each effort."""


@dataclass(frozen=True)
class Chain:
    """A chain of an archive's block while it is encoded: the images of one model that are already encoded.

    They are decoded after the images that are encoded next.

    Attributes
    ----------
    messages : tuple of Stack
        The message of each lane. There are as many as the image with the most lanes has.
    demand : int
        Sum of the images' `codec.vlae.decoding.demand`.
    """

    messages: tuple[Stack, ...] = ()
    demand: int = 0


@dataclass(frozen=True)
class File:
    """A file of an image, as `Encoder` makes it.

    Attributes
    ----------
    container : Container
        The file. If the image is coded, the payload is left empty; the chain's messages hold it.
    psnr : float
        PSNR of the colour samples in dB, weighted by alpha. Infinite if all visible samples are exact.
    size : int
        Length of the file in bytes. In an archive, the length by which the image makes the chain longer is counted.
    chain : Chain or None
        The chain with this image; None if the image is stored.
    dry : bool
        Whether the image borrowed nothing from the chain before.
    """

    container: Container
    psnr: float
    size: int
    chain: Chain | None = None
    dry: bool = True

    def whole(self) -> Container:
        """Return the container with its payload. In an archive the payload is that of the whole chain."""
        if self.chain is None:
            return self.container
        return replace(self.container, payload=lanes.write_lanes(self.chain.messages))


@dataclass(frozen=True)
class Encoder:
    """Makes the files of one image.

    Attributes
    ----------
    image : PIL.Image.Image
        The image, as a stored file holds it.
    pixels : Pixels
        The samples that a coded file holds. For a lossy file they may be those of another image that looks the same.
    latents : Latents or None
        How latents are coded; None takes the shortest way.
    effort : int
        One of `codec.images.goals.EFFORTS`.
    threads : int or None
        Largest number of threads.
    progress : callable or None
        Called with the bands done and the bands in all, for each encoding.
    chains : mapping of int to Chain, or None
        The chains of an archive's block, by the numbers of their models. None for a file of one image.
    model : Model or None
        The model of lossless files, if the caller named one or `codec.images.small` chose one.
    """

    image: Image.Image
    pixels: Pixels
    latents: Latents | None
    effort: int
    threads: int | None
    progress: Progress | None
    chains: Mapping[int, Chain] | None = None
    model: Model | None = None

    @cached_property
    def lossless_bytes(self) -> float:
        """Estimated length in bytes of a lossless file's payload, without adaptation and without latents."""
        return estimates.estimate(self._exact_model(0), self.pixels.samples, threads=self.threads) / 8

    @cached_property
    def quick_png_bytes(self) -> int:
        """Length in bytes of the image's PNG, made with the least effort."""
        return len(png.png_bytes(self.image, quick=True))

    def exact(self, error: int) -> File:
        """Return the file within an error, or the stored file if a decoder would refuse the coded one."""
        fidelity = Fidelity.NEAR_LOSSLESS if error else Fidelity.LOSSLESS
        return self._by(self._exact_model(error), fidelity, error, self.pixels.samples)

    def _exact_model(self, error: int) -> Model:
        return model_for(error, self.effort)

    def by_model(self, model: Model) -> File:
        """Return the lossless file that a model makes, or the stored file if the image cannot be coded.

        Raises
        ------
        ImageError
            The model does not code such images.
        """
        pixels = self.pixels
        if pixels.mode not in model.kind.modes or (
            model.kind is BITS and not conversion.is_black_and_white(pixels.samples)
        ):
            raise ImageError(f"image: model {model.name} codes {model.kind.name}, got mode {pixels.mode}")
        if max(pixels.samples.shape) > SIDE_LIMIT or pixels.keyed:
            return self.stored
        return self._by(model, Fidelity.LOSSLESS, 0, pixels.samples // model.kind.white)

    def _by(self, model: Model, fidelity: Fidelity, error: int, values: U8) -> File:
        options = self._options(model, lambda decoded: self._samples_crc(model.kind.samples_of(decoded)))
        steps = SEARCH_STEPS[self.effort - 1]
        encoded = encoding.encode(model, values, error, self.latents, steps=steps, **options)
        return self._coded(fidelity, error, model, encoded, model.kind.samples_of(encoded.samples))

    def lossy(self, quality: int) -> File:
        """Return the lossy file of a quality, or the stored file if a decoder would refuse the lossy one."""
        model = model_for(None)
        options = self._options(model, self._samples_crc)
        coded = lossy_encoder.encode(model, self._visible, quality, self.latents, effort=self.effort, **options)
        return self._coded(Fidelity.LOSSY, quality, model, coded.encoded, coded.samples)

    def _coded(self, fidelity: Fidelity, degree: int, model: Model, encoded: Encoded, samples: U8) -> File:
        pixels, before = self.pixels, self._chain(model)
        messages = (*encoded.messages, *before.messages[encoded.lanes :])
        lane_table = lanes.lane_table(messages)
        coded = Container(
            self._header(fidelity, degree, pixels.mode, samples, pixels.alpha),
            CodingHeader(encoded.latents, encoded.lanes, model.number, model.hash[:HASH_BYTES]),
            lane_table,
            pixels.metadata,
            encoded.adaptation,
            b"" if pixels.alpha is None else png.pack_alpha(pixels.alpha),
            b"",
        )
        chain = Chain(messages, before.demand + decoding.demand(model, coded.header))
        payload_bytes = sum(lane_table)
        if not container.holds(chain.demand, payload_bytes):
            return self.stored
        more = payload_bytes - sum(lanes.lane_table(before.messages))
        size = container.file_bytes(coded) + more
        return File(coded, metrics.psnr(pixels.samples, samples, pixels.alpha), size, chain, encoded.dry)

    def _chain(self, model: Model) -> Chain:
        return (self.chains or {}).get(model.number, Chain())

    def _options(self, model: Model, checksum: Checksum) -> dict[str, Any]:
        """Return the options of an encoder. A file of one image holds a checksum; an archive's index has those."""
        begins = {"checksum": checksum} if self.chains is None else {"onto": self._chain(model).messages}
        return {"threads": self.threads, "progress": self.progress, **begins}

    def _samples_crc(self, samples: U8) -> int:
        return conversion.samples_crc(samples, self.pixels.alpha)

    @staticmethod
    def _header(fidelity: Fidelity, degree: int, mode: str, samples: U8, alpha: U8 | None) -> Header:
        height, width, channels = samples.shape
        grey = mode in COLOURED_MODES and channels == 1
        return Header(fidelity, mode, degree, width, height, conversion.samples_crc(samples, alpha), grey)

    @cached_property
    def _visible(self) -> U8:
        """The samples, except where alpha hides them completely. There they are replaced by others that cost less."""
        if self.pixels.alpha is None:
            return self.pixels.samples
        return conversion.without_equal(filled(self.pixels.samples, self.pixels.alpha > 0))

    @cached_property
    def stored(self) -> File:
        """The stored file of the image, with its palette."""
        samples, alpha = conversion.planes(self.image)
        header = self._header(Fidelity.STORED, 0, self.image.mode, samples, alpha)
        stored = container.stored(header, self.pixels.metadata, png.png_bytes(self.image))
        return File(stored, math.inf, container.file_bytes(stored))


def chosen_model(name: str | None, goal: Goal) -> Model | None:
    """Return the model that a caller named, or None if none was named.

    Raises
    ------
    ModelError
        Its weights are damaged.
    ValueError
        There is no such model, or the goal is not a lossless file.
    """
    check_model(name, goal)
    if name is None:
        return None
    return named_model(name)


def check_model(name: str | None, goal: Goal) -> None:
    """Raise ValueError if a caller named a model that does not exist, or if the goal is not a lossless file."""
    if name is None:
        return
    if goal != LOSSLESS:
        raise RequestError("model: expected lossless, too")
    weights_path(name)
