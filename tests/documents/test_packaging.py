"""The content of the wheel, and its dependencies."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import codec

ROOT = Path(__file__).parents[2]
SOURCES = ("codec", "models", "tests", "benchmarks", "pyproject.toml", "README.md", "LICENSE")
MODEL_BYTES = 12_000_000


def expected_files():
    """Yield the files that a user needs, by name in the wheel."""
    for package in ("codec", "models"):
        for path in (ROOT / package).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix()
    data = (
        "codec/weights/*",
        "codec/commands/demo.png",
        "codec/report/*.html",
        "codec/report/*.css",
        "codec/report/page.js",
        "codec/view/assets/*",
        "models/*.toml",
        "models/recipes/*.toml",
    )
    for pattern in data:
        found = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
        assert found, pattern
        yield from found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel of a copy of the tree, without any index."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(  # noqa: S603
        [*command, "--wheel-dir", str(folder), str(tree)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def dist_info(wheel, name):
    (path,) = [n for n in wheel.namelist() if re.fullmatch(rf"vlae-[^/]*\.dist-info/{name}", n)]
    return wheel.read(path).decode()


def test_the_wheel_holds_the_two_packages_and_their_data_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == set(expected_files())


def test_the_data_are_the_same_bytes(wheel):
    for name in expected_files():
        assert wheel.read(name) == (ROOT / name).read_bytes(), name


def test_metadata(wheel):
    fields = email.message_from_string(dist_info(wheel, "METADATA"))
    assert fields["Name"] == "vlae"
    assert fields["Version"] == codec.__version__
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.10"
    assert set(fields.get_all("Provides-Extra")) == {"train", "view", "bench", "test", "dev"}
    assert dist_info(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_who_only_compresses_needs_no_torch(wheel):
    requirements = email.message_from_string(dist_info(wheel, "METADATA")).get_all("Requires-Dist")
    always = {re.split(r"[<>=!~ ;]", r)[0] for r in requirements if "extra ==" not in r}
    always_needed = "click imagecodecs jinja2 llvmlite numba numpy pillow safetensors tifffile tqdm"
    assert always == set(always_needed.split())
    assert any(r.startswith("torch") and 'extra == "train"' in r for r in requirements)


def test_entry_points(wheel):
    lines = dist_info(wheel, "entry_points.txt").split("\n")
    assert lines[lines.index("[console_scripts]") + 1] == "vlae = codec.commands.cli:main"
    commands = lines.index("[vlae.commands]") + 1
    homes = {"averages": "cli", "lend": "training.lend", "ship": "cli", "train": "cli"}
    assert lines[commands : commands + 4] == [f"{name} = models.{home}:{name}" for name, home in homes.items()]


def test_the_models_are_small(wheel):
    sizes = {i.filename: i.file_size for i in wheel.infolist() if i.filename.endswith(".safetensors")}
    assert sizes
    assert sum(sizes.values()) < MODEL_BYTES
