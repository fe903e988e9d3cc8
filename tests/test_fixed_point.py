"""tinyc.h's integer arithmetic against its NumPy twin and against exact integers."""

import ctypes
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.fixed_point import (
    LONG_LIMIT,
    long_requantization,
    requantization,
    requantize,
)

SOURCE = """\
#include <stddef.h>
#include "tinyc.h"
void narrow(const int32_t *a, const int32_t *m, const int32_t *z, int32_t *y, size_t n) {
  for (size_t i = 0; i < n; ++i) { y[i] = tinyc_requantize(a[i], m[i], z[i]); }
}
void narrow16(const int32_t *a, const int32_t *m, const int32_t *z, int32_t *y, size_t n) {
  for (size_t i = 0; i < n; ++i) { y[i] = tinyc_requantize16(a[i], m[i], z[i]); }
}
void wide(const int32_t *a, const int32_t *m, const int32_t *r, int32_t *y, size_t n) {
  for (size_t i = 0; i < n; ++i) { y[i] = tinyc_requantize_wide(a[i], m[i], r[i], 0); }
}
void high(const int32_t *a, const int32_t *m, const int32_t *r, int32_t *y, size_t n) {
  for (size_t i = 0; i < n; ++i) { y[i] = tinyc_requantize_high(a[i], m[i], r[i], 0); }
}
void wide_of_64(const int64_t *a, const int32_t *m, const int32_t *r, int32_t *y, size_t n) {
  for (size_t i = 0; i < n; ++i) { y[i] = tinyc_requantize_long(a[i], m[i], r[i], 0); }
}
void divide(const int32_t *a, const int32_t *b, const int32_t *unused, int32_t *y, size_t n) {
  (void)unused;
  for (size_t i = 0; i < n; ++i) {
    y[i] = (int32_t)tinyc_divide_by_shifts((uint32_t)a[i], (uint32_t)b[i]);
  }
}
"""
SATURATED = 0x3FFFFFFF  # where the wide form stops, far outside every stored type


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("tinyc_h")
    (folder / "use.c").write_text(SOURCE)
    include = Path(str(files("tinyc.targets"))) / "runtime"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{include}"]
    subprocess.run(["gcc", *flags, "use.c", "-o", "use.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "use.so"))


def call(library: ctypes.CDLL, name: str, *arrays: Array) -> Array:
    inputs = [np.ascontiguousarray(a, np.int32) for a in arrays]
    result = np.zeros(len(inputs[0]), np.int32)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*inputs, result)]
    getattr(library, name)(*pointers, ctypes.c_size_t(len(result)))
    return result


def accumulators(multipliers: Array) -> Array:
    """Edges, values around each multiplier's halves, and random ones over all magnitudes."""
    rng = np.random.default_rng(4)
    edges = np.array([0, 1, -1, 2, -2, 127, -128, 2**31 - 1, -(2**31), 2**30, -(2**30)])
    count = len(multipliers)
    sizes = 2.0 ** rng.uniform(0, 31, count)
    values = (rng.choice([-1, 1], count) * sizes).astype(np.int64)
    halves = ((rng.integers(-300, 300, count) * 2 + 1) << 31) // np.maximum(multipliers, 1)
    picks = rng.integers(0, 3, count)
    mixed = np.choose(picks, [values, halves, rng.choice(edges, count)])
    return np.clip(mixed, -(2**31), 2**31 - 1)


def narrow_scales(count: int) -> Array:
    return np.asarray(2.0 ** np.random.default_rng(3).uniform(-40, -1.001, count))


def test_the_narrow_forms_are_their_twin(library: ctypes.CDLL) -> None:
    to = requantization(narrow_scales(20_000))
    acc, zero = accumulators(to.multipliers.astype(np.int64)), np.tile([0, -128, 127, 255], 5000)

    twin = requantize(acc, to, 0, -(2**31), 2**31 - 1) + zero

    fits = np.abs(twin) < 2**31 - 1
    np.testing.assert_array_equal(
        call(library, "narrow", acc, to.multipliers, zero)[fits], twin[fits]
    )
    packed = call(library, "narrow16", acc, to.packed16, zero)
    in_range = np.abs(acc) < 2**31 - 2**16  # the sums of the 16-bit form stay in 32 bits
    np.testing.assert_array_equal(packed[in_range], twin[in_range])


