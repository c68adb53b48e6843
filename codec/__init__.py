"""vlae: a learned image codec whose files are as long as the ELBO says.

`compress` and `decompress` turn Pillow images into bytes and back, `info` reads a file's header, `thumbnail` makes a
small picture of a file, `measure` accounts for every bit in a `Ledger`. `compress_files` and `decompress_files` work
whole folders. `create_archive` and `add_to_archive` put many images into one file, which `Archive` reads,
`measure_archive` accounts for, and `ArchiveDataset` gives to training. `register_opener` makes Pillow open and save our
files. Names are loaded at their first use, so that importing the package, and ``vlae info``, do not wait for the
compiler of the kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.api import Info, compress, decompress, info
    from codec.archive.dataset import ArchiveDataset
    from codec.archive.reader import Archive
    from codec.archive.writer import add_to_archive, create_archive
    from codec.batch.engine import compress_files, decompress_files
    from codec.batch.work import FileResult
    from codec.desktop.thumbnails import thumbnail
    from codec.errors import CodecError, CorruptDataError, ImageError, ModelError, RequestError, UnsupportedError
    from codec.format.headers import Latents
    from codec.ledger.archive import measure_archive
    from codec.ledger.ledger import Ledger
    from codec.ledger.measure import Measurement, measure
    from codec.plugin.registration import register_opener

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "ArchiveDataset",
    "CodecError",
    "CorruptDataError",
    "FileResult",
    "ImageError",
    "Info",
    "Latents",
    "Ledger",
    "Measurement",
    "ModelError",
    "RequestError",
    "UnsupportedError",
    "__version__",
    "add_to_archive",
    "compress",
    "compress_files",
    "create_archive",
    "decompress",
    "decompress_files",
    "info",
    "measure",
    "measure_archive",
    "register_opener",
    "thumbnail",
]

_HOMES = {
    "codec.api": ("Info", "compress", "decompress", "info"),
    "codec.archive.dataset": ("ArchiveDataset",),
    "codec.archive.reader": ("Archive",),
    "codec.ledger.archive": ("measure_archive",),
    "codec.archive.writer": ("add_to_archive", "create_archive"),
    "codec.batch.engine": ("compress_files", "decompress_files"),
    "codec.batch.work": ("FileResult",),
    "codec.desktop.thumbnails": ("thumbnail",),
    "codec.format.headers": ("Latents",),
    "codec.errors": (
        "CodecError",
        "CorruptDataError",
        "ImageError",
        "ModelError",
        "RequestError",
        "UnsupportedError",
    ),
    "codec.ledger.ledger": ("Ledger",),
    "codec.ledger.measure": ("Measurement", "measure"),
    "codec.plugin.registration": ("register_opener",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
