"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from codec.commands.console import check_source
from codec.errors import RequestError
from codec.format.headers import Latents
from codec.format.metadata import KINDS
from codec.images.goals import DEFAULT_EFFORT, DEFAULT_QUALITY, Kind, goal_of

Command = Callable[..., int | None]
Option = Callable[[Command], Command]

file_argument = click.argument(
    "file", metavar="FILE", type=click.Path(), callback=lambda context, option, name: check_source(name)
)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor messages, only errors.")
processes_option = click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="Number of processes; any N gives the same bytes."
)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), metavar="N", help="Largest width times height."
)
model_option = click.option(
    "--model", metavar="NAME", help="With --lossless: a model for certain images; default: the best."
)

_CODING = (
    click.argument("files", metavar="FILES|FOLDERS", nargs=-1, type=click.Path()),
    click.option("-o", "--output", type=click.Path(), metavar="OUT", help="Output file; - is standard output."),
    click.option("--to", type=click.Path(), metavar="DIR", help="Folder for the outputs of several files or a folder."),
    click.option(
        "--from", "listed", type=click.Path(), metavar="LIST", help="Also take the files that LIST names, one a line."
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --to: number of processes; default: one for each processor. Any N gives the same bytes.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="With --to: print a line for each file."),
    click.option("--json", "as_json", is_flag=True, help="With --to: print one JSON object a line for each file."),
    force_option,
    quiet_option,
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of threads of all processes together; any N gives the same bytes.",
    ),
    max_pixels_option,
)
_EXACT = (
    click.option("--lossless", is_flag=True, help="Every sample comes back."),
    click.option("--max-error", type=int, metavar="D", help="No colour sample is off by more than D, 0 to 10."),
    click.option("--quality", type=int, metavar="Q", help=f"Quality, 1 to 100; the default is {DEFAULT_QUALITY}."),
)
_SEARCHED = (
    click.option("--target-bpp", type=float, metavar="B", help="The file has at most B bits a pixel."),
    click.option("--target-size", type=int, metavar="BYTES", help="The file has at most BYTES bytes."),
    click.option("--min-psnr", type=float, metavar="DB", help="Colours have at least this PSNR."),
)
_LATENTS = (
    click.option("--no-latents", is_flag=True, help="Code the image without latents."),
    click.option("--no-bits-back", is_flag=True, help="Pay for the latents in full."),
)
_METADATA = (
    click.option("--strip", is_flag=True, help="Keep no metadata."),
    click.option("--keep", metavar="KINDS", help=f"Keep only these kinds of metadata: {','.join(KINDS)}."),
)
_EFFORT = click.option("--effort", type=int, default=DEFAULT_EFFORT, metavar="E", help="Effort, 1 to 3.")
_BLOCK = click.option(
    "--block",
    type=int,
    metavar="N",
    help="Images in a block, which share their bits; default: up to 8, and small ones up to half a megapixel together.",
)
_GOALS = ("lossless", *(kind.value for kind in Kind))


def _all(*options: Option) -> Option:
    """Return a decorator that adds several options to a command."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


file_options = _all(*_EXACT, *_SEARCHED, _EFFORT, model_option, *_LATENTS, *_METADATA)
"""The options of a file: its goal, and how it is made. `file_parameters` turns them into parameters."""
archive_options = _all(*_EXACT, model_option, _BLOCK)
"""The options of an archive: the goal of its images, and the number of images in a block."""


@dataclass(frozen=True)
class Request:
    """What ``vlae compress`` and ``vlae decompress`` are to work, and how, apart from what the files are to be.

    The attributes are the values of the options in `coding_options`.
    """

    files: tuple[str, ...]
    output: str | None
    to: str | None
    listed: str | None
    jobs: int | None
    verbose: bool
    as_json: bool
    force: bool
    quiet: bool
    threads: int | None
    max_pixels: int | None


def coding_options(command: Callable[..., int]) -> Command:
    """Return a command that has the options of a `Request`, and that is called with one and with its other options."""

    @functools.wraps(command)
    def gather(**given: Any) -> int:
        return command(Request(**{field.name: given.pop(field.name) for field in fields(Request)}), **given)

    return _all(*_CODING)(gather)


def file_parameters(options: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of `codec.compress` that the values of `file_options` stand for.

    Raises
    ------
    RequestError
        Two options exclude each other.
    """
    given = dict(options)
    no_latents, no_bits_back = given.pop("no_latents"), given.pop("no_bits_back")
    if no_latents and no_bits_back:
        raise RequestError("--no-latents and --no-bits-back exclude each other")
    strip, keep = given.pop("strip"), given.pop("keep")
    if strip and keep is not None:
        raise RequestError("--strip and --keep exclude each other")
    given["keep"] = () if strip else keep and tuple(kind.strip() for kind in keep.split(","))
    return given | {"latents": Latents.NONE if no_latents else Latents.TWO_PART if no_bits_back else None}


def is_lossy(options: dict[str, Any]) -> bool:
    """Return whether the options ask for lossy files. The goal is checked, before any work is done.

    Raises
    ------
    RequestError
        There are two goals, or its value is out of range.
    """
    goal = goal_of(**{name: options[name] for name in _GOALS if name in options})
    return goal.kind != Kind.MAX_ERROR