def test_the_wide_form_is_its_twin(library: ctypes.CDLL) -> None:
    scales = 2.0 ** np.random.default_rng(6).uniform(-30, 19, 20_000)
    to = requantization(np.append(scales, 1.0))
    assert to.is_wide and to.shifts is not None
    acc = accumulators(to.multipliers.astype(np.int64))

    twin = np.clip(requantize(acc, to, 0, -(2**62), 2**62), -SATURATED, SATURATED)

    np.testing.assert_array_equal(call(library, "wide", acc, to.multipliers, to.shifts), twin)
    by_high_word = call(library, "high", acc, to.multipliers, np.maximum(to.shifts, 33))
    shifted = to.shifts > 32
    np.testing.assert_array_equal(by_high_word[shifted], twin[shifted])


def test_multipliers_stand_for_their_scales() -> None:
    scales = narrow_scales(5000)
    to = requantization(scales)

    error = np.abs(to.multipliers / 2.0**32 - scales)

    assert (error <= np.maximum(scales * 2**-16, 2.0**-33) * 1.0001).all()
    wide = requantization(np.array([0.5, 0.75, 1.0, 1000.0]))
    assert wide.shifts is not None
    np.testing.assert_allclose(
        wide.multipliers / 2.0**wide.shifts, [0.5, 0.75, 1, 1000], rtol=2**-30
    )


def test_halves_round_up() -> None:
    to = requantization(np.array([0.25]))
    acc = np.array([1, 2, 3, 6, -1, -2, -3, -6])

    assert requantize(acc, to, 0, -128, 127).tolist() == [0, 1, 1, 2, 0, 0, -1, -1]


def test_division_by_shifts_divides(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(8)
    edges = np.array([0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    a = np.concatenate([np.repeat(edges, 5), rng.integers(0, 2**32, 5000, np.uint32)])
    b = np.concatenate([np.tile(edges[1:], 6), rng.integers(1, 2**32, 5000, np.uint32)])

    quotient = call(library, "divide", a.view(np.int32), b.view(np.int32), b.view(np.int32))

    np.testing.assert_array_equal(quotient.view(np.uint32), a // b)


def test_the_long_form_is_its_twin(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(6)
    to = long_requantization(np.asarray(2.0 ** rng.uniform(-45, 20, 20_000)))
    sizes = (2.0 ** rng.uniform(0, 39, 20_000)).astype(np.int64)
    acc = np.clip(sizes * rng.choice([-1, 1], 20_000), 1 - LONG_LIMIT, LONG_LIMIT - 1)
    acc[::7] = rng.choice([0, 1, -1, LONG_LIMIT - 1, 1 - LONG_LIMIT], len(acc[::7]))
    assert to.shifts is not None
    result = np.zeros(20_000, np.int32)
    arrays = (acc, to.multipliers, to.shifts, result)

    library.wide_of_64(
        *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays), ctypes.c_size_t(20_000)
    )

    np.testing.assert_array_equal(result, requantize(acc, to, 0, -SATURATED, SATURATED))


def test_the_long_form_stands_for_the_real_scale() -> None:
    """Within 2^-23 of it: 2^-8 of a step in the range of an int16."""
    scales = np.asarray(2.0 ** np.random.default_rng(7).uniform(-24, 3, 5000))
    to = long_requantization(scales)
    acc = (30_000 / scales).astype(np.int64)
    assert to.shifts is not None

    exact = acc * to.multipliers.astype(np.float64) / 2.0**to.shifts

    assert (np.abs(exact - acc * scales) <= 30_000 * 2.0**-23).all()
