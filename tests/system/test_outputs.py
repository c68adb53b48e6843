"""Outputs: nothing is replaced without force, pipes and devices are written into, failures leave nothing."""

import errno
import os
import shutil
import stat
import sys
import threading
from contextlib import nullcontext

import pytest

from codec.system import outputs, targets

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes with names, devices, descriptors with paths")


@pytest.fixture(params=["links", "no links"])
def file_system(request, monkeypatch):
    """Some file systems have no hard links."""
    if request.param == "no links":

        def fail(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", fail)


@pytest.mark.usefixtures("file_system")
def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a"
    with outputs.output(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"

    def fail():
        with outputs.output(tmp_path / "b") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize("what", ["file", "folder", "link to nothing"])
def test_what_appears_meanwhile_is_kept(tmp_path, what):
    path = tmp_path / "a"
    appear = {
        "file": lambda: path.write_bytes(b"precious"),
        "folder": path.mkdir,
        "link to nothing": lambda: path.symlink_to("nothing"),
    }

    def write():
        with outputs.output(path) as file:
            file.write(b"new")
            appear[what]()

    with pytest.raises(ValueError, match="a: exists, expected --force"):
        write()
    assert list(tmp_path.iterdir()) == [path]
    if what == "file":
        assert path.read_bytes() == b"precious"


@pytest.mark.usefixtures("file_system")
def test_of_two_that_write_one_file_one_is_refused(tmp_path):
    path = tmp_path / "a"
    ready, refused = threading.Barrier(4), []

    def write(text):
        try:
            with outputs.output(path) as file:
                file.write(text)
                ready.wait()
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=write, args=(text,)) for text in (b"1", b"2", b"3", b"4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [f"output {path}: exists, expected --force"] * 3
    assert path.read_bytes() in (b"1", b"2", b"3", b"4")
    assert list(tmp_path.iterdir()) == [path]


def test_force_replaces_and_keeps_the_mode(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with pytest.raises(ValueError, match="expected --force"):
        outputs.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    outputs.write_file(path, b"new", force=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 or sys.platform == "win32"


@pytest.mark.parametrize("name", ["文" * 78, "🎞" * 60, "é" * 120, "a" * 250])
def test_long_names_are_written(tmp_path, name):
    outputs.write_file(tmp_path / f"{name}.vlae", b"1")
    outputs.write_file(tmp_path / f"{name}.vlae", b"2", force=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.vlae"]


@posix
def test_a_pipe_with_a_name_stays_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for force in (False, True):
        read = []
        reader = threading.Thread(target=lambda read=read: read.append(path.read_bytes()))
        reader.start()
        targets.check_output(path, force)
        outputs.write_file(path, b"through", force=force)
        reader.join()
        assert read == [b"through"]
        assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_device_stays_one():
    before = os.stat(os.devnull)
    for force in (False, True):
        with outputs.output(os.devnull, force=force) as file:
            file.write(b"gone")
            outputs.sync(file)
    after = os.stat(os.devnull)
    assert stat.S_ISCHR(after.st_mode)
    assert (before.st_ino, before.st_rdev) == (after.st_ino, after.st_rdev)


@posix
def test_a_path_of_a_descriptor_is_written_where_that_stands(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"former\n")
    (tmp_path / "link").symlink_to("/dev/fd")
    with log.open("ab") as file:
        for path in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            assert targets.descriptor(path) == file.fileno()
            targets.check_output(path, False)
            outputs.write_file(path, b"more\n", force=True)
    assert log.read_bytes() == b"former\nmore\nmore\n"
    out, to = os.pipe()
    (tmp_path / "fd").symlink_to(f"/dev/fd/{to}")
    for path in (f"/dev/fd/{to}", tmp_path / "fd"):
        outputs.write_file(path, b"bytes", force=True)
        assert os.read(out, 100) == b"bytes"
    os.close(to)
    assert os.read(out, 1) == b""
    for number in (out, to):  # open for reading, and closed
        with pytest.raises(OSError, match=f"/dev/fd/{number}"):
            targets.check_output(f"/dev/fd/{number}", True)
    os.close(out)


@posix
def test_other_paths_name_no_descriptor(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert targets.descriptor("/dev/stdout") == 1
    for path in (tmp_path / "loop", tmp_path / "none", "/dev/null", "/proc/1/fd/1", "a", "fd/1"):
        assert targets.descriptor(path) is None


def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    for name, message in (
        ("", "expected a name, got an empty one"),
        (str(tmp_path), "is a folder"),
        (f"{tmp_path}/none/", "is a folder"),
        (str(tmp_path / "none" / "a"), "its folder does not exist"),
        (str(tmp_path / "file"), "exists, expected --force"),
        (str(tmp_path / "link"), "exists, expected --force"),
        (str(tmp_path / "file" / "a"), "its folder does not exist"),
    ):
        with pytest.raises(ValueError, match=f"^output.*{message}"):
            targets.check_output(name, False)
    targets.check_output(tmp_path / "link", True)
    targets.check_output(tmp_path / "new", False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="new: its folder cannot be written"):
        targets.check_output(tmp_path / "new", False)


def test_errors_name_the_output(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        outputs.write_file(tmp_path / "none" / "a", b"1")
    assert error.value.filename == str(tmp_path / "none" / "a")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as error:
        outputs.write_file(tmp_path / "a", b"1")
    assert error.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_device_is_an_error_that_names_it():
    with pytest.raises(OSError, match="/dev/full") as error:
        outputs.write_file("/dev/full", b"1")
    assert error.value.errno == errno.ENOSPC


def test_a_stream_can_be_a_file_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "source").write_bytes(b"bytes")
    for error in (None, RuntimeError):
        with (tmp_path / "source").open("rb") as source:
            try:
                with outputs.spooled(source) as path:
                    assert path.read_bytes() == b"bytes"
                    if error:
                        raise error
            except RuntimeError:
                pass
        assert not path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.usefixtures("file_system")
@pytest.mark.skipif(sys.platform == "win32", reason="bits of permission")
@pytest.mark.parametrize("force", [False, True])
def test_a_file_may_have_the_permissions_and_the_time_of_its_source(tmp_path, force):
    source, path = tmp_path / "source", tmp_path / "a"
    source.write_bytes(b"1")
    source.chmod(0o4640)
    os.utime(source, ns=(1, 10**18 + 7))
    if force:
        path.write_bytes(b"old")
    with outputs.output(path, force=force, like=source.stat()) as file:
        (temporary,) = set(tmp_path.iterdir()) - {source, path}
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # nobody reads what may be secret
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mtime_ns == 10**18 + 7


def test_a_folder_is_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    targets.check_folder(tmp_path)
    targets.check_folder(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
    for name, message in (
        ("", "expected a folder, got an empty name"),
        (tmp_path / "file", "file is no folder"),
        (tmp_path / "file" / "below", "file is no folder"),
    ):
        with pytest.raises(ValueError, match=message):
            targets.check_folder(name)
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))  # root may write everywhere
    with pytest.raises(ValueError, match="cannot be written"):
        targets.check_folder(tmp_path / "new")
    with pytest.raises(ValueError, match="its folder cannot be written"):
        targets.check_output(tmp_path / "a", force=False)


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    for full, is_told in ((usage._replace(free=0), True), (usage._replace(total=0, free=0), False), (usage, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, full=full: full)
        for check, arguments in ((targets.check_output, (tmp_path / "a", False)), (targets.check_folder, (tmp_path,))):
            with pytest.raises(OSError, match="No space left on device") if is_told else nullcontext():
                check(*arguments)
