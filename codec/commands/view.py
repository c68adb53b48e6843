"""``vlae view``: a page that shows originals beside decoded images."""

from __future__ import annotations

import webbrowser

import click

from codec.commands.console import STANDARD, check_source, prepare, say
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
