"""Plans: which image becomes which file, and what is refused before anything starts."""

import os
from pathlib import Path

import pytest
from PIL import Image

from codec.batch.plan import COMPRESS, DECOMPRESS, plan


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder of images, and of other files, the working one."""
    for name in ("photos/a/b.png", "photos/c.bmp", "photos/[1].png", "other/c.png", "single.png"):
        Path(tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (9, 5)).save(tmp_path / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    (tmp_path / "coded" / "x").mkdir(parents=True)
    (tmp_path / "coded" / "x" / "a.vlae").write_bytes(b"VLAE" + bytes(9))
    (tmp_path / "coded" / "named.dat").write_bytes(b"VLAE" + bytes(9))
    (tmp_path / "coded" / "cut.vlae").write_bytes(b"VL")
    (tmp_path / "coded" / "a.png").write_bytes(b"other")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(names, *, way=COMPRESS, listed=(), to="out"):
    return {task.source.as_posix(): task.target.as_posix() for task in plan(way, names, Path(to), listed).tasks}


def test_the_tree_of_a_folder_is_kept_below_the_output_folder_without_its_own_name():
    expected = {"photos/[1].png": "out/[1].vlae", "photos/a/b.png": "out/a/b.vlae", "photos/c.bmp": "out/c.vlae"}
    assert outputs(["photos"]) == outputs(["photos/"]) == expected
    assert outputs(["photos", "single.png"]) == expected | {"single.png": "out/single.vlae"}
    made = plan(COMPRESS, ["photos"], Path("out"))
    assert [path.name for path in made.found[Path("photos")].others] == ["notes.txt"]


def test_a_file_lies_directly_in_the_output_folder():
    assert outputs(["photos/a/b.png", "other/../single.png"]) == {
        "photos/a/b.png": "out/b.vlae",
        "other/../single.png": "out/single.vlae",
    }
    assert outputs(["photos/a"], to="photos/a") == {"photos/a/b.png": "photos/a/b.vlae"}


def test_patterns_are_expanded_as_a_shell_does_unless_a_file_has_the_name():
    assert outputs(["photos/*.bmp"]) == {"photos/c.bmp": "out/c.vlae"}
    assert outputs(["photos/**/*.png"]) == {"photos/[1].png": "out/[1].vlae", "photos/a/b.png": "out/b.vlae"}
    assert outputs(["oth*"]) == {"other/c.png": "out/c.vlae"}
    assert outputs(["photos/[1].png"]) == {"photos/[1].png": "out/[1].vlae"}


def test_names_of_a_list_keep_their_folders(folder):
    assert outputs([], listed=["photos/a/b.png", "./single.png", "../x/y.png"]) == {
        "photos/a/b.png": "out/photos/a/b.vlae",
        "single.png": "out/single.vlae",
        "../x/y.png": "out/x/y.vlae",
    }
    (below,) = outputs([], listed=[str(folder / "single.png")]).values()
    assert below == f"out{(folder / 'single.vlae').as_posix()}"
    assert outputs([], listed=["other", "*.png"]) == {"other/c.png": "out/other/c.vlae", "*.png": "out/*.vlae"}


def test_compressed_files_of_a_folder_are_known_by_their_first_bytes():
    assert outputs(["coded"], way=DECOMPRESS) == {
        "coded/named.dat": "out/named.png",
        "coded/x/a.vlae": "out/x/a.png",
    }
    found = plan(DECOMPRESS, ["coded"], Path("out")).found[Path("coded")]
    assert found.left_out(Path("coded")) == (
        "coded: left out 1 file that is no .vlae file (a.png) and 1 that cannot be read (cut.vlae)"
    )


def test_what_is_given_twice_is_done_once():
    assert outputs(["other", "other/c.png", os.path.abspath("other")]) == {"other/c.png": "out/c.vlae"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["photos", "other"], r"^output out/c.vlae: would be that of photos/c.bmp and of other/c.png; rename one, or"),
        (["other/c.png", "photos/c.bmp"], r"would be that of other/c.png and of photos/c.bmp; rename one, or compress"),
        (["none*"], r"^none\*: fits no file$"),
        ([""], r"^file: expected a name, got an empty one$"),
        (["/"], r"^/: is the whole file system, expected a folder of images$"),
        (["coded/x"], r"^coded/x: expected images, got none$"),
        ([], r"^inputs: expected images, got none$"),
    ],
)
def test_what_cannot_be_planned_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        outputs(names)


def test_several_collisions_are_counted():
    for name in ("photos/a/b.bmp", "photos/c.png"):
        Image.new("1", (9, 5)).save(name)
    with pytest.raises(ValueError, match=r"photos/a/b.bmp and of photos/a/b.png, and 1 others likewise; rename"):
        outputs(["photos"])


def test_a_source_is_never_an_output():
    os.rename("single.png", "single.vlae")
    with pytest.raises(ValueError, match=r"^output single.vlae: is one of the sources, expected another folder$"):
        outputs(["single.vlae"], to=".")
