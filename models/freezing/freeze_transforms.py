"""Freezing of the lossy mode's transforms, to the integers that `codec.networks.transform` executes.

Rows of weights get scales of their own, as in `models.freezing.freeze`. Several layers add to the residual stream. So
all of them share a unit for each channel of the stream. Their scales are that unit times powers of two, which shifts
undo.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from codec.constants import OUTPUT_SHIFT, STEP_BITS, SUM_LIMIT, VALUE_BITS, VALUE_LIMIT, Y_BITS
from codec.encoder.masking import SMOOTH, STRUCTURE, TRAINED
from codec.frozen.model import Tensors
from codec.frozen.transform_weights import NETWORK
from codec.images.metrics import MS_SSIM_SIDE_PX
from codec.networks.depthwise import SQUARE, STEP
from codec.networks.transform import CENTRE, FINE_PATCH, PATCH
from models.freezing.freeze import Frozen
from models.freezing.peaks import Peaks
from models.freezing.quantise import F64, I64, fit, half, to_f64
from models.nets.depthwise import Coarsen, DepthwiseBlock, parts
from models.nets.layers import bias_of
from models.nets.lossy import Lossy, price
from models.nets.structure import ms_ssim
from models.nets.transforms import Transform

CONDITIONS = 100
"""Number of qualities that a frozen model serves."""
WEIGHT_MAX, LINEAR_MAX = 127, 32767
"""Largest weights of the networks, and of their depthwise layers and the linear maps."""
STREAM_LIMIT = HIDDEN_LIMIT = 8191
"""Largest magnitudes in streams and hidden layers. Sums of 2,000 products with weights of 8 bits fit int32."""
HEADROOM = 2.0
"""Activations may be twice the largest ones seen in calibration, which have 12 bits."""
SCALE_MAX = 2.0**26
"""Largest scale, for rows that are nearly zero."""
LEAST = 1e-3
"""Least peak of a unit, for units that were nearly always zero."""
PROBES = 4
"""Number of random sign patterns of the samples with which gains are measured."""
MIDDLE = 0.5
"""Quality at which gains and shares are measured."""
ERROR = 0.3
"""Error with which shares are measured, in steps: about that of rounding."""
SHARE = 5.6
"""Factor of shares, found on validation images."""


def rows_of(layer: nn.Conv2d) -> F64:
    """Return the weight as a matrix (outputs, inputs), inputs in the order row, column, channel."""
    return to_f64(layer.weight).transpose(0, 2, 3, 1).reshape(layer.out_channels, -1)


def largest_scale(folded: F64, largest: float, bias: F64 | float, weight_max: int = WEIGHT_MAX) -> F64:
    """Return the largest scale of each row (outputs,) with which weights and sums stay in their ranges.

    Parameters
    ----------
    folded : float64 array (outputs, inputs)
        Weights of the float layer for an integer unit of each input.
    largest : float
        Largest integer of an input.
    bias : float, or float64 array (outputs,)
        Largest biases, in float units.
    """
    reach = largest * np.abs(folded).sum(1) + np.abs(bias)
    with np.errstate(divide="ignore"):
        scale = np.minimum(weight_max / np.abs(folded).max(1), 0.98 * SUM_LIMIT / reach)
    bounded: F64 = np.minimum(scale, SCALE_MAX)
    return bounded


def watch_transforms(model: Lossy, peaks: Peaks) -> None:
    """Record the largest values of the streams, of the depthwise layers and of the hidden layers."""
    for prefix, transform, (before, after) in transforms_of(model):
        first, between, second = parts(transform)
        for name, begin, blocks in ((before, transform.input, first), (after, between, second)):
            peaks.outputs(f"{prefix}.{name}", begin, torch.abs)
            for i, block in enumerate(blocks):
                peaks.outputs(f"{prefix}.{name}", block, torch.abs)
                peaks.outputs(f"{prefix}.{name}{i + 1}.depthwise", block.depthwise, torch.abs)
                peaks.inputs(f"{prefix}.{name}{i + 1}", block.conv2)


def transforms_of(model: Lossy) -> tuple[tuple[str, Transform[nn.Module], tuple[str, str]], ...]:
    """Return each transform with its name, and the names of its streams before and after the map between them."""
    return (
        ("analysis", model.analysis, ("fine", "coarse")),
        ("synthesis", model.synthesis, ("coarse", "fine")),
    )


@dataclass
class LayerWriter:
    """Writes the layers of networks with residual streams.

    In its methods, ``stream`` has the integer units of each channel of a stream that stand for a float 1.
    """

    tensors: Tensors = field(default_factory=dict)

    def write(self, name: str, folded: F64, scale: F64, shift: I64, bias: F64) -> None:
        """Write a layer with shifts. ``bias`` is one row, or a row for each level."""
        self.tensors[f"{name}.weight"] = fit(folded * scale[:, None], NETWORK).T
        self.tensors[f"{name}.shift"] = shift.astype(np.int8)
        kind = "biases" if bias.ndim == 2 else "bias"
        self.tensors[f"{name}.{kind}"] = fit(np.rint(bias * scale) + half(shift), np.int32)

    def add(self, name: str, folded: F64, largest: float, bias: F64, unit: F64) -> None:
        """Write a layer whose results have the given unit (outputs,), which is at most its `largest_scale`."""
        shift = np.floor(np.log2(largest_scale(folded, largest, bias) / unit)).astype(np.int64)
        self.write(name, folded, unit * 2.0**shift, shift, bias)

    def depthwise_blocks(
        self, prefix: str, blocks: Iterable[DepthwiseBlock], stream: F64, peaks: dict[str, F64]
    ) -> None:
        """Write depthwise blocks, whose largest activations `watch_transforms` saw."""
        for i, block in enumerate(blocks):
            name = f"{prefix}{i + 1}"
            folded = to_f64(block.depthwise.weight).reshape(-1, 9) / stream[:, None]
            scale = largest_scale(folded, STREAM_LIMIT, 0.0, LINEAR_MAX)
            shift = shift_of(peaks[f"{name}.depthwise"], scale, STREAM_LIMIT)
            self.tensors[f"{name}.depthwise.weight"] = fit(folded * scale[:, None], np.int16).T
            self.tensors[f"{name}.depthwise.shift"] = shift.astype(np.int8)
            folded = rows_of(block.conv1) / (scale * 2.0**-shift)
            biases = to_f64(bias_of(block.conv1)) + to_f64(block.levels.weight)
            scale = largest_scale(folded, STREAM_LIMIT, np.abs(biases).max(0))
            shift = shift_of(peaks[name], scale, HIDDEN_LIMIT)
            self.write(f"{name}.hidden", folded, scale, shift, biases)
            folded = rows_of(block.conv2) / (scale * 2.0**-shift)
            self.add(f"{name}.residual", folded, HIDDEN_LIMIT, to_f64(bias_of(block.conv2)), stream)


def shift_of(peak: F64, scale: F64, limit: int) -> I64:
    """Return the shifts with which activations of twice the peak stay within a limit."""
    most = HEADROOM * np.maximum(peak, LEAST)
    return np.maximum(0, np.ceil(np.log2(most * scale / limit))).astype(np.int64)


def stream_unit(peak: F64) -> F64:
    """Return the unit of each channel of a stream, given the channels' largest magnitudes."""
    unit: F64 = STREAM_LIMIT / (HEADROOM * np.maximum(peak, LEAST))
    return unit


