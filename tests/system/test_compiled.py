"""Compiled kernels are kept on disk until a source changes that is compiled into them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec.compiled import sources

ROOT = Path(__file__).parents[2]
CODE = """
import numpy as np
from numba.core.event import Listener, install_listener
from codec.networks import quantisation

class Compilations(Listener):
    count = 0
    def on_start(self, event):
        self.count += 1
    def on_end(self, event):
        pass

compilations = Compilations()
with install_listener("numba:compile", compilations):
    q = quantisation.quantise(np.full((1, 1, 1), 1000, np.int32), np.array([1 << 16], np.int32), 1 << {bits})
print(q.item(), compilations.count)
"""


@pytest.fixture
def package(tmp_path):
    """Return a folder with a copy of the package, whose caches are empty."""
    shutil.copytree(ROOT / "codec", tmp_path / "codec", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return tmp_path


def start(package, *, bits=10, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    environment |= {"PYTHONPATH": str(package)} | variables
    code = [sys.executable, "-c", CODE.format(bits=bits)]
    return subprocess.Popen(code, cwd=package, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603


def result(process):
    """Return the kernel's result, and the number of functions that were compiled for it."""
    text, _ = process.communicate()
    assert process.returncode == 0
    value, compiled = text.split()
    return int(value), int(compiled)


def run(package, **variables):
    return result(start(package, **variables))


def files(folder):
    return {path.name for path in folder.rglob("*.nb?")}


def edit(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_kernel_is_compiled_once_and_anew_after_an_edit_of_what_it_imports(package):
    value, compiled = run(package)
    assert (value, compiled > 0) == (4, True)
    assert run(package) == (4, 0)
    before = files(package)
    assert len(before) == 1
    # The change is in another module than the kernel's own, of which numba's cache knows nothing.
    edit(package / "codec" / "networks" / "products.py", "ROWS = 6", "ROWS = 5")
    assert run(package)[1] > 0
    assert run(package) == (4, 0)
    after = files(package)
    assert len(after) == 1
    assert not after & before
    edit(package / "codec" / "api.py", '"""', '"""A sentence more. ')
    assert run(package) == (4, 0)
    assert files(package) == after


def test_an_edited_constant_of_another_module_counts(package):
    assert run(package)[0] == 4
    edit(package / "codec" / "constants.py", "Y_BITS = 8", "Y_BITS = 7")
    value, compiled = run(package)
    assert (value, compiled > 0) == (8, True)


def test_a_folder_of_the_users_own(package, tmp_path):
    own = tmp_path / "own"
    for again in (False, True):
        assert (run(package, NUMBA_CACHE_DIR=str(own))[1] == 0) == again
    assert len(files(own)) == len(files(package)) == 1


def test_where_no_folder_can_be_written_kernels_work_all_the_same(package):
    taken = package / "codec" / "networks" / "__pycache__"
    taken.write_text("", "utf-8")  # no folder can be made where a file is, nor below one
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(taken))
    for _ in range(2):
        value, compiled = run(package, **nowhere)
        assert (value, compiled > 0) == (4, True)
    assert not files(package)


def test_processes_that_compile_at_the_same_time(package):
    runs = [start(package) for _ in range(3)]
    assert {result(process)[0] for process in runs} == {4}
    assert len(files(package)) == 1
    assert run(package) == (4, 0)


def test_sources_are_those_of_all_that_is_compiled_in():
    found = sources("codec.vlae.wavefront")
    assert set(found) >= {
        "codec.compiled",
        "codec.entropy.mixtures",
        "codec.entropy.rans",
        "codec.entropy.tables",
        "codec.frozen.likelihood",
        "codec.networks.products",
        "codec.vlae.wavefront",
    }
    assert "codec.api" not in found
    assert found["codec.entropy.rans"] == (ROOT / "codec" / "entropy" / "rans.py").read_bytes()


def test_kernels_that_cannot_be_cached_are_noted(package):
    code = "from codec import compiled; from codec.networks import quantisation; print(len(compiled.uncached))"
    refuse = "import numba.core.caching as c; c.CacheImpl._locator_classes = []; "
    for before, is_noted in (("", False), (refuse, True)):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", before + code], cwd=package, capture_output=True, text=True, check=True
        )
        assert (int(done.stdout) > 0) == is_noted
