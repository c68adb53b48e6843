"""The command: outputs, exit codes, and what goes to which stream."""

import errno
import io
import json
import os
import resource
import stat
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import __version__, api
from codec.commands import cli, demo, warm_up
from codec.format import container, headers
from codec.ledger.ledger import FILE_ROWS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """Compile all kernels now, so that no message about it comes in the middle of a test."""
    for lossy in (False, True):
        warm_up.prepare(lambda line: None, for_lossy=lossy)


@pytest.fixture
def photo(tmp_path):
    """A PNG file."""
    path = tmp_path / "photo.png"
    Image.fromarray(demo.draw()[:100, :120]).save(path)
    return path


@pytest.fixture
def stored(tmp_path):
    """A file that needs no model."""
    Image.new("1", (9, 5), 1).save(tmp_path / "bits.png")
    assert cli.run(["compress", str(tmp_path / "bits.png"), "--lossless", "-q"]) == 0
    return tmp_path / "bits.vlae"


def pixels(path):
    with Image.open(path) as image:
        return image.mode, image.size, image.tobytes()


def python(*arguments, **options):
    command = [sys.executable, "-m", "codec", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **options)  # noqa: S603


def test_a_photograph_goes_in_and_comes_back(photo, tmp_path, capfd):
    assert cli.run(["compress", str(photo), "--lossless"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "lossless" in err
    assert err.count("\n") == 1
    assert cli.run(["decompress", str(tmp_path / "photo.vlae"), "-o", str(tmp_path / "back.png")]) == 0
    assert pixels(tmp_path / "back.png") == pixels(photo)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.png", "photo.png", "photo.vlae"]


def test_max_error(photo, tmp_path):
    assert cli.run(["compress", str(photo), "--max-error", "3", "--threads", "1"]) == 0
    assert cli.run(["decompress", str(tmp_path / "photo.vlae"), "-o", str(tmp_path / "back.tiff")]) == 0
    with Image.open(photo) as a, Image.open(tmp_path / "back.tiff") as b:
        assert 0 < np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 3


@pytest.mark.parametrize(("flag", "latents"), [("--no-latents", "none"), ("--no-bits-back", "two-part")])
def test_latents_can_be_chosen(photo, tmp_path, capfd, flag, latents):
    assert cli.run(["compress", str(photo), "--lossless", flag, "-q"]) == 0
    assert cli.run(["info", str(tmp_path / "photo.vlae"), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["latents"] == latents
    assert err == ""


def test_standard_streams_carry_data_alone(photo, capfdbinary, monkeypatch):
    def stdin(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    stdin(photo.read_bytes())
    assert cli.run(["compress", "-", "--lossless"]) == 0
    coded, err = capfdbinary.readouterr()
    assert coded[:4] == headers.MAGIC
    assert container.unpack(coded).header.width == 120
    assert b"->" in err
    stdin(coded)
    assert cli.run(["decompress", "-"]) == 0
    png, _ = capfdbinary.readouterr()
    assert pixels(io.BytesIO(png)) == pixels(photo)
    stdin(coded)
    assert cli.run(["info", "-", "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["height"] == 100


def test_quiet_says_nothing(photo, capfd):
    assert cli.run(["compress", str(photo), "--lossless", "-q"]) == 0
    assert capfd.readouterr() == ("", "")


def test_binary_is_not_written_to_a_terminal(photo, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.run(["compress", str(photo), "--lossless", "-o", "-"]) == 2
    assert "terminal" in capfd.readouterr().err


def test_an_existing_output_needs_force(stored, capfd):
    assert cli.run(["decompress", str(stored)]) == 2
    assert capfd.readouterr().err == f"vlae: output {stored.with_suffix('.png')}: exists, expected --force\n"
    stored.with_suffix(".png").write_bytes(b"old")
    assert cli.run(["decompress", str(stored), "--force"]) == 0
    assert pixels(stored.with_suffix(".png"))[1] == (9, 5)


def test_the_source_is_kept(photo, capfd):
    before = photo.read_bytes()
    assert cli.run(["compress", str(photo), "--lossless", "-o", str(photo), "--force"]) == 2
    assert "is the source" in capfd.readouterr().err
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "PHOTO", "--lossless", "--max-error", "1"], "expected one of lossless, max_error, quality"),
        (["measure", "PHOTO", "--quality", "5", "--min-psnr", "30"], "expected one of lossless, max_error, quality"),
        (["compress", "PHOTO", "--quality", "0"], "quality: expected 1 to 100, got 0"),
        (["compress", "PHOTO", "--quality", "101"], "quality: expected 1 to 100, got 101"),
        (["compress", "PHOTO", "--target-bpp", "-1"], "target_bpp: expected a number above 0"),
        (["compress", "PHOTO", "--target-size", "10"], "target_size: 10 cannot be met, the shortest file has"),
        (["compress", "PHOTO", "--effort", "4"], "effort: expected 1 to 3, got 4"),
        (["decompress", "PHOTO", "--sample", "3"], "expected --latents-only"),
        (["compress", "PHOTO", "--lossless", "--no-latents", "--no-bits-back"], "exclude each other"),
        (["compress", "PHOTO", "--max-error", "11"], "max_error: expected 0 to 10, got 11"),
        (["compress", "PHOTO", "--lossless", "--threads", "0"], "threads"),
        (["compress", "--lossless"], "Missing argument"),
        (["compress", "PHOTO", "--lossless", "--fast"], "--fast"),
        (["decompress", "PHOTO", "-o", "out.jpg"], "expected a lossless format"),
        (["paint"], "No such command"),
    ],
)
def test_usage_errors(photo, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.run([str(photo) if a == "PHOTO" else a for a in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("vlae: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [photo]


def test_bad_images_leave_no_output(tmp_path, capfd):
    (tmp_path / "text.png").write_bytes(b"no image at all")
    Image.new("F", (2, 2)).save(tmp_path / "floats.tiff")
    Image.fromarray(demo.draw()).save(tmp_path / "cut.png")
    os.truncate(tmp_path / "cut.png", 9000)
    for name, message, code in (
        ("text.png", "not an image", 4),
        ("floats.tiff", "floating point", 4),
        ("cut.png", "cannot be read: image file is truncated", 3),
        ("none.png", "No such file", 1),
    ):
        assert cli.run(["compress", str(tmp_path / name), "--lossless"]) == code
        err = capfd.readouterr().err
        assert err.startswith("vlae: ")
        assert message in err
        assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.vlae"))


def test_bad_files_leave_no_output(stored, tmp_path, capfd):
    data = stored.read_bytes()
    cases = {
        "cut": (data[:-1], 3),
        "longer": (data + b"\0", 3),
        "other": (b"\x89PNG" + data, 3),
        "empty": (b"", 3),
        "version": (data[:4] + b"\1" + data[5:], 4),
    }
    for name, (damaged, code) in cases.items():
        path = tmp_path / f"{name}.vlae"
        path.write_bytes(damaged)
        for command in ("decompress", "info"):
            assert cli.run([command, str(path)]) == code
            out, err = capfd.readouterr()
            assert out == ""
            assert err.startswith(f"vlae: {path}: ")
            assert err.count("\n") == 1
        assert not path.with_suffix(".png").exists()
    assert cli.run(["info", str(stored), "--max-pixels", "44"]) == 4


def test_what_a_file_is_instead_is_told(stored, photo, tmp_path, capfd):
    archive = tmp_path / "a.vlar"
    assert cli.run(["archive", "create", str(archive), str(photo), "-q"]) == 0
    for line, told in (
        (["info", photo], "is an image of another format, expected a .vlae file"),
        (["decompress", archive], "is an archive, expected a .vlae file"),
        (["archive", "list", photo], "is an image of another format, expected an archive"),
        (["archive", "verify", stored], "is a .vlae file, expected an archive"),
    ):
        assert cli.run([str(word) for word in line]) == 3
        assert capfd.readouterr().err == f"vlae: {line[-1]}: {told}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="bits of permission")
def test_times_and_permissions_are_kept(stored, tmp_path):
    image = tmp_path / "bits.png"
    image.chmod(0o600)
    os.utime(image, ns=(1, 10**18))
    assert cli.run(["compress", str(image), "--lossless", "-q", "--force"]) == 0
    assert cli.run(["decompress", str(stored), "-q", "-o", str(tmp_path / "back.png")]) == 0
    for path in (stored, tmp_path / "back.png"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_the_extraction_of_a_cut_archive_fails(stored, photo, tmp_path, capfd, quiet):
    path = tmp_path / "a.vlar"
    assert cli.run(["archive", "create", str(path), str(photo), "-q"]) == 0
    assert cli.run(["archive", "add", str(path), str(tmp_path / "bits.png"), "--lossless", "-q"]) == 0
    os.truncate(path, path.stat().st_size - 1)
    capfd.readouterr()
    assert cli.run(["archive", "extract", str(path), "--to", str(tmp_path / "out"), *quiet]) == 3
    assert "1 images are whole" in capfd.readouterr().err


def test_of_several_images_one_that_fails_is_left_out(photo, tmp_path, capfd):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    Image.new("1", (9, 5), 1).save(folder / "below" / "bits.png")
    Image.new("F", (2, 2)).save(folder / "floats.tiff")
    for line, code, told in (
        (
            ["archive", "create", "a.vlar", "photos", "--lossless"],
            1,
            "vlae: a.vlar: left out: floats.tiff: expected whole numbers",
        ),
        (
            ["archive", "add", "a.vlar", "photo.png", "photos/floats.tiff", "-q"],
            1,
            "left out: floats.tiff: expected whole numbers",
        ),
        (
            ["measure", "photos", "--lossless", "--json"],
            1,
            f"{folder.name}/floats.tiff: left out: expected whole numbers",
        ),
        (["archive", "create", "b.vlar", "photos/floats.tiff"], 4, "vlae: floats.tiff: expected whole numbers"),
        (["measure", "photos/floats.tiff"], 4, "vlae: floats.tiff: expected whole numbers"),
    ):
        done = python(*line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert done.returncode == code, done.stderr
        assert told in done.stderr.decode()
        if line[0] == "measure" and code == 1:
            one, total = (json.loads(each) for each in done.stdout.splitlines())
            assert one["file"] == "photos/below/bits.png"
            assert total["total"]["files"] == 1
    assert not (tmp_path / "b.vlar").exists()
    capfd.readouterr()
    assert cli.run(["archive", "list", str(tmp_path / "a.vlar")]) == 0
    assert [line.split()[-1] for line in capfd.readouterr().out.splitlines()] == ["below/bits.png", "photo.png"]


def test_without_a_compiler_nothing_is_coded(photo):
    done = python("compress", photo, env=os.environ | {"NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 4
    assert done.stderr.decode() == (
        "vlae: NUMBA_DISABLE_JIT is set, but images are coded by compiled kernels only: unset it\n"
    )


def test_a_failing_write_leaves_the_old_file(stored, monkeypatch, capfd):
    def fail(*_):
        raise OSError(28, "No space left on device")

    old = stored.with_suffix(".png").read_bytes()
    monkeypatch.setattr("os.fsync", fail)
    assert cli.run(["decompress", str(stored), "--force"]) == 1
    assert "No space left" in capfd.readouterr().err
    assert stored.with_suffix(".png").read_bytes() == old
    assert sorted(p.name for p in stored.parent.iterdir()) == ["bits.png", "bits.vlae"]


def test_info_prints_names_and_values(stored, capfd):
    assert cli.run(["info", str(stored)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert lines["fidelity"] == "stored"
    assert lines["width"] == "9"
    assert "model" not in lines


def test_info_takes_less_than_a_second(stored):
    # Processor time: the clock on the wall would include other work of this machine.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python("info", stored, "--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(done.stdout)["mode"] == "1"
    assert done.stderr == b""
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_a_process_reports_errors_without_traceback(tmp_path):
    done = python("info", tmp_path / "none.vlae")
    assert done.returncode == 1
    assert done.stderr.decode() == f"vlae: {tmp_path / 'none.vlae'}: No such file or directory\n"


def test_version_and_help(capfd):
    assert cli.run(["--version"]) == 0
    assert __version__ in capfd.readouterr().out
    assert cli.run(["--help"]) == 0
    assert "decompress" in capfd.readouterr().out
    assert cli.run([]) == 2


def test_commands_of_other_packages_are_loaded_by_name(monkeypatch, capfd):
    points = [
        EntryPoint("train", "no_such_package.cli:train", "vlae.commands"),
        EntryPoint("again", "codec.commands.cli:vlae", "vlae.commands"),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    assert cli.run(["--help"]) == 0
    assert "train" in capfd.readouterr().out
    assert cli.run(["train", "photo", "--data", "x"]) == 1
    assert capfd.readouterr().err == "vlae: train: cannot import no_such_package: pip install vlae[train]\n"
    assert cli.run(["again", "--version"]) == 0
    assert __version__ in capfd.readouterr().out


def test_models_are_listed(capfd):
    assert cli.run(["models"]) == 0
    assert capfd.readouterr().out.strip()


def test_measure_prints_json_lines(photo, capfd):
    assert cli.run(["measure", str(photo), "--lossless", "--json"]) == 0
    image, total = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert image["exact"] is True
    assert image["file"] == str(photo)
    shared = {"file_bits", "elbo_bits", "elbo_stderr_bits", "coded_path_bits", "naive_bits", *FILE_ROWS}
    shared |= {"encode_s", "decode_s", "exact", "max_error"}
    bound = {f"importance_{name}" for name in ("samples", "bits", "bpsp", "stderr_bits", "gap_bits")}
    facts = {"width", "height", "channels", "fidelity", "latents", "bpsp", "overhead_percent", "psnr", "ms_ssim"}
    assert shared | bound | facts <= set(image)
    means = {f"mean_{name}" for name in ("bpsp", "overhead_percent", "psnr", "ms_ssim")}
    assert shared | means | {"files", "stored", "max_overhead_percent"} <= set(total["total"])
    assert total["total"]["files"] == total["total"]["exact"] == 1
    assert {name: total["total"][name] for name in FILE_ROWS} == {name: image[name] for name in FILE_ROWS}


def test_measure_prints_tables(photo, capfd):
    Image.new("1", (9, 5), 1).save(photo.parent / "stored.png")
    assert cli.run(["measure", str(photo.parent), "--max-error", "1"]) == 0
    one, rest = capfd.readouterr().out.split(f"{photo.parent / 'stored.png'}: 9x5, stored, largest error 0\n")
    stored, total = rest.split("total: ")
    for word in ("pixel", "rans", "header", "file", "promised (ELBO)"):
        assert word in one
        assert word in total
    assert "bits-back" not in one
    assert total.startswith("2 files, 1 exact, mean ")
    assert "stored" in stored
    assert "promised" not in stored


def test_measure_prints_the_importance_weighted_bound(photo, capfd):
    command = ["measure", str(photo), "--lossless", "--no-bits-back", "--importance", "3"]
    assert cli.run([*command, "--json"]) == 0
    image, total = (json.loads(line) for line in capfd.readouterr().out.splitlines())
    assert image["importance_samples"] == 3
    assert image["importance_bits"] + image["importance_gap_bits"] == pytest.approx(image["elbo_bits"])
    for name in ("importance_samples", "importance_bits", "importance_gap_bits", "importance_stderr_bits"):
        assert total["total"][name] == pytest.approx(image[name])
    assert cli.run(command) == 0
    out, err = capfd.readouterr()
    (line,) = (line for line in out.splitlines() if "importance bound" in line)
    assert f"{image['importance_bits']:,.1f}" in line
    assert f"{image['importance_bpsp']:.5f}" in line
    assert "3 samples, standard error" in line
    assert err == ""


@pytest.mark.parametrize("samples", ["0", "100001", "many"])
def test_a_wrong_number_of_samples_is_a_mistake_of_usage(photo, capfd, samples):
    assert cli.run(["measure", str(photo), "--lossless", "--importance", samples]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "importance" in err


def test_demo(capfd):
    assert cli.run(["demo"]) == 0
    assert "demo.png: 160x120" in capfd.readouterr().out


def test_the_demo_picture_is_what_the_generator_draws():
    with Image.open(demo.PICTURE) as image:
        shipped = np.asarray(image).astype(int)
    # Sines and exponentials may differ in their last bit between machines.
    assert np.abs(shipped - demo.draw()).max() <= 1


@pytest.mark.parametrize(("mode", "line"), [("P", "its palette became RGB"), ("L", "its transparent colour became LA")])
def test_what_a_lossy_file_does_without_is_told(tmp_path, capfd, mode, line):
    path = tmp_path / "a.png"
    image = Image.fromarray(demo.draw()).convert("L")
    if mode == "P":
        image = Image.fromarray(demo.draw()).quantize(64)
        image.save(path)
    else:
        image.save(path, transparency=3)
    assert cli.run(["compress", str(path), "--quality", "20", "-o", str(tmp_path / "a.vlae")]) == 0
    assert f"{path}: {line}, --lossless keeps it\n" in capfd.readouterr().err
    assert cli.run(["compress", str(path), "--lossless", "-o", str(tmp_path / "b.vlae")]) == 0
    assert "became" not in capfd.readouterr().err


def test_a_broken_pipe_is_told_as_shells_do(monkeypatch, tmp_path):
    def broken(*arguments, **options):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(api, "info", broken)
    (tmp_path / "some").write_bytes(b"")
    assert cli.run(["info", str(tmp_path / "some")]) == 141


def test_an_exit_that_is_no_broken_pipe_is_none(monkeypatch, tmp_path):
    def leave(*arguments, **options):
        sys.exit(5)

    monkeypatch.setattr(api, "info", leave)
    (tmp_path / "some").write_bytes(b"")
    with pytest.raises(SystemExit, match="5"):
        cli.run(["info", str(tmp_path / "some")])
