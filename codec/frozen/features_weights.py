"""The weights of the networks of `codec.frozen.features`: which tensors a file has, and what is refused."""

from __future__ import annotations

from codec.entropy.mixtures import Grid
from codec.errors import ModelError
from codec.frozen import contexts, features
from codec.frozen.features import Limits, SpatialNetworks
from codec.frozen.layout import BITS, SAMPLES, Layout
from codec.frozen.model import Config, Family, Shapes, Tensors
from codec.frozen.transform_weights import NETWORK, block_count, layer
from codec.networks.convolutions import Layer

RANGES = {
    "window_columns": (1, 33),
    "window_rows": (0, 16),
    "patch": (1, 16),
    "cell": (1, 16),
    "band": (1, 64),
    "features": (1, 64),
    "neighbours": (0, 6),
    "stream_limit": (1, 32767),
    "hidden_limit": (1, 32767),
    "feature_limit": (1, 32767),
}
"""Integers in the metadata of a weights file, and their ranges."""
PREFIXES = ("posterior", "features")
LIMIT_NAMES = ("stream_limit", "hidden_limit", "feature_limit")


def _tile(config: Config) -> int:
    """Return the side of a cell in pixels."""
    side: int = config["patch"] * config["cell"]
    return side


def _contexts(config: Config) -> tuple[contexts.IntArray, int]:
    """Return the window's contexts (P, 2), and how far they reach in rows or columns."""
    columns, rows = config["window_columns"], config["window_rows"]
    return contexts.window(columns, rows), max(columns // 2, rows)


def _shapes(tensors: Tensors, config: Config, channels: int, *_: int) -> Shapes:
    """Return the type and shape of each tensor. Widths and the number of blocks are taken from the tensors."""
    latents, area, patches = config["latents"], config["patch"] ** 2, config["cell"] ** 2
    shapes: Shapes = {}
    streams = {
        "posterior": tensors["posterior.input.weight"].shape[-1],
        "features": tensors["features.output.weight"].shape[0] // 9,
    }
    layers = {
        "posterior.input": (9 * channels * area, streams["posterior"]),
        "posterior.out": (patches * streams["posterior"], 2 * latents),
        "features.dense": (latents, patches * streams["features"]),
        "features.output": (9 * streams["features"], area * config["features"]),
    }
    for prefix in PREFIXES:
        width = streams[prefix]
        for i in range(block_count(tensors, f"{prefix}.block")):
            layers |= {f"{prefix}.block{i + 1}.{name}": (9 * width, width) for name in ("hidden", "residual")}
    for name, (inputs, outputs) in layers.items():
        shapes[f"{name}.weight"] = (NETWORK, (inputs, outputs))
        shapes[f"{name}.bias"] = ("int32", (outputs,))
        shapes[f"{name}.shift"] = ("int8", (outputs,))
    return shapes


def _build(tensors: Tensors, config: Config, coded: Layout, grid: Grid, _: int, bias_count: int) -> SpatialNetworks:
    """Return the networks of a weights file's tensors, whose shapes were checked.

    Raises
    ------
    ModelError
        The sum of a layer could leave int32, or a network has no units.
    """
    for name in ("posterior.input", "features.dense"):
        if not tensors[f"{name}.weight"].size:
            raise ModelError(f"{name}: expected at least one unit")
    limits = Limits(*(config[name] for name in LIMIT_NAMES))

    def own(name: str, side: int, largest: int) -> Layer:
        return layer(tensors, name, side, largest, 1)

    def blocks(prefix: str) -> tuple[tuple[Layer, Layer], ...]:
        """Return the residual blocks of a network; each is a hidden and a residual layer."""
        names = [f"{prefix}.block{i + 1}" for i in range(block_count(tensors, f"{prefix}.block"))]
        return tuple((own(f"{n}.hidden", 3, limits.stream), own(f"{n}.residual", 3, limits.hidden)) for n in names)

    return SpatialNetworks(
        layout=coded,
        patch=config["patch"],
        cell=config["cell"],
        latents=config["latents"],
        grid=grid,
        bias_count=bias_count,
        limits=limits,
        input=own("posterior.input", 3, features.largest_centred(coded)),
        blocks=blocks("posterior"),
        out=own("posterior.out", 1, limits.stream),
        dense=own("features.dense", 1, config["grid"]),
        feature_blocks=blocks("features"),
        output=own("features.output", 3, limits.stream),
    )


FAMILY = Family(
    kinds=(SAMPLES, BITS),
    ranges=RANGES,
    is_conditional=False,
    is_adaptable=False,
    has_latents=True,
    needs_latents=True,
    has_own_units=True,
    check=lambda _: None,
    contexts=_contexts,
    tile=_tile,
    band=lambda config: int(config["band"]),
    features=lambda config: (int(config["features"]), int(config["feature_limit"])),
    neighbours=lambda config: int(config["neighbours"]),
    shapes=_shapes,
    build=_build,
)
"""The family of models whose latents become a map of features."""