def _network(
    prefix: str,
    net: Transform[nn.Module],
    streams: tuple[str, str],
    largest: int,
    gain: float,
    unit: float,
    peaks: dict[str, F64],
) -> Tensors:
    """Return the tensors of a transform.

    Parameters
    ----------
    streams : (str, str)
        The names of its streams before and after the map between the resolutions.
    largest : int
        Largest integer of an input.
    gain : float
        Integer units of an input that stand for a float 1.
    unit : float
        Integer units of a result that stand for a float 1.
    """
    writer = LayerWriter()
    tensors = writer.tensors
    before, between, after = parts(net)
    first, bias = rows_of(net.input) / (net.input_unit * gain), to_f64(bias_of(net.input))
    stream = np.minimum(stream_unit(peaks[f"{prefix}.{streams[0]}"]), largest_scale(first, largest, bias))
    writer.add(f"{prefix}.input", first, largest, bias, stream)
    writer.depthwise_blocks(f"{prefix}.{streams[0]}", before, stream, peaks)
    # The layer between has the four fine positions of a coarse one one after the other, as inputs or as results.
    rows, bias = rows_of(between.conv1), to_f64(bias_of(between.conv1))
    if isinstance(between, Coarsen):
        rows = by_place(rows.T, 1).T / np.tile(stream, SQUARE)
        parts_of_unit = 1
    else:
        rows, bias = by_place(rows, 1) / stream, by_place(bias, 1)
        parts_of_unit = SQUARE
    reach = largest_scale(rows, STREAM_LIMIT, bias).reshape(parts_of_unit, -1).min(0)
    stream = np.minimum(stream_unit(peaks[f"{prefix}.{streams[1]}"]), reach)
    writer.add(f"{prefix}.between", rows, STREAM_LIMIT, bias, np.tile(stream, parts_of_unit))
    writer.depthwise_blocks(f"{prefix}.{streams[1]}", after, stream, peaks)
    folded, bias = rows_of(net.output) / stream, to_f64(bias_of(net.output))
    scale = largest_scale(folded, STREAM_LIMIT, bias)
    tensors[f"{prefix}.output.weight"] = fit(folded * scale[:, None], NETWORK).T
    tensors[f"{prefix}.output.bias"] = fit(bias * scale, np.int32)
    tensors[f"{prefix}.output.multiplier"] = _multiplier(net.unit * unit, scale)
    rows = rows_of(net.linear) / gain
    folded = by_place(rows.T, FINE_PATCH).T if isinstance(between, Coarsen) else by_place(rows, FINE_PATCH)
    scale = largest_scale(folded, largest, 0.0, LINEAR_MAX)
    tensors[f"{prefix}.linear.weight"] = fit(folded * scale[:, None], np.int16).T
    tensors[f"{prefix}.linear.multiplier"] = _multiplier(unit, scale)
    return tensors


