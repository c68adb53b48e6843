"""``vlae compress``."""

from __future__ import annotations

from typing import Any

import click

from codec.commands.console import is_stream, prepare, progress_bar, read, say, target_of, write
from codec.commands.options import (
    file_argument,
    file_options,
    file_parameters,
    force_option,
    is_lossy,
    max_pixels_option,
    output_option,
    quiet_option,
    threads_option,
)

SUFFIX = ".vlae"


@click.command()
@file_argument
@file_options
@output_option
@force_option
@quiet_option
@threads_option
@max_pixels_option
def compress(
    file: str,
    output: str | None,
    force: bool,
    quiet: bool,
    threads: int | None,
    max_pixels: int | None,
    **options: Any,
) -> None:
    """Compress an image to FILE with the suffix .vlae: small and close to the original, if nothing else is said.

    At most one of --lossless, --max-error, --quality, --target-bpp, --target-size and --min-psnr says what
    the file is to be.
    """
    parameters = file_parameters(options)
    lossy = is_lossy(options)
    target = target_of(file, output, SUFFIX, force)

    from codec import api
    from codec.image_files import loading

    image = loading.load_image(read(file) if is_stream(file) else file, max_pixels)
    prepare(quiet, for_lossy=lossy, effort=parameters["effort"])
    with progress_bar(quiet) as progress:
        data = api.compress(image, threads=threads, progress=progress, max_pixels=max_pixels, **parameters)
    write(target, data, force)
    if quiet:
        return
    facts = api.info(data, max_pixels=max_pixels)
    if facts.mode != image.mode:
        what = {"P": "palette", "CMYK": "inks"}.get(image.mode, "transparent colour")
        what = f"mode {image.mode} of 16 bits a sample" if ";16" in image.mode else what
        say(f"{file}: its {what} became {facts.mode}, --lossless keeps it")
    kind = f"lossy, quality {facts.quality}" if facts.quality else facts.fidelity
    if lossy and not facts.quality:
        kind += ", which is shorter and no worse here"
    bpp = facts.bpsp * facts.channels
    say(f"{file} -> {target}: {facts.file_bytes} bytes, {bpp:.3f} bits a pixel, {kind}")
    if facts.dropped:
        say(f"vlae: {file}: not kept: {', '.join(facts.dropped)}")
