"""Batches: one result for each image, the same bytes for any number of processes, and only what is missing is made."""

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import worker_tasks

import codec
from codec.batch import engine, work
from codec.system import workers
from codec.system.outputs import _Output

NAMES = ["a/one.png", "b/two.png", "three.bmp"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder the working one, which has a folder of images."""
    rng = np.random.default_rng(3)
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8).repeat(8, 0).repeat(8, 1)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compressed(sources=("photos",), to="out", **options):
    return {result.file: result for result in codec.compress_files(sources, to, **{"jobs": 1} | options)}


def statuses(results):
    return {Path(name).name: result.status for name, result in results.items()}


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def test_outputs_are_those_of_the_functions_for_one_image_for_any_number_of_processes():
    expected = {
        str(Path(name).with_suffix(".vlae").as_posix()): codec.compress(f"photos/{name}", max_error=2) for name in NAMES
    }
    for number, how in enumerate(({"jobs": 1}, {"jobs": 1, "threads": 1}, {"jobs": 2}, {"jobs": 3, "threads": 2})):
        results = compressed(to=f"out{number}", max_error=2, **how)
        assert files(f"out{number}") == expected
        assert set(statuses(results).values()) == {"made"}
    one = results[str(Path("photos/a/one.png"))]
    assert one.output == str(Path("out3/a/one.vlae"))
    assert one.output_bytes == one.info.file_bytes == len(expected["a/one.vlae"])
    assert one.source_bytes == Path("photos/a/one.png").stat().st_size
    assert one.mode == "RGB"
    assert one.error is None
    assert one.seconds > 0
    back = list(codec.decompress_files(["out0"], "back", jobs=2))
    assert {result.status for result in back} == {"made"}
    for name, data in expected.items():
        with Image.open(Path("back", name).with_suffix(".png")) as image:
            assert image.tobytes() == codec.decompress(data).tobytes()


def test_an_image_that_fails_does_not_stop_the_others():
    Path("photos/text.png").write_bytes(b"no image at all")
    Image.new("F", (2, 2)).save("photos/floats.tif")
    results = compressed(["photos", "photos/text.png", "none.png"], lossless=True, jobs=2)
    assert statuses(results) == {
        "one.png": "made",
        "two.png": "made",
        "three.bmp": "made",
        "floats.tif": "failed",
        "text.png": "failed",
        "none.png": "failed",
    }
    errors = {Path(name).name: result.error for name, result in results.items() if result.error}
    assert errors["none.png"] == "No such file or directory"
    assert errors["text.png"] == "not an image that Pillow knows"
    assert "floating point" in errors["floats.tif"]
    assert sorted(files("out")) == ["a/one.vlae", "b/two.vlae", "three.vlae"]


def test_what_is_finished_is_skipped_and_what_changed_is_made_again():
    first = compressed(lossless=True)
    before = files("out")
    again = compressed(lossless=True)
    assert set(statuses(again).values()) == {"skipped"}
    assert {name: r.output_bytes for name, r in again.items()} == {name: r.output_bytes for name, r in first.items()}
    Image.new("RGB", (9, 9), 5).save("photos/three.bmp")
    Path("out/b/two.vlae").write_bytes(before["b/two.vlae"][:-1])
    os.truncate("out/a/one.vlae", 0)
    assert set(statuses(compressed(lossless=True)).values()) == {"made"}
    after = files("out")
    assert after["a/one.vlae"] == before["a/one.vlae"]
    assert after["b/two.vlae"] == before["b/two.vlae"]
    assert codec.info(after["three.vlae"]).width == 9
    assert set(statuses(compressed(lossless=True, force=True)).values()) == {"made"}
    assert files("out") == after


def test_what_is_not_ours_is_replaced_with_force_only():
    Path("out").mkdir()
    Path("out/three.vlae").write_text("precious")
    results = compressed(lossless=True)
    assert statuses(results) == {"one.png": "made", "two.png": "made", "three.bmp": "failed"}
    (error,) = (result.error for result in results.values() if result.error)
    assert error == f"output {Path('out/three.vlae')}: exists and is no finished output of this file, expected --force"
    assert Path("out/three.vlae").read_text() == "precious"
    assert statuses(compressed(lossless=True, force=True))["three.bmp"] == "made"


def test_an_original_is_not_replaced_by_what_is_decompressed():
    compressed(to="photos", quality=5)
    before = files("photos")
    os.utime("photos/a/one.vlae")  # newer than its original
    results = {Path(r.file).name: r.status for r in codec.decompress_files(["photos"], "photos", jobs=1)}
    assert results == {"one.vlae": "failed", "two.vlae": "skipped", "three.vlae": "made"}
    assert before.items() <= files("photos").items()


@pytest.mark.skipif(os.name == "nt", reason="bits of permission")
def test_times_and_permissions_are_kept():
    for number, name in enumerate(NAMES):
        Path("photos", name).chmod(0o600 if number else 0o754)
        os.utime(Path("photos", name), ns=(1, 10**18 + number))
    compressed(lossless=True, jobs=2)
    list(codec.decompress_files(["out"], "back", jobs=1))
    for number, name in enumerate(NAMES):
        for path in (Path("out", name).with_suffix(".vlae"), Path("back", name).with_suffix(".png")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o600 if number else 0o754)
            assert path.stat().st_mtime_ns == 10**18 + number


def test_a_full_disk_ends_the_batch(monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Output, "write", full)
    results = codec.compress_files(["photos"], "out", lossless=True, jobs=1)
    first = next(results)
    assert (first.status, first.error) == ("failed", "No space left on device")
    with pytest.raises(OSError, match="No space left on device, the other images are left"):
        next(results)
    assert files("out") == {}


def test_a_killed_process_fails_its_image_alone():
    tasks = [*range(3), -1, *range(3, 6)]
    found = list(workers.run_each(worker_tasks.end_if_negative, tasks, 2, 1, lambda task, error: (task, str(error))))
    assert sorted(found, key=str) == sorted([*range(6), (-1, "a process that coded images was killed")], key=str)


@pytest.mark.parametrize(
    ("sources", "options", "error", "message"),
    [
        (["photos"], {"quality": 0}, ValueError, "quality: expected 1 to 100"),
        (["photos"], {"effort": 4}, ValueError, "effort: expected 1 to 3"),
        (["photos"], {"lossless": True, "quality": 3}, ValueError, "expected one of"),
        (["photos"], {"jobs": 0}, ValueError, "jobs: expected at least 1, got 0"),
        (["photos"], {"threads": 1.5}, TypeError, "threads: expected an int, got float"),
        (["photos"], {"speed": 1}, TypeError, "speed"),
        ("photos", {}, TypeError, "sources: expected several paths, got one, photos"),
        (["empty"], {}, ValueError, "empty: expected images, got none"),
    ],
)
def test_mistakes_are_told_before_anything_starts(sources, options, error, message):
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        codec.compress_files(sources, "out", **options)
    assert not Path("out").exists()


def test_the_output_folder_is_checked_before_anything_starts(monkeypatch):
    Path("file").write_text("")
    with pytest.raises(ValueError, match=r"^output file/below: .*file is no folder$"):
        codec.compress_files(["photos"], "file/below")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"^output out: .* cannot be written$"):
        codec.compress_files(["photos"], "out")


def test_threads_are_shared_among_the_processes(monkeypatch):
    given = []

    def run_each(do, todo, processes, threads, killed):
        given.append((processes, threads))
        yield from ()

    monkeypatch.setattr(workers, "run_each", run_each)
    monkeypatch.setattr(workers, "cores", lambda: 8)
    todo = [work.Job(None, True, False)] * 20
    for jobs, threads in ((None, None), (2, None), (3, 7), (16, None), (1, None), (1, 5), (None, 3)):
        list(engine.run(todo, jobs, threads))
    list(engine.run(todo[:2]))
    assert given == [(8, 1), (2, 4), (3, 2), (16, 1), (1, None), (1, 5), (3, 1), (2, 4)]
