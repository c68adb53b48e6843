"""Which folder may import which: arrows go one way, and what is slow loads late. docs/ARCHITECTURE.md tells why."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUND = "."
"""The modules of a package that lie in no folder of it."""

CODEC = {
    "format": "",
    "entropy": "",
    "networks": "",
    "system": "",
    "frozen": "entropy networks format.headers",
    "vlae": "entropy networks frozen system format.headers format.container",
    "encoder": "entropy networks frozen system vlae format.headers",
    "file_metadata": "format",
    "image_files": "system file_metadata format",
    "wide": "image_files format",
    "images": "entropy networks frozen system vlae encoder image_files wide format",
    "archive": "entropy frozen system vlae images image_files format",
    GROUND: "format system image_files images vlae",
    "batch": "system image_files images format .api",
    "plugin": "images file_metadata format .api",
    "desktop": "system image_files images plugin format",
    "ledger": "system vlae image_files images archive format .api",
    "report": "entropy networks vlae image_files images ledger",
    "view": "system vlae image_files images archive ledger report format .api",
    "commands": "networks frozen system vlae encoder image_files images archive batch desktop ledger report view "
    "format .api",
}
"""Folders of `codec`, and what each may import: itself, folders, and single modules of others."""

MODELS = {
    "data": "",
    "nets": "data",
    "recipes": "data nets",
    "freezing": "nets recipes",
    "tasks": "data nets recipes freezing",
    "training": "recipes freezing tasks",
    GROUND: "recipes training",
}

ALLOWED = {"codec": CODEC, "models": MODELS}
EVERYBODY = {
    "codec.errors",
    "codec.compiled",
    "codec.constants",
    "models.errors",
    "models.extra",
    "models.ranks",
    "models.noise",
}
"""Modules of the ground that all folders may import."""
LAZY = {"codec.__init__", "codec.__main__"}
"""Modules that load what they name at its first use, wherever it is."""
MOST_MODULES = 12
"""Most modules in a folder. More cannot be seen at once."""


def files(package):
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported(text):
    """Return the full names that a module imports anywhere in it, with what it takes from a package as well."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def folder_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / parts[0] / parts[1]).is_dir() else GROUND


def forbidden(package, module, text):
    """Return what a module imports of its own package that the table does not allow."""
    own = folder_of(module)
    allowed = {own, *ALLOWED[package][own].split()}

    def is_allowed(name):
        inner = name.removeprefix(f"{package}.")
        return folder_of(name) in allowed or (inner if "." in inner else f".{inner}") in allowed

    return {name for name in imported(text) & set(files(package)) - EVERYBODY if not is_allowed(name)}


@pytest.mark.parametrize("module", sorted(set(files("codec")) - LAZY))
def test_arrows_of_codec(module):
    text = files("codec")[module].read_text("utf-8")
    assert not {name.split(".")[0] for name in imported(text)} & {"models", "torch", "tests", "benchmarks"}
    assert not forbidden("codec", module, text)
    if folder_of(module) != "commands":  # the terminal is theirs
        assert "click" not in {name.split(".")[0] for name in imported(text)}


@pytest.mark.parametrize("module", sorted(files("models")))
def test_arrows_of_models(module):
    text = files("models")[module].read_text("utf-8")
    assert not {name.split(".")[0] for name in imported(text)} & {"tests", "benchmarks"}
    assert not forbidden("models", module, text)


def test_a_planted_import_is_seen():
    assert forbidden("codec", "codec.format.headers", "from codec.vlae import coders") == {"codec.vlae.coders"}
    assert forbidden("codec", "codec.entropy.rans", "def f():\n    import codec.api") == {"codec.api"}
    assert forbidden("codec", "codec.vlae.coders", "from codec.format.png import read") == {"codec.format.png"}
    assert forbidden("models", "models.nets.vlae", "import models.training.run") == {"models.training.run"}
    assert not forbidden("codec", "codec.vlae.coders", "from codec.format.headers import Latents")


@pytest.mark.parametrize("package", ALLOWED)
def test_folders(package):
    table = ALLOWED[package]
    assert {folder_of(module) for module in files(package)} == set(table)
    for folder in set(table) - {GROUND}:
        modules = [module for module in files(package) if folder_of(module) == folder and "__init__" not in module]
        assert len(modules) <= MOST_MODULES, folder


@pytest.mark.parametrize("package", ALLOWED)
def test_the_table_has_no_circles(package):
    left = {folder: {name.split(".")[0] for name in to.split()} for folder, to in ALLOWED[package].items()}
    while left:
        free = {folder for folder, to in left.items() if not to & set(left)}
        assert free, left
        left = {folder: to for folder, to in left.items() if folder not in free}


DOCUMENT = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")


def documented(package, head):
    """Return the second column of a table of the document, by folder."""
    table = DOCUMENT.split(f"| folder of {package} | {head} |\n|---|---|\n")[1].split("\n\n")[0]
    lines = re.findall(r"^\| (\S+) \|(.*)\|$", table, re.MULTILINE)
    return {GROUND if folder == "(ground)" else folder: cell.strip() for folder, cell in lines}


@pytest.mark.parametrize("package", ALLOWED)
def test_the_document_has_the_same_table(package):
    written = documented(package, "may import")
    api = {folder: re.sub(r"\bapi\b", ".api", cell).replace(",", "") for folder, cell in written.items()}
    assert api == ALLOWED[package]
    own = re.search(rf"Every module of `{package}` may import (.+?)\.(?:$| )", DOCUMENT, re.MULTILINE)[1]
    assert set(re.findall(rf"`({package}\..+?)`", own)) == {name for name in EVERYBODY if name.startswith(package)}


@pytest.mark.parametrize("package", ALLOWED)
def test_the_document_says_why_each_folder_exists(package):
    reasons = documented(package, "why it exists")
    assert set(reasons) == set(ALLOWED[package])
    assert all(reasons.values())


def test_the_document_names_what_is_there():
    named = re.findall(r"`((?:codec|models|tests|docs)/[\w/.]+)`", DOCUMENT)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_package_itself_imports_nothing_when_loaded():
    body = ast.parse((ROOT / "codec" / "__init__.py").read_text("utf-8")).body
    assert not [node for node in body if isinstance(node, ast.ImportFrom) and node.module.startswith("codec")]


@pytest.mark.parametrize(
    ("module", "slow"), [("codec", "numpy"), ("codec.commands.cli", "numpy"), ("codec.api", "numba")]
)
def test_what_is_slow_loads_late(module, slow):
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "codec" in loaded
    assert not loaded & {"torch", "numba", "models", slow}


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("lossy-rgb.vlae", "codec.decompress({path!r})"),
        ("lossless-rgb-bits-back.vlae", "codec.decompress({path!r})"),
        ("near-lossless-rgb.vlae", "codec.decompress({path!r})"),
        ("lossy-rgb.vlae", "codec.decompress({path!r}, latents_only=True, sample=1)"),
        ("archive.vlar", "[image.load() for image in codec.Archive({path!r}).values()]"),
    ],
)
def test_decoding_loads_no_encoder(name, decode):
    code = f"import codec, sys; {decode.format(path=str(ROOT / 'tests' / 'golden' / name))}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    assert "codec.vlae.decoding" in run.stdout.split()
    assert not [name for name in run.stdout.split() if name.startswith("codec.encoder")]
