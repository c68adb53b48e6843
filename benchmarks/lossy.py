"""Lossy codecs with a quality setting, ours among them, and published figures of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

import codec
from benchmarks.common import OURS
from codec.image_files import loading


@dataclass(frozen=True)
class LossyCodec:
    """A codec, and the settings at which it is measured.

    Attributes
    ----------
    name : str
        Name in tables.
    qualities : tuple of int
        The settings. For photographs they range from about 0.1 to 3 bits per pixel.
    encode : callable
        Maps an RGB image and a quality to the bytes of a file.
    decode : callable
        Maps the bytes of a file to the loaded image.
    """

    name: str
    qualities: tuple[int, ...]
    encode: Callable[[Image.Image, int], bytes]
    decode: Callable[[bytes], Image.Image]


def _encode_ours(image: Image.Image, quality: int) -> bytes:
    return codec.compress(image, quality=quality)


def _decode_ours(data: bytes) -> Image.Image:
    return codec.decompress(data)


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _encode_jpeg(image: Image.Image, quality: int) -> bytes:
    return _save(image, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)


def _encode_webp(image: Image.Image, quality: int) -> bytes:
    return _save(image, "WEBP", quality=quality, method=6)


def _encode_avif(image: Image.Image, quality: int) -> bytes:
    return _save(image, "AVIF", quality=quality, subsampling="4:4:4", speed=6)


def _encode_avif_psnr(image: Image.Image, quality: int) -> bytes:
    return _save(image, "AVIF", quality=quality, subsampling="4:4:4", speed=6, advanced={"tune": "psnr"})


def _encode_jxl(image: Image.Image, quality: int) -> bytes:
    import pillow_jxl  # noqa: F401  (registers the format)

    return _save(image, "JXL", quality=quality, effort=7)


def _decode_jxl(data: bytes) -> Image.Image:
    # A copy has no format. Our codec refuses images of formats that it does not know.
    with Image.open(BytesIO(data)) as image:
        return image.copy()


CODECS = {
    OURS: LossyCodec(OURS, (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100), _encode_ours, _decode_ours),
    "jpeg": LossyCodec(
        "JPEG 4:2:0 optimised", (5, 10, 20, 30, 40, 50, 65, 75, 85, 90, 95), _encode_jpeg, loading.load_image
    ),
    "webp": LossyCodec("WebP method 6", (0, 5, 10, 20, 35, 50, 65, 75, 85, 92, 96), _encode_webp, loading.load_image),
    # libavif tunes still images for the eye. By PSNR, the variant that is tuned for PSNR is the harder rival.
    "avif": LossyCodec("AVIF 4:4:4 speed 6", (5, 10, 20, 30, 40, 50, 60, 70, 80, 90), _encode_avif, loading.load_image),
    "avif-psnr": LossyCodec(
        "AVIF 4:4:4 speed 6 tuned for PSNR",
        (5, 10, 20, 30, 40, 50, 60, 70, 80, 88),
        _encode_avif_psnr,
        loading.load_image,
    ),
    # The plugin takes qualities, not distances. These are libjxl's distances 24 to 0.4.
    "jxl": LossyCodec("JPEG XL effort 7", (1, 5, 15, 22, 30, 50, 70, 80, 88, 93, 97), _encode_jxl, _decode_jxl),
}

PUBLISHED_PSNR_DB = {
    "hyperprior (Ballé et al., ICLR 2018)": ((0.25, 29.91), (0.5, 33.05), (1.0, 37.14)),
    "mean-scale hyperprior (Minnen et al., NeurIPS 2018)": ((0.25, 30.27), (0.5, 33.38), (1.0, 37.47)),
    "autoregressive and hierarchical (Minnen et al., NeurIPS 2018)": ((0.25, 30.78), (0.5, 33.79), (1.0, 37.76)),
    "VTM, H.266's test model (as in CompressAI)": ((0.25, 31.27), (0.5, 34.36), (1.0, 38.21), (2.0, 42.53)),
}
"""Rate in bpp and PSNR of RGB in dB, mean over the 24 Kodak images.

J. Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018, arXiv:1802.01436.
D. Minnen, J. Ballé and G. Toderici, *Joint autoregressive and hierarchical priors for learned image
compression*, NeurIPS 2018, arXiv:1809.02736. All figures are from the results that come with J. Bégaint
et al., *CompressAI: a PyTorch library and evaluation platform for end-to-end compression research*,
arXiv:2011.03029, interpolated at these rates (PCHIP over the logarithm of the rate).
"""
