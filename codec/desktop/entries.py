"""What tells a desktop of our files: their MIME type, and the command that makes their thumbnails.

Two files in the user's data folder say it, as the shared MIME-info specification of freedesktop.org and the
thumbnailers of file managers want it. Archives have no thumbnail, so their suffix and magic are left out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from shutil import which

from codec.format.headers import MAGIC
from codec.plugin.registration import MIME_TYPE
from codec.system.outputs import write_file

THUMBNAILER = Path("thumbnailers", "vlae.thumbnailer")
MIME_INFO = Path("mime", "packages", "vlae.xml")
UPDATE = "update-mime-database"
"""The command of shared-mime-info that reads `MIME_INFO` into the folder's database."""

_MIME_INFO = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{MIME_TYPE}">
    <comment>VLAE image</comment>
    <magic priority="50">
      <match type="string" offset="0" value="{MAGIC.decode()}"/>
    </magic>
    <glob pattern="*.vlae"/>
  </mime-type>
</mime-info>
"""


def data_folder() -> Path:
    """Return the user's folder for data, ``$XDG_DATA_HOME`` or ``~/.local/share``."""
    named = os.environ.get("XDG_DATA_HOME", "")
    # The specification says that a relative path is to be ignored.
    return Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"


def install(folder: Path, command: str) -> list[Path]:
    """Write the two files, and return the paths of those that were not there yet with the same content.

    Parameters
    ----------
    folder : Path
        From `data_folder`.
    command : str
        Absolute path of the command ``vlae``.

    Raises
    ------
    OSError
        A file cannot be written.
    """
    written = []
    for name, text in ((THUMBNAILER, _thumbnailer(command)), (MIME_INFO, _MIME_INFO)):
        path, data = folder / name, text.encode()
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data, force=True)
            written.append(path)
    return written


def remove(folder: Path) -> list[Path]:
    """Delete the two files, and return the paths of those that were there. The inverse of `install`.

    Raises
    ------
    OSError
        A file cannot be deleted.
    """
    there = [folder / name for name in (THUMBNAILER, MIME_INFO) if os.path.lexists(folder / name)]
    for path in there:
        path.unlink()
    return there


def update(folder: Path) -> bool:
    """Make the desktop read `MIME_INFO` again. Return False if `UPDATE` is not installed.

    Raises
    ------
    OSError
        The command failed.
    """
    command, mime = which(UPDATE), folder / MIME_INFO.parts[0]
    if command is None:
        return False
    done = subprocess.run([command, str(mime)], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise OSError(f"{UPDATE} {mime}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return True


def _thumbnailer(command: str) -> str:
    """Return the file that names the command of thumbnails. A desktop makes the output before, hence ``--force``."""
    # Two layers are undone when the file is read: %% stands for %, and a backslash escapes.
    words = shlex.quote(command).replace("%", "%%").replace("\\", "\\\\")
    return (
        "[Thumbnailer Entry]\n"
        f"TryExec={command.replace(chr(92), 2 * chr(92))}\n"
        f"Exec={words} thumbnail --quiet --force --size %s %i --output %o\n"
        f"MimeType={MIME_TYPE};\n"
    )
