"""Folders: all images whatever their names, and nothing left out without a word."""

import os
import sys

import pytest
from PIL import Image, features

from codec.system import outputs
from codec.system.folders import find_files, find_images, is_image

FORMATS = ["bmp", "gif", "ico", "jfif", "jp2", "jpe", "jpg", "pcx", "png", "ppm", "qoi", "sgi", "tga", "tif", "webp"]


def save(path, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (10, 200, 30)).save(path, kind)


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


@pytest.fixture
def folder(tmp_path):
    """A folder of images and other things."""
    folder = tmp_path / "photos"
    for name in FORMATS:
        if name != "qoi":  # Pillow reads but does not always write it
            save(folder / f"a.{name}")
    (folder / "a.qoi").write_bytes(b"qoif" + bytes([0, 0, 0, 1, 0, 0, 0, 1, 3, 0, 0xFE, 1, 2, 3]) + bytes(7) + b"\1")
    if features.check("avif"):
        save(folder / "a.avif")
    save(folder / "A.PNG")
    save(folder / "none", "PNG")
    save(folder / "photo.dat", "JPEG")
    save(folder / "sub" / "b.png")
    (folder / "notes.txt").write_text("P5 is how some images begin")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")
    (folder / "film.mpg").write_bytes(b"\0\0\1\xb3\x14\x00\xf0\x13" + bytes(50))
    (folder / "table").write_bytes(bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 5, 0, 24, 0]) + bytes(100))
    (folder / "broken.png").write_bytes(b"no image at all")
    return folder


def test_images_are_found_by_what_they_hold(folder):
    found = find_images(folder)
    expected = ["A.PNG", *(f"a.{name}" for name in FORMATS), "none", "photo.dat", "sub/b.png"]
    expected += ["a.avif"] if features.check("avif") else []
    assert names(folder, found.images) == sorted(expected)
    assert names(folder, found.others) == ["film.mpg", "notes.txt", "paper.pdf", "table"]
    assert names(folder, found.unreadable) == ["broken.png"]
    assert found.left_out(folder) == (
        f"{folder}: left out 4 files that are no images (film.mpg, notes.txt, paper.pdf, ...) "
        "and 1 that cannot be read (broken.png)"
    )


def test_nothing_left_out_is_nothing_said(tmp_path):
    save(tmp_path / "a.png")
    assert find_images(tmp_path).left_out(tmp_path) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_links_are_followed_but_not_in_a_circle_and_pipes_are_not_opened(tmp_path):
    folder = tmp_path / "photos"
    save(folder / "sub" / "a.png")
    save(tmp_path / "elsewhere" / "b.png")
    (folder / "link").symlink_to("../elsewhere")
    (folder / "sub" / "circle").symlink_to("..")
    (folder / "linked.png").symlink_to("../elsewhere/b.png")
    (folder / "gone.png").symlink_to("nothing")
    os.mkfifo(folder / "pipe.png")
    found = find_images(folder)
    assert names(folder, found.images) == ["link/b.png", "linked.png", "sub/a.png"]
    assert names(folder, found.others) == []
    assert names(folder, found.unreadable) == ["gone.png", "pipe.png"]


def test_what_cannot_be_opened_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    found = find_images(folder)
    assert names(folder, found.unreadable) == ["broken.png", "sub"]
    assert "2 that cannot be read (broken.png, sub)" in found.left_out(folder)


def test_files_are_found_by_their_first_bytes(folder):
    (folder / "sub" / "c.dat").write_bytes(b"MAGIC and more")
    (folder / "d.Mag").write_bytes(b"MAGIC")
    (folder / "cut.mag").write_bytes(b"MAG")
    with outputs.output(folder / "new.mag") as file:  # what is being written is not there yet
        file.write(b"MAGIC")
        file.flush()
        assert names(folder, find_files(folder, ".mag", b"MAGIC").images) == ["d.Mag", "sub/c.dat"]
    (folder / "new.mag").unlink()
    found = find_files(folder, ".mag", b"MAGIC")
    assert names(folder, found.images) == ["d.Mag", "sub/c.dat"]
    assert names(folder, found.unreadable) == ["cut.mag"]
    assert "files that are no .mag files" in found.left_out(folder)


def test_an_image_is_known_by_its_content(folder):
    assert is_image(folder / "photo.dat")
    assert not is_image(folder / "broken.png")
    assert not is_image(folder / "none such")