def by_place(rows: F64, side: int) -> F64:
    """Return rows in the order of the four fine positions of a coarse one.

    Parameters
    ----------
    rows : float64 array (channels (2 side)**2, ...)
        The channels of a coarse position as `pixel_unshuffle` makes them: of each channel its rows and columns.
    side : int
        Rows and columns of a fine position. `undo_by_place` is the inverse.
    """
    split = rows.reshape(-1, STEP, side, STEP, side, *rows.shape[1:])
    return np.moveaxis(split, (1, 3), (0, 1)).reshape(rows.shape)


def undo_by_place(rows: F64, side: int) -> F64:
    """Return rows in the order of `pixel_unshuffle`, the inverse of `by_place`."""
    split = rows.reshape(STEP, STEP, -1, side, side, *rows.shape[1:])
    return np.moveaxis(split, (0, 1), (1, 3)).reshape(rows.shape)


def _multiplier(unit: float, scale: F64) -> NDArray[Any]:
    return fit(unit / scale * 2.0**OUTPUT_SHIFT, np.int32)


def gains(model: Lossy, images: Tensor, rng: np.random.Generator) -> F64:
    """Return for each channel of y (C,) the summed squared error of samples that an error of 1 in y makes.

    It is the squared norm of a column of the synthesis' derivative. When random signs of the samples are propagated
    back through the synthesis, their mean square is that norm. So a few images give the norms of all channels at once.
    """
    quality = torch.full((len(images),), MIDDLE)
    level = model.level(quality)
    steps = model.steps(level)
    with torch.no_grad():
        y = (model.analyse(images, level) / steps).round() * steps
    y.requires_grad_()
    samples = model.synthesise(y, level)
    total = np.zeros(y.shape[1])
    for _ in range(PROBES):
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], samples.shape)).float()
        (back,) = torch.autograd.grad(samples, y, signs, retain_graph=True)
        total += to_f64(back.square().mean((0, 2, 3)))
    return total / PROBES


@torch.no_grad()
def structure_shares(model: Lossy, images: Tensor, rng: np.random.Generator) -> F64:
    """Return for each channel of y (C,) how much structure an error of it takes; 1 if images are too small to tell.

    It is the loss of MS-SSIM, at training's weight, as a share of what `codec.encoder.masking.structure` says of the
    squared error of samples that the error makes, times `SHARE`. Finer channels have lower shares.

    Parameters
    ----------
    images : float tensor (B, 3, S, S)
        Samples minus 128.
    """
    if images.shape[-1] <= MS_SSIM_SIDE_PX:
        return np.ones(model.config.channels)
    level = model.level(torch.full((len(images),), MIDDLE))
    steps = model.steps(level)
    y = (model.analyse(images, level) / steps).round() * steps
    restored = model.synthesise(y, level)
    patches = F.unfold(restored, PATCH, stride=PATCH).unflatten(1, (3, -1))  # (B, 3, 64, positions)
    alike = STRUCTURE / (2 * patches.var(2, unbiased=False) + SMOOTH)
    shares = np.empty(y.shape[1])
    for channel in range(y.shape[1]):
        signs = torch.from_numpy(rng.choice([-ERROR, ERROR], y[:, channel].shape)).float()
        moved = y.clone()
        moved[:, channel] += signs * steps[:, channel]
        other = model.synthesise(moved, level)
        error = F.unfold(other - restored, PATCH, stride=PATCH).unflatten(1, (3, -1)).square().mean(2)
        lost = TRAINED * (1 - ms_ssim(restored + 128, other + 128)).double().mean()
        shares[channel] = SHARE * float(lost / (alike * error).double().mean())
    return shares


def freeze_transforms(model: Lossy, peaks: dict[str, F64], gain: F64, shares: F64) -> Frozen:
    """Return the tensors and the configuration of a model's transforms.

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, from `watch_transforms` after running the model on calibration crops.
    gain : float64 array (C,)
        From `gains`.
    shares : float64 array (C,)
        From `structure_shares`.
    """
    quality = torch.arange(CONDITIONS) / (CONDITIONS - 1)
    with torch.no_grad():
        steps = to_f64(model.steps(model.level(quality))[:, :, 0, 0])
    prices = to_f64(price(quality))[:, None] / 3 * gain * steps**2
    units = (CENTRE, 1.0, 2.0**Y_BITS), (VALUE_LIMIT, 2.0**VALUE_BITS, 1.0)
    tensors: Tensors = {}
    for (prefix, transform, streams), (largest, one, result) in zip(transforms_of(model), units, strict=True):
        tensors |= _network(prefix, transform, streams, largest, one, result, peaks)
    tensors |= {
        "analysis.prices": fit(256 * prices, np.int32),
        "analysis.shares": fit(256 * np.maximum(shares, 0), np.int32),
        "synthesis.steps": fit(2.0**STEP_BITS * steps, np.int32),
    }
    header: dict[str, str | int] = {
        "conditions": CONDITIONS,
        "stream_limit": STREAM_LIMIT,
        "hidden_limit": HIDDEN_LIMIT,
    }
    return Frozen(tensors, header)
