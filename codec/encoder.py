"""Files of one image: stored, within an error, or of a quality; and which of them meets a goal best.

The kernels and their compiler are imported where pixels are coded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from codec import container, image_io, metrics, png
from codec.container import Container
from codec.errors import ImageError
from codec.goals import Goal, Kind
from codec.headers import (
    BITS_MODE,
    CODED_MODES,
    MAX_ERROR,
    MAX_QUALITY,
    SIDE_LIMIT,
    CodingHeader,
    Fidelity,
    Header,
    Latents,
)
from codec.image_io import Pixels
from codec.pipeline import Progress
from codec.rate_control import last_below

if TYPE_CHECKING:
    from codec.model import Model
    from codec.stack import Stack
    from codec.vlae import Encoded

QUICK_FACTOR = 1.6
"""An optimised PNG is tried if a quick one is shorter than this times the coded file."""
EXACT_SHARE = 0.6
"""A lossless file is about this much of a quick PNG."""
ERROR_SHARE = 0.62
"""A file within d is about 1 / (1 + d ERROR_SHARE) of a lossless one."""
SIZE_SLOPE = 0.035
"""By how much the logarithm of a lossy file's length grows with quality, about."""
PSNR_SLOPE = 0.2
"""By how many dB its PSNR grows."""


@dataclass(frozen=True)
class Chain:
    """Images of one model, of an archive's block, that are encoded already: those after the next one.

    Attributes
    ----------
    messages : tuple of Stack
        One a lane, as many as the image with the most lanes has.
    demand : int
        Sum of `codec.vlae.demand`.
    """

    messages: tuple[Stack, ...] = ()
    demand: int = 0


@dataclass(frozen=True)
class File:
    """A file that was made.

    Attributes
    ----------
    container : Container
        Of a coded image without its payload, which is what the chain's messages hold.
    psnr : float
        Of its colour samples, dB; infinite if they are exact.
    size : int
        Its bytes, less those of the chain before.
    chain : Chain or None
        With this image; None of a stored one.
    dry : bool
        Whether the image borrowed nothing from the chain before.
    """

    container: Container
    psnr: float
    size: int
    chain: Chain | None = None
    dry: bool = True

    def whole(self) -> Container:
        """Return the container with its payload, in an archive that of the whole chain."""
        if self.chain is None:
            return self.container
        from codec import vlae

        return replace(self.container, payload=vlae.write_lanes(self.chain.messages))


