"""Ways to look at images: ``vlae view`` shows a page, ``vlae thumbnail`` and ``vlae desktop`` serve file managers."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from shutil import which

import click

from codec.commands.console import (
    STANDARD,
    check_source,
    check_target,
    naming,
    prepare,
    read,
    say,
    status_of,
    write,
)
from codec.commands.options import file_argument, force_option, quiet_option
from codec.desktop import DEFAULT_PX, LARGEST_PX, entries
from codec.system.signals import ignore_closed_pipes


def _need_extra() -> None:
    """Raise ClickException if a package of the extra ``view`` is missing."""
    try:
        import flask  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this needs {error.name}: pip install 'vlae[view]'") from error


@click.command()
@click.argument("name", metavar="FILE|FOLDER|ARCHIVE")
@click.argument("original", required=False)
@click.option("--no-browser", is_flag=True, help="Only print the address, open no browser.")
def view(name: str, original: str | None, no_browser: bool) -> None:
    """Show images beside what their files decode to, on a page in the browser, until Ctrl-C.

    FILE is an image, of which the page makes files; or a .vlae file, with its ORIGINAL if there is one. The page can
    be opened on this machine alone. Nothing is written to disk.
    """
    _need_extra()
    if STANDARD in (name, original):
        raise click.UsageError("view: expected a file or a folder, got standard input")
    check_source(name, folder=True)
    if original is not None:
        check_source(original)

    from codec.view.server import serve
    from codec.view.subjects import subjects_of
    from codec.view.worker import Worker

    subjects, left_out = subjects_of(name, original)
    if left_out:
        say(f"vlae: {left_out}")
    worker = Worker()
    worker.start(_compile)
    server, address = serve(subjects, worker)
    click.echo(address)
    say("vlae: Ctrl-C ends it")
    if not no_browser:
        webbrowser.open(address)
    ignore_closed_pipes()
    server.serve_forever()


def _compile() -> None:
    for for_lossy in (True, False):
        prepare(quiet=False, for_lossy=for_lossy)


@click.command()
@file_argument
@click.option(
    "-s",
    "--size",
    type=click.IntRange(1, LARGEST_PX),
    default=DEFAULT_PX,
    metavar="PX",
    help=f"Pixels of the longer side, at most {LARGEST_PX}; default: {DEFAULT_PX}.",
)
@click.option("-o", "--output", type=click.Path(), metavar="OUT", required=True, help="Output; - is standard output.")
@force_option
@quiet_option
def thumbnail(file: str, size: int, output: str, force: bool, quiet: bool) -> None:
    """Write a small picture of a file, turned upright, within PX times PX pixels. It is never enlarged.

    The format is that of OUT's suffix, if it is one of a lossless format, or else PNG: temporary files have any suffix.
    """
    from PIL import Image

    from codec import api
    from codec.desktop.thumbnails import thumbnail as thumbnail_of
    from codec.image_files import writing

    suffix, status = Path(output).suffix.lower(), status_of(file)
    if suffix in Image.registered_extensions():
        writing.check_output(output)
    check_target(output, force, file)
    data = read(file)
    with naming(file):
        info = api.info(data)
        if info.latents is not None and not quiet:  # a file manager reads no message, and wants no kernels of encoders
            prepare(quiet, for_lossy=info.quality is not None)
        image = thumbnail_of(data, size)
    if suffix in writing.OUTPUTS:
        writing.save_image(image, output, force=force, like=status)
    else:
        write(output, writing.image_bytes(image), force, status)
    if not quiet:
        say(f"{file} -> {output}: {image.width}x{image.height} {image.mode}")


@click.group()
def desktop() -> None:
    """Let file managers of Linux know .vlae files and show their thumbnails."""


@desktop.command()
def install() -> None:
    """Write a thumbnailer and a MIME type into your data folder, and print their paths.

    The folder is $XDG_DATA_HOME or ~/.local/share. Files that are there already, and equal, are left alone.
    """
    folder = entries.data_folder()
    for path in entries.install(folder, _own_command()):
        click.echo(f"wrote {path}")
    if not entries.update(folder):
        say(
            f"vlae: {entries.UPDATE} is not installed, so file managers do not know .vlae files yet: install "
            "shared-mime-info, then run vlae desktop install again"
        )


@desktop.command()
def remove() -> None:
    """Delete what vlae desktop install wrote, and print the paths."""
    folder = entries.data_folder()
    removed = entries.remove(folder)
    for path in removed:
        click.echo(f"removed {path}")
    if removed:
        entries.update(folder)


def _own_command() -> str:
    """Return the absolute path of the command that runs, or of the one beside this Python.

    Raises
    ------
    ClickException
        There is none.
    """
    running = which(sys.argv[0]) if Path(sys.argv[0]).stem == "vlae" else None
    found = running or which("vlae", path=str(Path(sys.executable).parent))
    if found is None:
        raise click.ClickException("desktop: the command vlae is not installed, so no file manager can run it")
    return str(Path(found).absolute())
