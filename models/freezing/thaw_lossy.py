"""Thawing of lossy models: from frozen weights back to a float model that computes the same.

It is the inverse of `models.freezing.freeze_transforms` and, for the coder of y, of `models.freezing.freeze`. The
weights file does not hold the units of residual streams and hidden layers. They are free, and
`models.freezing.filling.UNIT` here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from torch import nn

from codec.constants import OUTPUT_SHIFT, STEP_BITS, VALUE_BITS, Y_BITS
from codec.frozen.transform_weights import block_count
from codec.frozen.weights import parse_model
from codec.networks.transform import FINE_PATCH
from models.freezing.filling import UNIT, fill, fill_biases, fill_hidden, fill_rows, frozen_header
from models.freezing.freeze_transforms import undo_by_place
from models.freezing.quantise import Tensors, to_f64
from models.freezing.thaw import thaw_coder
from models.nets.depthwise import Coarsen, DepthwiseBlock, parts
from models.nets.layers import bias_of
from models.nets.lossy import COARSEST, Lossy
from models.nets.transforms import OPPONENTS, Transform


def _thaw_network(tensors: Tensors, prefix: str, net: Transform[nn.Module], gain: float, unit: float) -> None:
    """Fill a transform. ``gain`` and ``unit`` integers stand for a float 1 in its inputs and in its results."""
    before, between, after = parts(net)
    into = isinstance(between, Coarsen)
    value = np.ldexp(tensors[f"{prefix}.linear.multiplier"].astype(np.float64), -OUTPUT_SHIFT) / unit
    rows = tensors[f"{prefix}.linear.weight"].T * (gain * value[:, None])
    fill_rows(net.linear, undo_by_place(rows.T, FINE_PATCH).T if into else undo_by_place(rows, FINE_PATCH))
    fill(bias_of(net.input), fill_hidden(tensors, f"{prefix}.input", net.input, net.input_unit * gain))
    names = ("fine", "coarse") if into else ("coarse", "fine")
    _fill_blocks(tensors, f"{prefix}.{names[0]}", before)
    biases = fill_hidden(tensors, f"{prefix}.between", between.conv1, UNIT)
    rows = to_f64(between.conv1.weight)[:, :, 0, 0]
    fill_rows(between.conv1, undo_by_place(rows.T, 1).T if into else undo_by_place(rows, 1))
    fill(bias_of(between.conv1), biases if into else undo_by_place(biases, 1))
    _fill_blocks(tensors, f"{prefix}.{names[1]}", after)
    value = np.ldexp(tensors[f"{prefix}.output.multiplier"].astype(np.float64), -OUTPUT_SHIFT) / (unit * net.unit)
    fill_rows(net.output, tensors[f"{prefix}.output.weight"].T * (UNIT * value[:, None]))
    fill(bias_of(net.output), tensors[f"{prefix}.output.bias"] * value)


def _fill_blocks(tensors: Tensors, prefix: str, blocks: Sequence[DepthwiseBlock]) -> None:
    """Fill depthwise blocks. `UNIT` is the unit of all their results."""
    count = block_count(tensors, prefix)
    if count != len(blocks):
        raise ValueError(f"the frozen model differs: {prefix} has {count} blocks, not {len(blocks)}")
    for i, block in enumerate(blocks):
        name = f"{prefix}{i + 1}"
        factor = np.ldexp(1.0, -tensors[f"{name}.depthwise.shift"].astype(np.int64))
        fill(block.depthwise.weight, (tensors[f"{name}.depthwise.weight"] * factor).T)
        fill_biases(bias_of(block.conv1), block.levels, fill_hidden(tensors, f"{name}.hidden", block.conv1, UNIT))
        fill(bias_of(block.conv2), fill_hidden(tensors, f"{name}.residual", block.conv2, UNIT))


def _thaw_steps(steps: NDArray[np.int32], model: Lossy) -> None:
    """Fill the steps of the levels, such that interpolation between them fits the rows of the frozen qualities best."""
    values = np.ldexp(steps.astype(np.float64), -STEP_BITS)
    means = values[:, : len(OPPONENTS)]
    means[...] = (means**-2.0 - np.array(COARSEST) ** -2.0) ** -0.5  # the inverse of the bound in `Lossy.steps`
    shares = model.level(torch.linspace(0, 1, len(values), dtype=torch.float64)).numpy()
    fill(model.log_steps, np.linalg.lstsq(shares, np.log(values), rcond=None)[0])


@torch.no_grad()
def thaw_lossy(data: bytes, model: Lossy) -> None:
    """Fill a model with weights that compute what a frozen model computes, within rounding.

    Parameters
    ----------
    data : bytes
        A weights file, as `models.freezing.freeze.weights_file` returns it.
    model : Lossy
        Its coder may be larger than the frozen one, see `models.freezing.thaw.thaw_samples`.

    Raises
    ------
    ValueError
        The model has another shape.
    ModelError
        ``data`` is no weights file.
    """
    parse_model(data)  # refuses what is not a model
    tensors, header = load(data), frozen_header(data)
    config = model.config
    shape = {"kind": "tensor", "channels": config.channels, "groups": config.groups, "limit": config.limit}
    shape |= {"references": config.references}
    found = {name: header.get(name) for name in shape}
    different = [f"{name} is {found[name]}, not {value}" for name, value in shape.items() if found[name] != value]
    if different:
        raise ValueError(f"the frozen model differs: {', '.join(different)}")
    _thaw_network(tensors, "analysis", model.analysis, 1.0, 2.0**Y_BITS)
    _thaw_network(tensors, "synthesis", model.synthesis, 2.0**VALUE_BITS, 1.0)
    _thaw_steps(tensors["synthesis.steps"], model)
    thaw_coder(data, model.coder)
