"""``vlae thumbnail`` and ``vlae desktop``: what they write, print and refuse."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

import codec
from codec.commands import cli
from codec.desktop import entries

ROOT = Path(__file__).parents[2]
LOSSY = str(ROOT / "tests" / "golden" / "lossy-rgb.vlae")  # 60x270


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, in which the user's data folder lies, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize(
    ("output", "kind"),
    [("a.png", "PNG"), ("a.webp", "WEBP"), ("a.TIF", "TIFF"), ("a.XJ3K7Z", "PNG"), ("temporary", "PNG")],
)
def test_a_suffix_that_is_no_format_gets_a_png(output, kind, capfd):
    assert cli.run(["thumbnail", LOSSY, "-s", "27", "-o", output]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"{LOSSY} -> {output}: 6x27 RGB\n")
    with Image.open(output) as image:
        assert (image.format, image.size) == (kind, (6, 27))
        assert image.tobytes() == codec.thumbnail(LOSSY, 27).tobytes()


def test_the_default_size_and_standard_output(capfdbinary):
    assert cli.run(["thumbnail", LOSSY, "-q", "-o", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    Path("a.png").write_bytes(out)
    with Image.open("a.png") as image:
        assert image.size == (57, 256)


def test_an_output_that_is_there_needs_force(capfd):
    Path("a.png").touch()
    assert cli.run(["thumbnail", LOSSY, "-o", "a.png"]) == 2
    assert "exists" in capfd.readouterr().err
    assert cli.run(["thumbnail", LOSSY, "-o", "a.png", "--force", "-q"]) == 0
    assert Path("a.png").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([LOSSY], 2, "--output"),
        ([LOSSY, "-o", "a.png", "-s", "0"], 2, "--size"),
        ([LOSSY, "-o", "a.png", "-s", "1025"], 2, "--size"),
        ([LOSSY, "-o", "a.jpg"], 2, "expected a lossless format"),
        (["cut.vlae", "-o", "a.png"], 3, "cut.vlae: "),
        (["none.vlae", "-o", "a.png"], 1, "none.vlae: No such file"),
    ],
)
def test_mistakes_leave_no_output(arguments, code, message, folder, capfd):
    Path("cut.vlae").write_bytes(Path(LOSSY).read_bytes()[:-1])
    assert cli.run(["thumbnail", *arguments]) == code
    assert message in capfd.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["cut.vlae"]


@pytest.fixture
def command(folder, monkeypatch):
    """The path of the command that runs, and a stand-in for that which updates the database."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("vlae", entries.UPDATE):
        (programs / name).write_text(f'#!/bin/sh\necho "$@" >> {folder / "updated"}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(sys, "argv", ["bin/vlae", "desktop"])
    return programs / "vlae"


def test_install_and_remove_print_what_they_change(folder, command, capfd):
    written = [f"{folder}/data/thumbnailers/vlae.thumbnailer", f"{folder}/data/mime/packages/vlae.xml"]
    assert cli.run(["desktop", "install"]) == 0
    assert capfd.readouterr() == ("".join(f"wrote {path}\n" for path in written), "")
    assert f"\nExec={command} thumbnail " in Path(written[0]).read_text()
    assert cli.run(["desktop", "install"]) == 0
    assert capfd.readouterr() == ("", "")
    assert cli.run(["desktop", "remove"]) == 0
    assert capfd.readouterr() == ("".join(f"removed {path}\n" for path in written), "")
    assert not any(path.is_file() for path in (folder / "data").rglob("*"))
    assert cli.run(["desktop", "remove"]) == 0
    assert capfd.readouterr() == ("", "")
    assert (folder / "updated").read_text() == f"{folder}/data/mime\n" * 3


def test_without_the_command_that_updates_install_says_so(command, capfd):
    command.with_name(entries.UPDATE).unlink()
    assert cli.run(["desktop", "install"]) == 0
    out, err = capfd.readouterr()
    assert out.count("wrote ") == 2
    assert err.startswith("vlae: update-mime-database is not installed")


def test_another_program_names_the_command_beside_its_python(folder, command, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(sys, "executable", str(folder / "bin" / "python"))
    assert cli.run(["desktop", "install"]) == 0
    assert f"\nExec={command} thumbnail " in (folder / "data" / entries.THUMBNAILER).read_text()
    command.unlink()
    capfd.readouterr()
    assert cli.run(["desktop", "install"]) == 1
    assert capfd.readouterr().err.startswith("vlae: desktop: the command vlae is not installed")


def test_the_delegate_of_imagemagick_in_the_documents_decodes(folder, monkeypatch):
    (block,) = re.findall(r"^```xml\n(.*?)^```$", (ROOT / "docs" / "DESKTOP.md").read_text(), re.MULTILINE | re.DOTALL)
    (delegate,) = ElementTree.fromstring(block)  # noqa: S314
    assert delegate.get("decode") == "vlae"
    (folder / "vlae").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m codec "$@"\n')
    (folder / "vlae").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    line = delegate.get("command").replace("%i", LOSSY).replace("%o", "magick-1 2")
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open("magick-1 2") as image:
        assert image.tobytes() == codec.decompress(LOSSY).tobytes()
    assert not Path("magick-1 2.png").exists()
