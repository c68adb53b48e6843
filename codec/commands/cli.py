"""The command ``vlae``. Data goes to stdout, everything else to stderr.

Exit codes: 0 fine, 1 other error, 2 usage (also "output exists"), 3 corrupt data, 4 unsupported.
Commands of other packages are entry points of the group ``vlae.commands``, loaded by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from codec import __version__
from codec.commands import archive_cli
from codec.commands.console import (
    STANDARD,
    check_source,
    check_target,
    find_images,
    flush_output,
    force_option,
    is_stream,
    open_streams,
    prepare,
    progress_bar,
    quiet_option,
    read,
    say,
    seekable,
    usage,
    write,
)
from codec.errors import CodecError, CorruptDataError, UnsupportedError
from codec.images.goals import DEFAULT_EFFORT, DEFAULT_QUALITY, Kind, goal_of
from codec.system.signals import end_on_signals, leave_to_python

EXIT_OTHER, EXIT_USAGE, EXIT_CORRUPT, EXIT_UNSUPPORTED = 1, 2, 3, 4
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141
"""What shells report for a process that Ctrl-C ended, or that wrote to a pipe whose reader has gone."""

SUFFIX = ".vlae"


class Commands(click.Group):
    """Our commands and those that other packages register."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, sorted."""
        return sorted({*super().list_commands(ctx), *_registered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; a registered one is imported only when it runs."""
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in _registered():
            return _registered_command(_registered()[cmd_name])
        return command


def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="vlae.commands")}


def _registered_command(point: EntryPoint) -> click.Command:
    @click.command(
        point.name,
        short_help=f"See vlae {point.name} --help.",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> Any:
        leave_to_python()
        try:
            command = point.load()
        except ImportError as error:
            raise click.ClickException(
                f"{point.name}: cannot import {error.name}: pip install vlae[{point.name}]"
            ) from error
        return command.main(list(arguments), prog_name=f"vlae {point.name}", standalone_mode=False)

    return run


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vlae")
def vlae() -> None:
    """Compress images with a learned model: lossy, within a largest error, or losslessly."""


_output = click.option("-o", "--output", metavar="OUT", help="Output file; - is standard output.")
_threads = click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads; same bytes for any N.")
_file = click.argument("file", metavar="FILE", callback=lambda context, option, name: check_source(name))
_max_pixels = click.option("--max-pixels", type=click.IntRange(min=1), metavar="N", help="Largest width times height.")


def _fidelity(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what a file is to be, and how it is made; `codec.compress` checks them."""
    for option in reversed(
        (
            click.option("--lossless", is_flag=True, help="Every sample comes back."),
            click.option("--max-error", type=int, metavar="D", help="No colour sample is off by more than D, 0 to 10."),
            click.option("--quality", type=int, metavar="Q", help=f"1 to 100; {DEFAULT_QUALITY} if nothing is said."),
            click.option("--target-bpp", type=float, metavar="B", help="At most B bits a pixel, all counted."),
            click.option("--target-size", type=int, metavar="BYTES", help="At most so many bytes."),
            click.option("--min-psnr", type=float, metavar="DB", help="Colours have at least this PSNR."),
            click.option("--effort", type=int, default=DEFAULT_EFFORT, metavar="E", help="Of lossy files, 1 to 3."),
            click.option("--model", metavar="NAME", help="Of a lossless file: a model for certain images."),
            click.option("--no-latents", is_flag=True, help="Code the image without latents."),
            click.option("--no-bits-back", is_flag=True, help="Pay for the latents in full."),
        )
    ):
        command = option(command)
    return command


@vlae.command()
@_file
@_fidelity
@_output
@force_option
@quiet_option
@_threads
@_max_pixels
def compress(
    file: str,
    output: str | None,
    force: bool,
    quiet: bool,
    threads: int | None,
    max_pixels: int | None,
    **fidelity: Any,
) -> None:
    """Compress an image to FILE with the suffix .vlae: small and close to the original, if nothing else is said.

    At most one of --lossless, --max-error, --quality, --target-bpp, --target-size and --min-psnr says what
    the file is to be.
    """
    options, lossy = _options(fidelity)
    target = _target(file, output, SUFFIX, force)

    from codec import api
    from codec.image_files import pillow

    image = pillow.load_image(read(file) if is_stream(file) else file, max_pixels)
    prepare(quiet, for_lossy=lossy)
    with progress_bar(quiet) as progress:
        data = usage(api.compress, image, threads=threads, progress=progress, max_pixels=max_pixels, **options)
    write(target, data, force)
    if not quiet:
        facts = api.info(data, max_pixels=max_pixels)
        if facts.mode != image.mode:
            what = "palette" if image.mode == "P" else "transparent colour"
            say(f"{file}: its {what} became {facts.mode}, --lossless keeps it")
        kind = f"lossy, quality {facts.quality}" if facts.quality else facts.fidelity
        if lossy and not facts.quality:
            kind += ", which is shorter and no worse here"
        bpp = facts.bpsp * facts.channels
        say(f"{file} -> {target}: {facts.file_bytes} bytes, {bpp:.3f} bits a pixel, {kind}")
        if facts.dropped:
            say(f"vlae: {file}: not kept: {', '.join(facts.dropped)}")


@vlae.command()
@_file
@click.option("--latents-only", is_flag=True, help="What the latents alone hold: a preview without fine detail.")
@click.option("--sample", type=click.IntRange(min=0), metavar="SEED", help="With it, the model makes up detail.")
@_output
@force_option
@quiet_option
@_threads
@_max_pixels
def decompress(
    file: str,
    latents_only: bool,
    sample: int | None,
    output: str | None,
    force: bool,
    quiet: bool,
    threads: int | None,
    max_pixels: int | None,
) -> None:
    """Decompress FILE to an image; the format is that of the output's suffix, by default PNG."""
    if sample is not None and not latents_only:
        raise click.UsageError("--sample: expected --latents-only, too")
    target = _target(file, output, ".png", force)

    from codec import api
    from codec.image_files import pillow

    if not is_stream(target):
        usage(pillow.check_output, target)
    data = read(file)
    facts = api.info(data, max_pixels=max_pixels)
    if facts.latents is not None:
        prepare(quiet, for_lossy=facts.quality is not None)
    with progress_bar(quiet) as progress:
        image = api.decompress(
            data,
            latents_only=latents_only,
            sample=sample,
            threads=threads,
            progress=progress,
            max_pixels=max_pixels,
        )
    if is_stream(target):
        write(target, pillow.image_bytes(image), force)
    else:
        usage(pillow.save_image, image, target, force=force)
    if not quiet:
        say(f"{file} -> {target}: {image.width}x{image.height} {image.mode}")
        if left_out := pillow.left_out(image, target):
            say(f"vlae: {target}: not written: {', '.join(left_out)}")


@vlae.command()
@_file
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_max_pixels
def info(file: str, as_json: bool, max_pixels: int | None) -> None:
    """Print what FILE says of itself, without decoding it."""
    from codec import api

    facts = api.info(read(file), max_pixels=max_pixels).as_dict()
    if as_json:
        click.echo(json.dumps({"file": file, **facts}))
        return
    for name, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        text = ", ".join(value) if isinstance(value, tuple) else text
        if text not in (None, ""):
            click.echo(f"{name:15} {text:.4f}" if isinstance(text, float) else f"{name:15} {text}")


@vlae.command()
def models() -> None:
    """Print the models of this installation and how they were made."""
    from codec.frozen.shipped import model_cards

    for card in model_cards():
        for name, value in card.items():
            click.echo(f"{name:24} {value}")
        click.echo()


@vlae.command()
@click.argument("names", metavar="FILES|FOLDERS|ARCHIVES", nargs=-1, required=True)
@_fidelity
@click.option(
    "--importance", type=int, metavar="K", help="Bound log p(x) with K samples; each takes as long as decoding."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, of images the last with totals.")
@click.option("--html", metavar="PAGE", help="Also write a page with pictures, which needs no other file.")
@force_option
@click.pass_context
def measure(
    context: click.Context,
    /,
    names: tuple[str, ...],
    importance: int | None,
    as_json: bool,
    html: str | None,
    force: bool,
    **fidelity: Any,
) -> None:
    """Compress and decompress images in memory, and print where every bit went; or where those of archives went."""
    options, lossy = _options(fidelity)
    if html == STANDARD:
        raise click.UsageError("--html: expected a file, got standard output, where the ledger goes")
    for name in names:
        check_source(name, folder=True)
    if html is not None:
        check_target(html, force, *names)

    from codec.format.archive_sections import is_archive

    with ExitStack() as stack:
        files = {name: stack.enter_context(seekable(name)) for name in names}
        if archives := [name for name, path in files.items() if path.is_file() and is_archive(path)]:
            given = [name for name in fidelity if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
            if given or html or len(archives) < len(files):
                raise click.UsageError(
                    f"{archives[0]}: an archive is measured as it is, without images or their options"
                )
            archive_cli.measure(files, as_json, importance)
            return
        images: dict[str, Path] = {}
        left_out: list[str] = []
        for name, path in files.items():
            found, lines = find_images(path, False, below=False) if path.is_dir() else ([], [])
            images |= {str(p): p for p in found} if path.is_dir() else {name: path}
            left_out += lines
        if not images:
            raise click.UsageError(f"{', '.join(names)}: expected images, got none")

        from codec.ledger import ledger
        from codec.report.page import Page

        prepare(quiet=False, for_lossy=lossy)
        bar = partial(progress_bar, importance is None, "sample")
        page = Page() if html else None
        visit = page.add if page else None
        usage(ledger.run, images, as_json, bar=bar, importance=importance, visit=visit, **options)
        for line in left_out:
            say(line)
    if html and page:
        data = usage(page.encode)
        write(html, data, force)
        say(f"{html}: {len(data)} bytes")


@vlae.command()
def demo() -> None:
    """Compress a small image that comes with vlae, decompress it, check it, print the ledger."""
    from codec.commands.demo import run

    prepare(quiet=False, for_lossy=False)
    run()


vlae.add_command(archive_cli.archive)


def _options(fidelity: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the parameters of `codec.compress` for the options of `_fidelity`, and whether the file is to be lossy.

    They are checked before any work is done.
    """
    from codec.format.headers import Latents

    given = dict(fidelity)
    no_latents, no_bits_back = given.pop("no_latents"), given.pop("no_bits_back")
    if no_latents and no_bits_back:
        raise click.UsageError("--no-latents and --no-bits-back exclude each other")
    goal = usage(goal_of, **{name: value for name, value in given.items() if name not in ("effort", "model")})
    latents = Latents.NONE if no_latents else Latents.TWO_PART if no_bits_back else None
    return given | {"latents": latents}, goal.kind != Kind.MAX_ERROR


def _target(source: str, output: str | None, suffix: str, force: bool) -> str:
    """Return where to write, refused before any work is done."""
    if output is None:
        output = STANDARD if is_stream(source) else str(Path(source).with_suffix(suffix))
    check_target(output, force, source)
    return output


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; errors are one line on stderr."""
    try:
        result = vlae.main(arguments, prog_name="vlae", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.UsageError as error:
        return _fail(error.format_message(), EXIT_USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), EXIT_OTHER)
    except CorruptDataError as error:
        return _fail(error, EXIT_CORRUPT)
    except UnsupportedError as error:
        return _fail(error, EXIT_UNSUPPORTED)
    except SystemExit:  # click makes this of a broken pipe, and of nothing else here
        return EXIT_PIPE
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error, EXIT_OTHER)
    except MemoryError:
        return _fail("not enough memory", EXIT_OTHER)
    except CodecError as error:
        return _fail(error, EXIT_OTHER)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    return result if isinstance(result, int) else 0


def _fail(message: object, code: int) -> int:
    say(f"vlae: {' '.join(str(message).split())}")
    return code


def main() -> None:
    """Run the command of this process's arguments."""
    open_streams()
    end_on_signals()
    code = run()
    sys.exit(code if flush_output() else code or EXIT_OTHER)
