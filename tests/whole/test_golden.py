"""Golden files: old bytes decode to the same samples, and the same images give the same bytes."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from support import make_golden as golden
from support import reference_decoder as reference

import codec
from codec.format.archive_sections import read_sections
from codec.format.container import unpack
from codec.frozen.shipped import WEIGHTS

SCRIPT = Path(golden.__file__)
FOLDER = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def test_the_manifest_lists_every_file():
    assert {path.name for path in FOLDER.glob("*.vlae")} == set(MANIFEST)
    assert set(golden.sources()) == set(MANIFEST)


def test_every_kind_of_file_is_there():
    assert {entry["fidelity"] for entry in MANIFEST.values()} == {"lossless", "near-lossless", "lossy", "stored"}
    assert {entry["latents"] for entry in MANIFEST.values()} == {"none", "bits-back", "two-part", None}
    assert {entry["mode"] for entry in MANIFEST.values()} >= {"L", "LA", "RGB", "RGBA", "P"}
    near = [entry for entry in MANIFEST.values() if entry["fidelity"] == "near-lossless"]
    assert {entry["latents"] for entry in near} == {"none", "two-part"}
    assert len({entry["max_error"] for entry in near}) >= 3
    lossy = [entry for entry in MANIFEST.values() if entry["fidelity"] == "lossy"]
    assert {entry["latents"] for entry in lossy} == {"none"}
    assert len({entry["quality"] for entry in lossy}) >= 3
    assert {entry["fidelity"] for entry in MANIFEST.values() if entry["adapted"]} == {"lossless", "near-lossless"}
    assert {codec.info((FOLDER / name).read_bytes()).lanes for name in MANIFEST} >= {1, 2, None}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_golden_file_decodes_to_its_samples(name):
    data = (FOLDER / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == MANIFEST[name]["file_sha256"]
    assert golden.describe(data) == MANIFEST[name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if entry["width"] * entry["height"] >= 1 << 15 else [])
        for name, entry in MANIFEST.items()
    ],
)
def test_the_reference_decodes_a_golden_file(name):
    data = (FOLDER / name).read_bytes()
    mode, samples = reference.decode(data, WEIGHTS)
    decoded = codec.decompress(data)
    assert mode == MANIFEST[name]["mode"] == codec.info(data).mode
    shown = decoded.convert("L") if mode == "1" else decoded
    np.testing.assert_array_equal(samples.squeeze(), np.asarray(shown))


@pytest.mark.parametrize("name", MANIFEST)
def test_a_golden_file_is_near_its_source(name):
    image, _ = golden.sources()[name]
    decoded = codec.decompress((FOLDER / name).read_bytes())
    if isinstance(image, np.ndarray) or image.mode == "CMYK":
        np.testing.assert_array_equal(decoded, image)
        return
    assert decoded.mode == image.mode
    a, b = (np.asarray(i.convert("RGBA")).astype(int) for i in (decoded, image))
    limit = MANIFEST[name]["max_error"]
    assert np.abs(a - b).mean() <= 8 if limit is None else np.abs(a - b).max() <= limit


@pytest.mark.parametrize("name", [name for name, entry in MANIFEST.items() if entry["latents"] is not None])
def test_the_same_image_gives_the_same_bytes(name):
    image, arguments = golden.sources()[name]
    old = unpack((FOLDER / name).read_bytes())
    new = unpack(codec.compress(image, **arguments))
    # Alpha is a PNG, whose bytes are zlib's: other versions of it may write others.
    assert replace(new, alpha=b"") == replace(old, alpha=b"")


def test_the_golden_archive_decodes_to_its_sources():
    first, second = golden.archive_sources()
    with codec.Archive(FOLDER / golden.ARCHIVE) as archive:
        assert list(archive) == [*first, *second]
        entries = list(archive.entries.values())
        assert {entry.header.fidelity.name for entry in entries} == {"LOSSLESS"}
        assert not all(entry.dry for entry in entries)
        for name, image in archive.items():
            source = (first | second)[name]
            assert (image.mode, image.size, image.tobytes()) == (source.mode, source.size, source.tobytes())


def contents(data):
    """Return what an index says and the bytes of blocks, for each section. Indexes differ by the version of zlib."""
    found = []
    for section in read_sections(BytesIO(data)):
        end = section.start + sum(block.length for block in section.blocks)
        found.append((section.blocks, data[section.start : end]))
    return found


def test_the_same_images_give_the_same_archive(tmp_path):
    golden.write_archive(tmp_path / "again.vlar")
    again, old = (contents(path.read_bytes()) for path in (tmp_path / "again.vlar", FOLDER / golden.ARCHIVE))
    assert again == old


def test_the_script_replaces_nothing_without_a_reason():
    before = {path: path.read_bytes() for path in FOLDER.iterdir()}
    code = f"import runpy, sys; sys.argv[1:] = []; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert run.returncode == 2
    assert "--replace-because" in run.stderr
    assert {path: path.read_bytes() for path in FOLDER.iterdir()} == before


def test_the_reason_goes_to_its_section_of_the_changelog():
    once = golden.with_reason("# Changes\n\n## 0.1\n- all\n", "first")
    assert once == "# Changes\n\n## 0.1\n- all\n\n## Golden files\n\n- first\n"
    assert golden.with_reason(once, "second") == once + "- second\n"
    between = golden.with_reason("## Golden files\n\n- first\n\n## 0.1\n- all\n", "second")
    assert between == "## Golden files\n\n- first\n- second\n\n## 0.1\n- all\n"
