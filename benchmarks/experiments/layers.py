"""The time of a multiply-add in integers, in dense layers, 1 x 1 layers and depthwise layers, on one thread.

    python -m benchmarks.experiments.layers

Layers work 96 x 64 positions, those of an image of 768 x 512. Dense and 1 x 1 layers are the codec's own; the
depthwise kernel is a prototype of `codec.networks.depthwise`, which reads and writes the same planes. Times are
processor time, the least of some runs. The waves of the entropy model are small, so its products are timed in batches
of `WAVE` positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.common import markdown_table
from codec.networks.convolutions import Layer, blank_plane, run_layer
from codec.networks.products import COLUMNS, pack, padded_rows, product

SHAPE = (64, 96)
RUNS = 7
LIMIT = 8191
WAVE = 24
"""Positions of a wave. 96 x 64 positions have about 222 waves, and are worked in four bands."""
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]


@njit(nogil=True)
def depthwise(shape: tuple[int, int], x: I16, weight: I16, bias: I32, shift: I32, limit: int, out: I16) -> None:
    """Fill a plane with a depthwise convolution of 3 x 3; planes are those of `codec.networks.convolutions`."""
    down, across = shape
    channels = len(bias)
    low, high = np.int32(-limit), np.int32(limit)
    for row in range(down):
        for column in range(across):
            at = column * channels
            top, middle, bottom = x[row], x[row + 1], x[row + 2]
            place = out[row + 1, at + channels : at + 2 * channels]
            for c in range(channels):
                i = at + c
                total = bias[c]
                for k in range(3):
                    j = i + k * channels
                    total += np.int32(top[j]) * np.int32(weight[k, c])
                    total += np.int32(middle[j]) * np.int32(weight[3 + k, c])
                    total += np.int32(bottom[j]) * np.int32(weight[6 + k, c])
                place[c] = min(max(total >> shift[c], low), high)


def least_seconds(run: Callable[[], object]) -> float:
    """Return the least processor time of some runs, in seconds."""
    run()  # compiles
    times = []
    for _ in range(RUNS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def plane(rng: np.random.Generator, channels: int) -> I16:
    """Return a plane of random activations."""
    whole, inner = blank_plane(SHAPE, channels)
    inner[...] = rng.integers(0, 1024, inner.shape)
    return whole


def layer_seconds(rng: np.random.Generator, side: int, before: int, after: int) -> float:
    """Return the seconds of a layer of the codec."""
    weight = pack(rng.integers(-63, 64, (side * side * before, after)))
    zeros, shift = np.zeros((1, after), dtype=np.int32), np.full(after, 12, dtype=np.int32)
    x, (out, _) = plane(rng, before), blank_plane(SHAPE, after)
    return least_seconds(lambda: run_layer(0, 1, SHAPE, x, Layer(weight, zeros, shift, side), 0, LIMIT, False, out))


def depthwise_seconds(rng: np.random.Generator, channels: int) -> float:
    """Return the seconds of the depthwise prototype."""
    weight = rng.integers(-63, 64, (9, channels)).astype(np.int16)
    zeros, shift = np.zeros(channels, dtype=np.int32), np.full(channels, 6, dtype=np.int32)
    x, (out, _) = plane(rng, channels), blank_plane(SHAPE, channels)
    return least_seconds(lambda: depthwise(SHAPE, x, weight, zeros, shift, LIMIT, out))


@njit(nogil=True)
def in_waves(count: int, times: int, x: I16, weight: I16, out: I32) -> None:
    """Multiply the same ``count`` positions ``times`` times."""
    for _ in range(times):
        product(count, x, weight, out)


def wave_seconds(rng: np.random.Generator, inputs: int, outputs: int) -> float:
    """Return the seconds of a layer of the entropy model at all positions, wave after wave."""
    weight = pack(rng.integers(-63, 64, (inputs, outputs)))
    x = rng.integers(0, 1024, (padded_rows(WAVE), 2 * weight.shape[1])).astype(np.int16)
    out = np.empty((padded_rows(WAVE), weight.shape[0] * COLUMNS), dtype=np.int32)
    return least_seconds(lambda: in_waves(WAVE, SHAPE[0] * SHAPE[1] // WAVE, x, weight, out))


@click.command()
def main() -> None:
    """Print the time of each kind of layer."""
    rng = np.random.default_rng(0)
    positions = SHAPE[0] * SHAPE[1]
    rows = [["layer", "multiply-adds a position", "ms", "ns a thousand multiply-adds"]]

    def add(name: str, count: int, seconds: float) -> None:
        rows.append([name, f"{count:,}", f"{1e3 * seconds:.2f}", f"{1e12 * seconds / positions / count:.1f}"])

    add("dense 3 x 3, 192 to 192", 9 * 192**2, layer_seconds(rng, 3, 192, 192))
    for before, after in ((256, 256), (256, 512), (512, 256)):
        add(f"1 x 1, {before} to {after}", before * after, layer_seconds(rng, 1, before, after))
    for channels in (256, 512):
        add(f"depthwise 3 x 3, {channels}", 9 * channels, depthwise_seconds(rng, channels))
    for inputs, outputs in ((1155, 256), (1155, 512), (1155, 640), (640, 640)):
        add(f"in waves of {WAVE}, {inputs} to {outputs}", inputs * outputs, wave_seconds(rng, inputs, outputs))
    click.echo(markdown_table(rows))


if __name__ == "__main__":
    main()
