"""Matrix products of small integers for compiled code: int16 times int16, summed in int32.

Processors have an instruction that multiplies neighbouring pairs of int16 and adds each pair (pmaddwd on x86). It does
twice the multiply-adds of float32. A tile of the result stays in registers, while the inputs are read in pairs:

    out[r, o] = sum over pairs p of  x[r, 2p] w[2p, o] + x[r, 2p + 1] w[2p + 1, o]

The code of a tile is written in the compiler's own language (LLVM), as vectors whose pattern the compiler recognises.
On processors without the instruction it becomes ordinary products. Sums of integers do not round, so their order does
not matter, and `codec.networks.checks` makes sure that no sum wraps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

ROWS = 6
"""Rows of a tile. With COLUMNS they take twelve registers for sums, and leave four of sixteen for operands."""
LANES = 8
COLUMNS = 2 * LANES
"""Columns of a tile, which are two vectors of sums."""

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]


def padded_rows(count: int) -> int:
    """Return the number of rows that a product of ``count`` rows reads and writes: whole tiles."""
    return -(-count // ROWS) * ROWS


def padded_columns(count: int) -> int:
    """Return the number of columns that a product with ``count`` outputs writes: whole tiles."""
    return -(-count // COLUMNS) * COLUMNS


def pack(weight: NDArray[Any]) -> I16:
    """Return a weight (inputs, outputs) of integers as tiles: int16 array (tiles, pairs, COLUMNS, 2).

    Zeros fill the inputs up to whole pairs and the outputs up to whole tiles. `unpack` is the inverse.
    """
    inputs, outputs = weight.shape
    pairs = (inputs + 1) // 2
    full = np.zeros((2 * pairs, padded_columns(outputs)), dtype=np.int16)
    full[:inputs, :outputs] = weight
    tiles = full.reshape(pairs, 2, -1, COLUMNS).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(tiles)


def unpack(packed: I16) -> I16:
    """Return the weight (inputs, outputs) of tiles, with the zeros that `pack` added."""
    rows = packed.transpose(1, 3, 0, 2)
    return rows.reshape(2 * packed.shape[1], -1)


@intrinsic
def _tile(context: Any, x: Any, x_row: Any, weight: Any, pairs: Any, out: Any, out_row: Any) -> Any:
    """Fill a tile of ROWS x COLUMNS sums. Addresses and distances between rows are in bytes."""
    signature = types.void(*[types.intp] * 6)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i16, i32 = ir.IntType(16), ir.IntType(32)
        x, x_row, weight, pairs, out, out_row = arguments
        narrow, wide, sums = ir.VectorType(i16, 2 * LANES), ir.VectorType(i32, 2 * LANES), ir.VectorType(i32, LANES)
        undefined, unknown = ir.Constant(wide, ir.Undefined), ir.Constant(sums, ir.Undefined)
        first = ir.Constant(sums, list(range(0, 2 * LANES, 2)))
        second = ir.Constant(sums, list(range(1, 2 * LANES, 2)))
        everywhere = ir.Constant(sums, [0] * LANES)
        vectors = COLUMNS // LANES
        totals = [[cgutils.alloca_once(builder, sums) for _ in range(vectors)] for _ in range(ROWS)]

        def number(value: int) -> Any:
            return ir.Constant(x.type, value)

        def pointer(base: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

        for row in totals:
            for total in row:
                builder.store(ir.Constant(sums, [0] * LANES), total)
        with cgutils.for_range(builder, pairs) as loop:
            at = builder.mul(loop.index, number(4 * COLUMNS))
            parts = [
                builder.sext(
                    builder.load(pointer(weight, builder.add(at, number(4 * LANES * v)), narrow), align=2), wide
                )
                for v in range(vectors)
            ]
            for r in range(ROWS):
                place = builder.add(builder.mul(x_row, number(r)), builder.mul(loop.index, number(4)))
                pair = builder.load(pointer(x, place, i32), align=2)
                spread = builder.shuffle_vector(
                    builder.insert_element(unknown, pair, ir.Constant(i32, 0)), unknown, everywhere
                )
                factor = builder.sext(builder.bitcast(spread, narrow), wide)
                for v in range(vectors):
                    products = builder.mul(parts[v], factor)
                    added = builder.add(
                        builder.shuffle_vector(products, undefined, first),
                        builder.shuffle_vector(products, undefined, second),
                    )
                    builder.store(builder.add(builder.load(totals[r][v]), added), totals[r][v])
        for r in range(ROWS):
            for v in range(vectors):
                place = builder.add(builder.mul(out_row, number(r)), number(4 * LANES * v))
                builder.store(builder.load(totals[r][v]), pointer(out, place, sums), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit
def product(count: int, x: I16, packed: I16, out: I32) -> None:
    """Fill the first ``count`` rows of ``out`` with x W. Only compiled functions call it.

    Parameters
    ----------
    x : int16 array (rows, at least 2 pairs), C-contiguous rows
    packed : int16 array (tiles, pairs, COLUMNS, 2), from `pack`
    out : int32 array (rows, at least COLUMNS tiles)

    Notes
    -----
    ``x`` and ``out`` must have at least ``padded_rows(count)`` rows, because the rows beyond ``count`` are computed,
    too. Nothing is checked: arrays that are too small are read and written beyond their end.
    """
    tiles, pairs = packed.shape[0], packed.shape[1]
    x_row, out_row = x.strides[0], out.strides[0]
    for tile in range(tiles):
        weight = packed.ctypes.data + tile * packed.strides[0]
        for row in range(0, count, ROWS):
            begin = out.ctypes.data + row * out_row + 4 * COLUMNS * tile
            _tile(x.ctypes.data + row * x_row, x_row, weight, pairs, begin, out_row)


@intrinsic
def shift_right(context: Any, value: Any, shift: Any) -> Any:
    """Shift int32 to the right by int32, rounding down. numba's own shift would widen both to int64."""
    signature = types.int32(types.int32, types.int32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ashr(*arguments)

    return signature, generate


@njit
def activate(sums: I32, bias: I32, shift: I32, limit: int, out: I16) -> None:
    """Fill the first ``len(shift)`` units of a row ``out`` with clip((sums + bias) >> shift, 0, limit)."""
    zero, most = np.int32(0), np.int32(limit)
    for i in range(len(shift)):
        value = shift_right(np.int32(sums[i] + bias[i]), shift[i])
        out[i] = np.int16(min(max(value, zero), most))
