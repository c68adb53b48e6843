"""What tells a desktop of our files."""

import subprocess
from configparser import ConfigParser
from pathlib import Path
from shutil import which
from xml.etree import ElementTree

import pytest
from PIL import Image
from support import registries

import codec
from codec.desktop import entries
from codec.format.archive_sections import MAGIC as ARCHIVE_MAGIC

GOLDEN = Path(__file__).parents[1] / "golden"
SPACE = {"": "http://www.freedesktop.org/standards/shared-mime-info"}


def test_a_file_manager_can_run_the_entry(tmp_path, monkeypatch):
    registries.restored(monkeypatch)
    codec.register_opener()
    command = tmp_path / "50% 'new' \\ folder" / "vlae"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    command.chmod(0o755)
    entries.install(tmp_path, str(command))
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(tmp_path / "thumbnailers" / "vlae.thumbnailer", "utf-8")
    assert parser.sections() == ["Thumbnailer Entry"]
    keys = {key: value.replace("\\\\", "\\") for key, value in parser["Thumbnailer Entry"].items()}
    assert keys.pop("TryExec") == str(command)
    assert keys.pop("MimeType") == f"{Image.MIME['VLAE']};"
    line = keys.pop("Exec")
    assert not keys
    for code, value in (("%s", "128"), ("%i", "/a/photo.vlae"), ("%o", "/a/x.png"), ("%%", "%")):
        line = line.replace(code, value)
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "thumbnail|--quiet|--force|--size|128|/a/photo.vlae|--output|/a/x.png|"


def test_the_mime_type_is_that_of_our_files_and_not_of_archives(tmp_path):
    entries.install(tmp_path, "/usr/bin/vlae")
    (kind,) = ElementTree.parse(tmp_path / "mime" / "packages" / "vlae.xml").getroot()  # noqa: S314
    assert kind.get("type") == "image/vlae"
    (match,) = kind.findall("magic/match", SPACE)
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    magic = match.get("value").encode()
    assert all(path.read_bytes().startswith(magic) for path in GOLDEN.glob("*.vlae"))
    assert not ARCHIVE_MAGIC.startswith(magic)
    assert [glob.get("pattern") for glob in kind.findall("glob", SPACE)] == ["*.vlae"]


def test_equal_files_are_left_alone_and_others_written_anew(tmp_path):
    first = entries.install(tmp_path, "/usr/bin/vlae")
    assert first == [tmp_path / "thumbnailers" / "vlae.thumbnailer", tmp_path / "mime" / "packages" / "vlae.xml"]
    assert entries.install(tmp_path, "/usr/bin/vlae") == []
    assert entries.install(tmp_path, "/opt/vlae") == first[:1]
    other = tmp_path / "thumbnailers" / "other.thumbnailer"
    other.touch()
    assert entries.remove(tmp_path) == first
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    assert entries.remove(tmp_path) == []


@pytest.mark.parametrize("value", [None, "", "relative/folder"])
def test_without_a_named_folder_it_is_that_of_home(value, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_DATA_HOME", value)
    assert entries.data_folder() == tmp_path / ".local" / "share"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert entries.data_folder() == Path("/data")


@pytest.mark.skipif(which(entries.UPDATE) is None, reason="shared-mime-info is not installed")
def test_the_database_knows_the_type_afterwards_and_no_longer(tmp_path):
    entries.install(tmp_path, "/usr/bin/vlae")
    assert entries.update(tmp_path)
    assert "image/vlae:*.vlae" in (tmp_path / "mime" / "globs2").read_text()
    entries.remove(tmp_path)
    assert entries.update(tmp_path)
    assert "image/vlae" not in (tmp_path / "mime" / "globs2").read_text()


def test_an_update_that_fails_says_why(tmp_path, monkeypatch):
    command = tmp_path / entries.UPDATE
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not entries.update(tmp_path)
    command.write_text("#!/bin/sh\necho no such folder >&2\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(OSError, match=f"{entries.UPDATE} {tmp_path / 'mime'}: no such folder"):
        entries.update(tmp_path)
