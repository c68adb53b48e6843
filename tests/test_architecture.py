"""Which module may import which: arrows go one way, and what is slow to load loads late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ORDER = (
    "errors",
    "metrics",
    "compiled",
    "tables",
    "rans",
    "stack",
    "distributions",
    "rate_distortion",
    "coders",
    "exact",
    "products",
    "quantisation",
    "convolutions",
    "transform",
    "masking",
    "transform_weights",
    "contexts",
    "layout",
    "likelihood",
    "wavefront",
    "adaptation",
    "search",
    "headers",
    "sources",
    "modulation",
    "modulation_weights",
    "spatial",
    "spatial_weights",
    "prior",
    "model",
    "model_weights",
    "shipped",
    "goals",
    "container",
    "threads",
    "pipeline",
    "image",
    "vlae",
    "lossy",
    "preview",
    "kernels",
    "files",
    "signals",
    "folders",
    "metadata",
    "file_parts",
    "source_depth",
    "dropped",
    "tiff",
    "png",
    "image_io",
    "hidden",
    "rate_control",
    "encoder",
    "choice",
    "decoder",
    "api",
    "workers",
    "archive_index",
    "archive_sections",
    "archive_blocks",
    "archive",
    "archive_writer",
    "evidence",
    "accounts",
    "ledger",
    "archive_ledger",
    "heatmap",
    "report_pictures",
    "report_charts",
    "report_terms",
    "report_page",
    "demo",
    "console",
    "archive_cli",
    "cli",
    "__main__",
)
"""Modules of `codec`; each may import those before it."""

UNORDERED = {"__init__"}
"""Loads names from the others at their first use only."""


def modules(package):
    return {path.stem: path for path in sorted((ROOT / package).glob("*.py"))}


def imported(path, package):
    """Return the full names that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            if node.module == package:
                names |= {f"{package}.{alias.name}" for alias in node.names}
    return names


def top_level(path):
    """Return the packages that a file imports when it is loaded."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("name", modules("codec"))
def test_codec_imports_neither_models_nor_torch(name):
    packages = {module.split(".")[0] for module in imported(modules("codec")[name], "codec")}
    assert not packages & {"models", "torch", "tests", "benchmarks"}


@pytest.mark.parametrize("name", modules("models"))
def test_models_import_codec_only(name):
    packages = {module.split(".")[0] for module in imported(modules("models")[name], "models")}
    assert not packages & {"tests", "benchmarks"}


def test_every_module_has_its_place():
    assert set(modules("codec")) - UNORDERED <= set(ORDER), "a new module takes its place in ORDER"
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("name", sorted(set(modules("codec")) & set(ORDER)))
def test_arrows_go_one_way(name):
    earlier = ORDER[: ORDER.index(name)]
    found = {module.split(".")[1] for module in imported(modules("codec")[name], "codec") if "." in module}
    own = {module for module in found if module in modules("codec")}
    assert own <= set(earlier)


def test_the_arrows_are_seen():
    assert "codec.rans" in imported(modules("codec")["coders"], "codec")
    assert "codec.tables" in imported(modules("codec")["distributions"], "codec")
    assert "codec.vlae" in imported(modules("codec")["api"], "codec")  # within a function


def test_the_package_itself_imports_nothing_when_loaded():
    assert "codec" not in top_level(modules("codec")["__init__"])


@pytest.mark.parametrize("module", ["codec", "codec.cli"])
def test_what_is_slow_loads_late(module):
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "codec" in loaded
    assert not loaded & {"torch", "numba", "models"}
