"""The command ``vlae``. Data goes to stdout, everything else to stderr.

Exit codes: 0 fine, 1 other error, 2 usage (also "output exists"), 3 corrupt data, 4 unsupported.
Commands of other packages are entry points of the group ``vlae.commands``, loaded by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from codec import __version__
from codec.commands.archive import archive
from codec.commands.compress import compress
from codec.commands.console import flush_output, open_streams, say
from codec.commands.decompress import decompress
from codec.commands.demo import demo
from codec.commands.info import info, models
from codec.commands.measure import measure
from codec.commands.view import desktop, thumbnail, view
from codec.errors import CodecError, CorruptDataError, RequestError, UnsupportedError
from codec.system.messages import text_of
from codec.system.signals import end_on_signals, leave_to_python

EXIT_OTHER, EXIT_USAGE, EXIT_CORRUPT, EXIT_UNSUPPORTED = 1, 2, 3, 4
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141
"""Exit codes, as shells report them, after Ctrl-C, and after a write to a pipe whose reader has gone."""


class ReaderGoneError(Exception):
    """The process that reads a command's output has gone."""


@contextmanager
def _broken_pipes() -> Iterator[None]:
    """Turn a broken pipe into a `ReaderGoneError`, before click turns it into an ordinary exit."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error


class Commands(click.Group):
    """The commands of this package, and those that other packages register."""

    @_broken_pipes()
    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse a command line, and return its context. This may print help.

        Raises
        ------
        ReaderGoneError
            Nobody reads the help.
        """
        return super().make_context(*arguments, **options)

    @_broken_pipes()
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and return what it returns.

        Raises
        ------
        ReaderGoneError
            Nobody reads what it prints.
        """
        return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *_registered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name. A registered command is imported only when it runs."""
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
        with command.make_context(f"vlae {point.name}", list(arguments)) as context:
            return command.invoke(context)

    return run


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vlae")
def vlae() -> None:
    """Compress images with a learned model: lossy, within a largest error, or losslessly."""


for command in (archive, compress, decompress, demo, desktop, info, measure, models, thumbnail, view):
    vlae.add_command(command)


def run(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code. An error is printed as one line on stderr."""
    try:
        result = vlae.main(arguments, prog_name="vlae", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.UsageError as error:
        return _fail(error.format_message(), EXIT_USAGE)
    except RequestError as error:
        return _fail(error, EXIT_USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), EXIT_OTHER)
    except CorruptDataError as error:
        return _fail(error, EXIT_CORRUPT)
    except UnsupportedError as error:
        return _fail(error, EXIT_UNSUPPORTED)
    except ReaderGoneError:
        return EXIT_PIPE
    except (OSError, MemoryError, CodecError) as error:
        return _fail(text_of(error), EXIT_OTHER)
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
