"""The tables of the format: their bytes never change, and they are what their formulas say."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest

from codec.entropy import tables

HASHES = {
    "normal": "a889af0677d774442313d279031fd9d5dfc52215a32e7d573568b816c646fb56",
    "logistic": "a1f98ae09cd74c7a8217c73f35c29dd689eb6655631b373304b8907baecafc9a",
    "weights": "7e40eda724a48048eedf419d5ff32df316f928762afcf7e1863f2c1c29b10863",
    "inverse_scales": "7d61fc2d478a8a442e77ab94f14f0038f8ca3b09493becc4a85190b9210a6d06",
    "compress": "9fc1427ce01eb24caee94598910e227a2bf47b58e6827989de644e0786a4362f",
}


@pytest.mark.parametrize("name", HASHES)
def test_bytes(name):
    table = getattr(tables, name)()
    assert table.dtype == np.int64
    assert hashlib.sha256(table.astype("<i8").tobytes()).hexdigest() == HASHES[name]


@pytest.mark.parametrize("name", HASHES)
def test_tables_cannot_be_written(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(tables, name)()[0] = 1


def test_logistic():
    table = tables.logistic()
    u = (np.arange(len(table)) - 640) / 32
    assert np.abs(table - 2.0**30 / (1 + np.exp(-u))).max() <= 0.5 + 1e-6
    assert (table[0], table[640], table[-1]) == (2, 2**29, 2**30 - 2)
    assert (np.diff(table) >= 0).all()
    assert (table + table[::-1] == 2**30).all()


def test_normal():
    table = tables.normal()
    exact = np.array([2.0**30 * math.erfc(-(i - 640) / 32 / math.sqrt(2)) / 2 for i in range(1281)])
    assert np.abs(table - exact).max() <= 0.5 + 1e-6
    assert (table[0], table[640], table[-1]) == (0, 2**29, 2**30)
    assert (np.diff(table) >= 0).all()
    assert (table + table[::-1] == 2**30).all()


@pytest.mark.parametrize(
    ("x", "value"),  # of printed tables, to 20 digits
    [
        (1, "0.84134474606854294859"),
        (2, "0.97724986805182079280"),
        (3, "0.99865010196836990546"),
        (4, "0.99996832875816688009"),
        (5, "0.99999971334842812319"),
    ],
)
def test_known_values_of_the_normal(x, value):
    table = tables.normal()
    assert table[640 + 32 * x] == round(Fraction(value) * 2**30)
    assert table[640 - 32 * x] == round((1 - Fraction(value)) * 2**30)


def test_interpolation_of_the_normal_is_close():
    table = tables.normal()
    middle = (table[1:] + table[:-1]) / 2
    exact = [2.0**30 * math.erfc(-(i - 639.5) / 32 / math.sqrt(2)) / 2 for i in range(1280)]
    # An eighth of the square of a step times the largest curvature, 0.242.
    assert np.abs(middle - exact).max() < 2**30 * 0.125 / 32**2 * 0.242 + 1


def test_interpolation_of_the_logistic_is_close():
    table = tables.logistic()
    middle = (table[1:] + table[:-1]) / 2
    exact = 2.0**30 / (1 + np.exp(-(np.arange(len(middle)) - 639.5) / 32))
    seen = slice(320, 960)  # -10..10; beyond, the rounding of the table itself shows
    assert np.abs(middle[seen] / exact[seen] - 1).max() < 2**-12
    assert np.abs(middle - exact).max() < 2**30 * 2**-16


def test_weights():
    table = tables.weights()
    assert len(table) == 1024
    assert [table[i] for i in (0, 64, 128, 1023)] == [65536, 32768, 16384, round(2 ** (16 - 1023 / 64))]
    assert np.abs(table - 2.0 ** (16 - np.arange(1024) / 64)).max() <= 0.5 + 1e-9
    assert table.min() >= 1


def test_inverse_scales():
    table = tables.inverse_scales()
    scales = np.arange(tables.SCALE_MIN, tables.SCALE_MAX + 1)
    assert len(table) == len(scales)
    assert np.abs(table - 2.0 ** (20 - scales / 32)).max() <= 0.5 + 1e-6
    assert (table[0], table[128], table[-1]) == (2**24, 2**20, 2**13)


@pytest.mark.parametrize(("largest", "knee", "last"), [(255, 8, 322), (4094, 2, 704)])
def test_compress(largest, knee, last):
    table = tables.compress(largest, knee)
    assert len(table) == 2 * largest + 1
    assert (table == -table[::-1]).all()
    for d in (0, 1, 8, 24, 255, largest):
        assert table[largest + d] == round(64 * math.log2(1 + d / knee))
    assert (np.diff(table) >= 0).all()
    assert table.max() == last


def test_compress_is_that_of_samples_where_nothing_is_said():
    np.testing.assert_array_equal(tables.compress(), tables.compress(255, 8))
