"""Decoding a file: from its container to the image, whose checksum is tested."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from codec.errors import CorruptDataError, ModelError, UnsupportedError
from codec.format import metadata, png
from codec.format.container import Container
from codec.format.headers import HASH_BYTES, WIDE_MODES, CodingHeader, Header
from codec.frozen import shipped
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.image_files import conversion
from codec.image_files.conversion import Pixels
from codec.image_files.wide_image import Picture
from codec.images import lossy_decoder
from codec.networks.transform import PATCH
from codec.vlae import decoding, preview
from codec.vlae.image import Image as CodedRaster
from codec.vlae.pipeline import Progress
from codec.wide import parts


@dataclass(frozen=True)
class Opened:
    """A file whose messages are decoded. `opened` makes it.

    Attributes
    ----------
    file : Container
        Its header has the checksum of the samples.
    raster : codec.vlae.image.Image or None
        The samples, or the tensor of a lossy file, with latents and adaptation. None if the file is stored.
    alpha : uint8 array (H, W) or None
        The alpha channel of a coded file, if the image has one.
    """

    file: Container
    raster: CodedRaster | None
    alpha: conversion.U8 | None

    def image(self, threads: int | None = None) -> Picture:
        """Return the image, with its metadata in ``info``.

        Raises
        ------
        CorruptDataError
            The samples do not have their checksum, or the PNG of a stored file is damaged.
        """
        if self.raster is None:
            return stored_image(self.file, threads)
        return coded_image(self.file, self.raster.model, self.raster.samples, self.alpha, threads=threads)

    def preview(self, seed: int | None = None, threads: int | None = None) -> Image.Image:
        """Return the image that the latents hold alone, with its metadata in ``info``; see `codec.vlae.preview`.

        Parameters
        ----------
        seed : int or None
            Seed with which the model draws the detail. With None there is no detail.
        threads : int or None
            Largest number of threads.

        Raises
        ------
        UnsupportedError
            The file has no latents.
        """
        if self.raster is None:
            raise UnsupportedError("latents: the file is stored, it has none")
        values = preview.preview(self.raster, seed)
        return coded_image(self.file, self.raster.model, values, self.alpha, exact=False, threads=threads)

    def reduced(self) -> Image.Image:
        """Return the image of a lossy file at an eighth of its size, with its metadata in ``info``.

        A pixel has about the mean colour of 8 x 8 pixels. The transform of the samples is left out.

        Raises
        ------
        ValueError
            The file is not lossy.
        """
        header = self.file.header
        if self.raster is None or header.quality is None:
            raise ValueError("expected a lossy file")
        samples = lossy_decoder.reduced(self.raster.model, self.raster.samples, header.quality, header.channels)
        alpha = None if self.alpha is None else np.asarray(Image.fromarray(self.alpha).reduce(PATCH))
        return conversion.to_pillow(Pixels(header.mode, samples, alpha, self.file.metadata, codable=True))


def opened(file: Container, *, threads: int | None = None, progress: Progress | None = None) -> Opened:
    """Return a file with its messages decoded.

    Parameters
    ----------
    file : Container
    threads : int or None
        Largest number of threads; None allows one for each lane.
    progress : callable or None
        Called with the bands done and the bands in all.

    Raises
    ------
    CorruptDataError
        Messages, alpha or metadata are damaged.
    ModelError
        The file's model is missing, or has other weights.
    """
    if file.coding is None:
        return Opened(file, None, None)
    alpha = unpack_alpha(file)
    model = load_model(file.coding)
    raster, samples_crc = decoding.decode(model, file, threads=threads, progress=progress)
    return Opened(replace(file, header=replace(file.header, samples_crc=samples_crc)), raster, alpha)


def stored_image(file: Container, threads: int | None = None) -> Picture:
    """Return the image of a stored file, with its metadata in ``info``.

    Raises
    ------
    CorruptDataError
        The payload or the metadata is damaged.
    ModelError
        The model of a part is missing, or has other weights.
    """
    if file.header.mode in WIDE_MODES:
        return parts.samples_of(file, lambda part: _pillow_of(opened(part, threads=threads).image(threads)))
    entries = metadata.info_of(file.metadata)
    image = png.open_png(file.payload, (file.header.width, file.header.height), file.header.mode)
    _check_samples(file.header, *conversion.planes(image))
    image.info.update(entries)
    return image


def _pillow_of(image: Picture) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise CorruptDataError(f"parts: expected a part of 8 bits a sample, got mode {image.mode}")
    return image


def unpack_alpha(file: Container) -> conversion.U8 | None:
    """Return the alpha channel, uint8 array (H, W), of a coded file, or None. Its metadata is checked, too.

    These checks are cheap, so they come before the decoding of pixels.

    Raises
    ------
    CorruptDataError
        Alpha or metadata is damaged.
    """
    metadata.unpack(file.metadata)
    if not file.header.has_alpha:
        return None
    return png.unpack_alpha(file.alpha, (file.header.width, file.header.height))


def load_model(coding: CodingHeader) -> Model:
    """Return the model of a file.

    Raises
    ------
    ModelError
        The model is missing, or has other weights.
    """
    model = shipped.load_model(coding.model)
    found = model.hash[:HASH_BYTES]
    if found != coding.weights_hash:
        raise ModelError(f"model {coding.model}: expected weights {coding.weights_hash.hex()}, got {found.hex()}")
    return model


def coded_image(
    file: Container,
    model: Model,
    values: Raster,
    alpha: conversion.U8 | None,
    *,
    exact: bool = True,
    threads: int | None = None,
) -> Image.Image:
    """Return the image of a coded file, with its metadata in ``info``.

    Parameters
    ----------
    values : uint8 or int16 array (H, W, C)
        Values as `codec.vlae.decoding` returns them: samples, or the tensor of a lossy file.
    alpha : uint8 array (H, W) or None
    exact : bool
        Whether the values are those of the file, not of a preview. Then the checksum of the samples is tested.
    threads : int or None
        Largest number of threads.

    Raises
    ------
    CorruptDataError
        The samples have another checksum.
    """
    header = file.header
    if header.quality is not None:
        shape = (header.height, header.width, header.channels)
        values = lossy_decoder.decoded(model, values, header.quality, shape, threads)
    else:
        values = model.kind.samples_of(values)
    if exact:
        _check_samples(header, values, alpha)
    return conversion.to_pillow(Pixels(header.mode, values, alpha, file.metadata, codable=True))


def _check_samples(header: Header, samples: conversion.U8, alpha: conversion.U8 | None) -> None:
    crc = conversion.samples_crc(samples, alpha)
    if crc != header.samples_crc:
        raise CorruptDataError(f"samples: expected checksum {header.samples_crc:#010x}, got {crc:#010x}")
