"""Images of files: from a container, and what its messages hold, to the checked image.

The kernels and their compiler are imported where pixels are decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from codec.errors import CorruptDataError, ModelError
from codec.format import metadata, png
from codec.format.container import Container
from codec.format.headers import OFFSETS, CodingHeader, Header
from codec.image_files import pillow
from codec.image_files.pillow import Pixels

if TYPE_CHECKING:
    from codec.frozen.likelihood import Raster
    from codec.frozen.model import Model
    from codec.vlae.image import Image as CodedRaster
    from codec.vlae.pipeline import Progress


def stored_image(file: Container) -> Image.Image:
    """Return the image of a stored file, with its metadata in ``info``.

    Raises
    ------
    CorruptDataError
        The PNG or the metadata is damaged.
    """
    entries = metadata.info_of(file.metadata)
    image = png.open_png(file.payload, (file.header.width, file.header.height), file.header.mode)
    _check_samples(file.header, *pillow.planes(image))
    image.info.update(entries)
    return image


def unpack_alpha(file: Container) -> pillow.U8 | None:
    """Return the alpha channel (H, W) of a coded file, or None; its metadata is checked, too.

    What is cheap to check comes before what takes a second.

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
        It is missing, or has other weights.
    """
    from codec.frozen import shipped

    model = shipped.load_model(coding.model)
    if model.hash != coding.weights_hash:
        raise ModelError(f"model {coding.model}: expected weights {coding.weights_hash.hex()}, got {model.hash.hex()}")
    return model


def opened(
    file: Container, *, threads: int | None = None, progress: Progress | None = None
) -> tuple[CodedRaster, pillow.U8 | None]:
    """Return what a coded file holds: its raster, decoded, which names its model, and its alpha channel (H, W) or None.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    ModelError
        The model is missing, or has other weights.
    """
    from codec.vlae import decoding

    if file.coding is None:
        raise ValueError("expected a coded file")
    alpha = unpack_alpha(file)
    raster = decoding.decode(load_model(file.coding), file, threads=threads, progress=progress)
    return raster, alpha


def coded_image(
    file: Container,
    model: Model,
    values: Raster,
    alpha: pillow.U8 | None,
    *,
    exact: bool = True,
    threads: int | None = None,
) -> Image.Image:
    """Return the image of a coded file, with its metadata in ``info``.

    Parameters
    ----------
    values : uint8 or int16 array (H, W, C)
        What `codec.vlae.coders` decoded: samples, or the tensor of a lossy file.
    alpha : uint8 array (H, W) or None
    exact : bool
        Whether they are the file's own values, so that their samples have its checksum.

    Raises
    ------
    CorruptDataError
        The samples have another checksum.
    """
    from codec.images import lossy_decoder

    header = file.header
    if header.quality is not None:
        shape = (header.height, header.width, header.channels)
        values = lossy_decoder.decoded(model, values, header.quality, shape, threads)
    else:
        values = values * model.kind.white
    if exact:
        _check_samples(header, values, alpha)
    return pillow.to_pillow(Pixels(header.mode, values, alpha, file.metadata, codable=True))


def _check_samples(header: Header, samples: pillow.U8, alpha: pillow.U8 | None) -> None:
    crc = pillow.samples_crc(samples, alpha)
    if crc != header.samples_crc:
        raise CorruptDataError(
            f"samples: expected checksum {header.samples_crc:#010x}, got {crc:#010x}", OFFSETS["samples_crc"]
        )
