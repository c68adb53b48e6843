"""Other processes, threads, instruction sets and compilers write the same bytes and read each other's.

The image is adapted, and one of its lossy files is the best of a search: these searches are the same everywhere, too.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec.commands import demo
from codec.format.headers import Latents
from codec.images import fidelities, refinement

ROOT = Path(__file__).parents[2]

STEPS = 32
"""Steps of the search for an adaptation. Fewer than usual are enough here."""

QUALITIES = (5, 60, 98)
ROUNDS = 3
"""Rounds of the search for y of the highest effort. Here, too, fewer are enough."""

SCRIPT = """
import hashlib, json, sys
from PIL import Image
import codec
from codec.format.headers import Latents
from codec.images import fidelities, refinement
import numba

fidelities.SEARCH_STEPS = (int(sys.argv[4]),) * 3
image, file, latents = Image.open(sys.argv[1]), sys.argv[2], Latents(int(sys.argv[3]))
data = codec.compress(image, lossless=True, latents=latents)
near = codec.compress(image, max_error=2, latents=Latents.TWO_PART)
lossy = [codec.compress(image, quality=quality) for quality in json.loads(sys.argv[5])]
refinement.ROUNDS = int(sys.argv[6])
lossy.append(codec.compress(image, quality=40, effort=3))
seen = [codec.decompress(data).tobytes() for data in lossy]
decoded = codec.decompress(open(file, "rb").read())
try:
    from numpy._core._multiarray_umath import __cpu_features__ as features
except ImportError:
    from numpy.core._multiarray_umath import __cpu_features__ as features
print(json.dumps({
    "bytes": hashlib.sha256(data).hexdigest(),
    "near": hashlib.sha256(near).hexdigest(),
    "lossy": hashlib.sha256(b"".join(lossy)).hexdigest(),
    "lossy_samples": hashlib.sha256(b"".join(seen)).hexdigest(),
    "samples": hashlib.sha256(decoded.tobytes()).hexdigest(),
    "features": [name for name, found in features.items() if found],
    "numba_cpu": numba.config.CPU_NAME,
}))
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def made_here(tmp_path_factory):
    """Return the path of an image, that of its file, and what other processes are to make of them."""
    folder = tmp_path_factory.mktemp("determinism")
    rng = np.random.default_rng(0)
    tiled = np.tile(
        demo.draw(),
        (2, 2, 1),
    )[:150, :220]
    image = Image.fromarray(np.clip(tiled + rng.normal(0, 2, tiled.shape), 0, 255).astype(np.uint8))
    image.save(folder / "image.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelities, "SEARCH_STEPS", (STEPS,) * 3)
        data = codec.compress(image, lossless=True, latents=Latents.BITS_BACK)
        near = codec.compress(image, max_error=2, latents=Latents.TWO_PART)
    (folder / "image.vlae").write_bytes(data)
    for coded, fidelity in ((data, "lossless"), (near, "near-lossless")):
        assert codec.info(coded).fidelity == fidelity
        assert codec.info(coded).part_bits["adaptation_bits"] > 0
    lossy = [codec.compress(image, quality=quality) for quality in QUALITIES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refinement, "ROUNDS", ROUNDS)
        lossy.append(codec.compress(image, quality=40, effort=3))
    assert [codec.info(coded).quality for coded in lossy] == [*QUALITIES, 40]
    expected = {"bytes": data, "near": near, "samples": image.tobytes(), "lossy": b"".join(lossy)}
    expected["lossy_samples"] = b"".join(codec.decompress(coded).tobytes() for coded in lossy)
    return folder, {name: sha256(value) for name, value in expected.items()}


def run(folder, **environment):
    """Return what a fresh process makes of the image and of the file made here."""
    arguments = [
        folder / "image.png",
        folder / "image.vlae",
        f"{Latents.BITS_BACK:d}",
        f"{STEPS}",
        json.dumps(QUALITIES),
        f"{ROUNDS}",
    ]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    process = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def assert_same(report, made_here):
    _, expected = made_here
    assert {key: report[key] for key in expected} == expected


@pytest.fixture(scope="module")
def usual(made_here):
    return run(made_here[0])


def test_a_fresh_process(made_here, usual):
    assert_same(usual, made_here)


def dispatched():
    """Return the instruction sets that numpy found here and can be told to leave."""
    try:
        from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    except ImportError:
        from numpy.core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    return [name for name in __cpu_dispatch__ if __cpu_features__[name]]


@pytest.mark.skipif(not dispatched(), reason="numpy uses its baseline here")
def test_numpy_without_its_instruction_sets(made_here, usual):
    report = run(made_here[0], NPY_DISABLE_CPU_FEATURES=" ".join(dispatched()))
    assert not set(dispatched()) & set(report["features"])
    assert set(dispatched()) <= set(usual["features"])
    assert_same(report, made_here)


@pytest.mark.slow
def test_kernels_compiled_for_any_machine(made_here, usual, tmp_path):
    report = run(made_here[0], NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    assert (report["numba_cpu"], usual["numba_cpu"]) == ("generic", None)
    assert list(tmp_path.rglob("*.nbc")), "nothing was compiled"
    assert_same(report, made_here)
