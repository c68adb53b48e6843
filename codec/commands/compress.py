"""``vlae compress``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from codec.commands.batch import one_of, run_batch
from codec.commands.console import is_stream, prepare, progress_bar, read, say, status_of, target_of, write
from codec.commands.options import Request, coding_options, file_options, file_parameters, is_lossy

if TYPE_CHECKING:
    from codec.api import Info
    from codec.batch.work import FileResult


@click.command()
@file_options
@coding_options
def compress(request: Request, **options: Any) -> int:
    """Compress images to files with the suffix .vlae: small and close to the original, if nothing else is said.

    The file of a single image is written beside it, or to OUT. Those of several images, and of all below a folder, are
    written to DIR. Files that are there, whole and not older than their images, are then skipped.

    At most one of --lossless, --max-error, --quality, --target-bpp, --target-size and --min-psnr says what
    the files are to be.
    """
    parameters = file_parameters(options) | {"max_pixels": request.max_pixels}
    lossy = is_lossy(options)
    file = one_of(request)
    if file is not None:
        return _compress_one(file, request, lossy, parameters)

    from codec.batch.plan import COMPRESS

    def before(jobs: Sequence[object]) -> None:
        prepare(request.quiet, for_lossy=lossy, effort=parameters["effort"])

    return run_batch(COMPRESS, request, parameters, before, lambda result: _lines_of(result, lossy))


def _compress_one(file: str, request: Request, lossy: bool, parameters: dict[str, Any]) -> int:
    """Compress a file or a stream, and return the exit code."""
    from codec import api
    from codec.batch.plan import VLAE
    from codec.image_files import loading

    target = target_of(file, request.output, VLAE, request.force)
    status = status_of(file)
    source = read(file) if is_stream(file) else file
    image = loading.load_image(source, request.max_pixels)
    prepare(request.quiet, for_lossy=lossy, effort=parameters["effort"])
    with progress_bar(request.quiet) as progress:
        data = api.compress(image, threads=request.threads, progress=progress, **parameters)
    write(target, data, request.force, status)
    if not request.quiet:
        source_bytes = status.st_size if status else len(source)
        info = api.info(data, max_pixels=request.max_pixels)
        for line in _lines(file, target, info, image.mode, source_bytes, lossy):
            say(line)
    return 0


def _lines_of(result: FileResult, lossy: bool) -> list[str]:
    if result.info is None or result.source_bytes is None:
        return []
    return _lines(result.file, result.output, result.info, result.mode, result.source_bytes, lossy)


def _lines(file: str, target: str, info: Info, mode: str, source_bytes: int, lossy: bool) -> list[str]:
    """Return what is said of a file that was made of an image.

    Parameters
    ----------
    file, target : str
        Names of the image and of the file.
    info : Info
        What the file says of itself.
    mode : str
        Mode of the image.
    source_bytes : int
        Length of the image's own file.
    lossy : bool
        Whether a lossy file was asked for.
    """
    lines = []
    if info.mode != mode:
        what = {"P": "palette", "CMYK": "inks"}.get(mode, "transparent colour")
        what = f"mode {mode} of 16 bits a sample" if ";16" in mode else what
        lines.append(f"{file}: its {what} became {info.mode}, --lossless keeps it")
    kind = f"lossy, quality {info.quality}" if info.quality else info.fidelity
    if lossy and not info.quality:
        kind += ", which is shorter and no worse here"
    lines.append(f"{file} -> {target}: {info.file_bytes} bytes, {info.bpsp * info.channels:.3f} bits a pixel, {kind}")
    if info.file_bytes > source_bytes:
        lines.append(f"vlae: {target}: is larger than its source, which has {source_bytes} bytes")
    if info.dropped:
        lines.append(f"vlae: {file}: not kept: {', '.join(info.dropped)}")
    return lines