@dataclass(frozen=True)
class Encoder:
    """Makes files of an image.

    Attributes
    ----------
    image : PIL.Image.Image
    pixels : Pixels
        Of the image.
    latents : Latents or None
    effort : int
    threads : int or None
    progress : callable or None
    chains : mapping of int to Chain
        In an archive, by the models' numbers.
    model : Model or None
        That codes lossless files, in place of the usual one.
    """

    image: Image.Image
    pixels: Pixels
    latents: Latents | None
    effort: int
    threads: int | None
    progress: Progress | None
    chains: Mapping[int, Chain] = field(default_factory=dict)
    model: Model | None = None

    def reach(self, goal: Goal) -> File:
        """Return the shortest file that meets a goal.

        Raises
        ------
        ImageError
            The model does not code such images.
        ModelError
            The weights are missing or damaged.
        ValueError
            No file meets the goal; says which comes nearest.
        """
        if self.model is not None:
            return self._or_stored(self._by_model(self.model))
        if not self.pixels.codable or max(self.pixels.samples.shape) > SIDE_LIMIT:
            return self._within(self._stored(), goal)
        if goal.kind == Kind.MAX_ERROR:
            return self._or_stored(self._exact(int(goal.value)))
        if goal.kind == Kind.QUALITY:
            return self._or_exact(self._lossy(int(goal.value)))
        return self._search(goal)

    def _limit_bytes(self, goal: Goal) -> float:
        """Return the largest length that a goal allows."""
        pixels = self.image.width * self.image.height
        return {Kind.SIZE: goal.value, Kind.BPP: goal.value * pixels / 8}.get(goal.kind, math.inf)

    def _within(self, file: File, goal: Goal) -> File:
        """Return the file; ValueError if it is longer than the goal allows, as the shortest that there is."""
        if file.size > self._limit_bytes(goal):
            bpp = 8 * file.size / (self.image.width * self.image.height)
            raise ValueError(
                f"{goal.kind.value}: {goal.value:g} cannot be met, the shortest file has {file.size} bytes, "
                f"{bpp:.4f} bits a pixel"
            )
        return file

    def _search(self, goal: Goal) -> File:
        """Return the lossy file of the highest quality within a length, or of the lowest that reaches a PSNR."""
        made: dict[int, File] = {}

        def make(quality: int) -> File:
            if quality not in made:
                made[quality] = self._lossy(quality)
            return made[quality]

        if goal.kind == Kind.PSNR:
            short = np.nextafter(goal.value, 0)
            quality = 1 + last_below(lambda q: make(q).psnr, MAX_QUALITY, short, PSNR_SLOPE)
            return self._reaching(goal.value) if quality > MAX_QUALITY else self._or_exact(make(quality))
        limit = self._limit_bytes(goal)
        quality = last_below(lambda q: math.log(make(q).size), MAX_QUALITY, math.log(limit), SIZE_SLOPE)
        return self._within(self._or_exact(make(max(quality, 1))), goal)

    def _reaching(self, psnr: float) -> File:
        """Return the shortest file within some error that reaches a PSNR; a lossless one reaches any."""
        for error in range(_largest_error(psnr), 0, -1):
            file = self._exact(error)
            if file.psnr >= psnr:
                return self._or_stored(file)
        return self._or_stored(self._exact(0))

    def _or_stored(self, file: File) -> File:
        """Return a file, or the stored one if that is shorter."""
        if len(png.png_bytes(self.image, quick=True)) < QUICK_FACTOR * file.size:
            return min(file, self._stored(), key=lambda f: f.size)
        return file

    def _or_exact(self, file: File) -> File:
        """Return a lossy file, or a near-lossless, lossless or stored one that is shorter and no worse."""
        quick = len(png.png_bytes(self.image, quick=True))
        found = [file]
        for error in sorted({0, _largest_error(file.psnr)}):
            if quick * EXACT_SHARE / (1 + ERROR_SHARE * error) < file.size:
                other = self._exact(error)
                if other.psnr >= file.psnr:
                    found.append(other)
        if quick < QUICK_FACTOR * file.size:
            found.append(self._stored())
        return min(found, key=lambda f: f.size)

    def _exact(self, error: int) -> File:
        """Return the file within an error, or the stored one if a decoder would refuse that."""
        from codec.shipped import model_for

        fidelity = Fidelity.NEAR_LOSSLESS if error else Fidelity.LOSSLESS
        return self._by(model_for(error), fidelity, error, self.pixels.samples)

    def _by_model(self, model: Model) -> File:
        """Return the lossless file that the named model makes."""
        pixels = self.pixels
        bits = model.kind == "bits" and pixels.mode == BITS_MODE
        if not bits and (model.kind != "samples" or pixels.mode not in CODED_MODES):
            raise ImageError(f"image: model {model.name} codes {model.kind}, got mode {pixels.mode}")
        if max(pixels.samples.shape) > SIDE_LIMIT or not (pixels.codable or (bits and not pixels.keyed)):
            return self._stored()
        return self._by(model, Fidelity.LOSSLESS, 0, pixels.samples // image_io.WHITE if bits else pixels.samples)

    def _by(self, model: Model, fidelity: Fidelity, error: int, values: image_io.U8) -> File:
        from codec import vlae

        options: dict[str, Any] = {"onto": self._onto(model), "threads": self.threads, "progress": self.progress}
        encoded = vlae.encode(model, values, error, self.latents, **options)
        samples = encoded.samples * image_io.WHITE if model.kind == "bits" else encoded.samples
        return self._coded(fidelity, error, model, encoded, samples)

    def _lossy(self, quality: int) -> File:
        """Return the file of a quality, or the stored one if a decoder would refuse that."""
        from codec import lossy
        from codec.shipped import model_for

        model = model_for(None)
        options: dict[str, Any] = {"onto": self._onto(model), "threads": self.threads, "progress": self.progress}
        coded = lossy.encode(model, self.pixels.samples, quality, self.latents, effort=self.effort, **options)
        return self._coded(Fidelity.LOSSY, quality, model, coded.encoded, coded.samples)

    def _coded(self, fidelity: Fidelity, degree: int, model: Model, encoded: Encoded, samples: image_io.U8) -> File:
        from codec import vlae

        pixels, before = self.pixels, self._chain(model)
        messages = (*encoded.messages, *before.messages[encoded.lanes :])
        lane_table = vlae.lane_table(messages)
        coded = Container(
            self._header(fidelity, degree, samples),
            CodingHeader(encoded.latents, encoded.lanes, encoded.band_height, model.number, model.hash),
            lane_table,
            pixels.metadata,
            encoded.adaptation,
            b"" if pixels.alpha is None else png.pack_alpha(pixels.alpha),
            b"",
        )
        chain = Chain(messages, before.demand + vlae.demand(model, coded.header))
        payload_bytes = container.payload_bytes(lane_table)
        if not container.holds(chain.demand, payload_bytes):
            return self._stored()
        more = payload_bytes - container.payload_bytes(vlae.lane_table(before.messages))
        size = container.file_bytes(coded) + more
        return File(coded, metrics.psnr(pixels.samples, samples), size, chain, encoded.dry)

    def _chain(self, model: Model) -> Chain:
        return self.chains.get(model.number, Chain())

    def _onto(self, model: Model) -> tuple[Stack, ...]:
        return self._chain(model).messages

    def _header(self, fidelity: Fidelity, degree: int, samples: image_io.U8) -> Header:
        height, width, _ = samples.shape
        crc = image_io.samples_crc(samples, self.pixels.alpha)
        return Header(fidelity, self.pixels.mode, degree, width, height, crc)

    def _stored(self) -> File:
        header = self._header(Fidelity.STORED, 0, self.pixels.samples)
        stored = container.stored(header, self.pixels.metadata, png.png_bytes(self.image))
        return File(stored, math.inf, container.file_bytes(stored))


def _largest_error(psnr: float) -> int:
    """Return the largest error that near-lossless files may have to reach a PSNR, about: errors are even within it."""
    allowed = 255**2 / 10 ** (psnr / 10)
    return max(error for error in range(MAX_ERROR + 1) if error * (error + 1) / 3 <= allowed)


def chosen_model(name: str | None, goal: Goal) -> Model | None:
    """Return the model that a caller named, or None.

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
    from codec.shipped import named_model

    return named_model(name)


def check_model(name: str | None, goal: Goal) -> None:
    """Raise ValueError if a caller named a model that there is not, or for another goal than a lossless file."""
    if name is None:
        return
    if goal != Goal(Kind.MAX_ERROR, 0):
        raise ValueError("model: expected lossless, too")
    from codec.shipped import weights_path

    weights_path(name)
