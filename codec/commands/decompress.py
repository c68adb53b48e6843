"""``vlae decompress``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from codec.commands.batch import one_of, run_batch
from codec.commands.console import is_stream, naming, prepare, progress_bar, read, say, status_of, target_of, write
from codec.commands.options import Request, coding_options

if TYPE_CHECKING:
    from codec.batch.work import FileResult, Job


@click.command()
@click.option("--latents-only", is_flag=True, help="Write a preview of what the latents hold, without fine detail.")
@click.option(
    "--sample", type=click.IntRange(min=0), metavar="SEED", help="With --latents-only: the model draws the detail."
)
@coding_options
def decompress(request: Request, **options: Any) -> int:
    """Decompress files to images.

    The image of a single file is written beside it as PNG (CMYK as TIFF), or to OUT in the format of its suffix. Those
    of several files, and of all below a folder, are written to DIR likewise. Images that are there, whole and not older
    than their files, are then skipped.
    """
    if options["sample"] is not None and not options["latents_only"]:
        raise click.UsageError("--sample: expected --latents-only, too")
    parameters = options | {"max_pixels": request.max_pixels}
    file = one_of(request)
    if file is not None:
        return _decompress_one(file, request, parameters)

    from codec.batch.plan import DECOMPRESS

    def before(jobs: Sequence[Job]) -> None:
        for lossy in _kinds(jobs):
            prepare(request.quiet, for_lossy=lossy)

    return run_batch(DECOMPRESS, request, parameters, before, _lines_of)


def _decompress_one(file: str, request: Request, parameters: dict[str, Any]) -> int:
    """Decompress a file or a stream, and return the exit code."""
    from codec import api
    from codec.image_files import writing

    if request.output is not None and not is_stream(target_of(file, request.output, "", request.force)):
        writing.check_output(request.output)
    status = status_of(file)
    data = read(file)
    with naming(file):
        info = api.info(data, max_pixels=request.max_pixels)
        target = target_of(file, request.output, writing.suffix_for(info.mode), request.force)
        if info.latents is not None:
            prepare(request.quiet, for_lossy=info.quality is not None)
        with progress_bar(request.quiet) as progress:
            image = api.decoded(data, threads=request.threads, progress=progress, **parameters)
    if is_stream(target):
        write(target, writing.image_bytes(image), request.force)
    else:
        writing.save_image(image, target, force=request.force, like=status)
    if not request.quiet:
        what = f"{info.width}x{info.height} {info.mode}"
        for line in _lines(file, target, what, writing.left_out(image, target)):
            say(line)
    return 0


def _lines_of(result: FileResult) -> list[str]:
    return _lines(result.file, result.output, f"{result.output_bytes} bytes {result.mode}", result.lost)


def _lines(file: str, target: str, what: str, lost: Iterable[str]) -> list[str]:
    """Return what is said of an image that was written."""
    lines = [f"{file} -> {target}: {what}"]
    return [*lines, f"vlae: {target}: not written: {', '.join(lost)}"] if lost else lines


def _kinds(jobs: Iterable[Job]) -> set[bool]:
    """Return whether there are lossy files, and exact ones, among those that need a model."""
    from codec.errors import CodecError
    from codec.format.beginning import read_beginning
    from codec.format.headers import Fidelity

    kinds: set[bool] = set()
    for job in jobs:
        if len(kinds) == 2:
            break
        try:
            with job.files.source.open("rb") as file:
                header, _ = read_beginning(file)
        except (OSError, CodecError):  # its result will say so
            continue
        if header.fidelity != Fidelity.STORED:
            kinds.add(header.quality is not None)
    return kinds
