"""``vlae decompress``."""

from __future__ import annotations

from typing import Any

import click

from codec.commands.console import is_stream, prepare, progress_bar, read, say, target_of, write
from codec.commands.options import (
    file_argument,
    force_option,
    max_pixels_option,
    output_option,
    quiet_option,
    threads_option,
)


@click.command()
@file_argument
@click.option("--latents-only", is_flag=True, help="Write a preview of what the latents hold, without fine detail.")
@click.option(
    "--sample", type=click.IntRange(min=0), metavar="SEED", help="With --latents-only: the model draws the detail."
)
@output_option
@force_option
@quiet_option
@threads_option
@max_pixels_option
def decompress(file: str, output: str | None, force: bool, quiet: bool, **options: Any) -> None:
    """Decompress FILE to an image; the format is that of the output's suffix, by default PNG, and TIFF for CMYK."""
    if options["sample"] is not None and not options["latents_only"]:
        raise click.UsageError("--sample: expected --latents-only, too")
    from codec import api
    from codec.image_files import writing

    if output is not None and not is_stream(target_of(file, output, "", force)):
        writing.check_output(output)
    data = read(file)
    facts = api.info(data, max_pixels=options["max_pixels"])
    target = target_of(file, output, writing.suffix_for(facts.mode), force)
    if facts.latents is not None:
        prepare(quiet, for_lossy=facts.quality is not None)
    with progress_bar(quiet) as progress:
        image = api.decoded(data, progress=progress, **options)
    if is_stream(target):
        write(target, writing.image_bytes(image), force)
    else:
        writing.save_image(image, target, force=force)
    if not quiet:
        say(f"{file} -> {target}: {facts.width}x{facts.height} {facts.mode}")
        if left_out := writing.left_out(image, target):
            say(f"vlae: {target}: not written: {', '.join(left_out)}")
