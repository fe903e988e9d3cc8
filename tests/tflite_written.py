"""Cases of TensorFlow Lite operators as one file, as floats or in 8 or 16 bits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.tflite_cases import Case
from tests.tflite_files import Operation, T, tflite_file
from tinyc.compiler.graph import Array


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Cases side by side in one file, with one sample and the results that NumPy gives."""

    content: bytes
    sample: dict[str, Array]
    results: dict[str, Array]


def written(cases: Sequence[Case], stored: str = "") -> Written:
    """stored: the type of activations, "int8" or "int16"; "": floats."""
    tensors: list[T] = []
    operations, sample, results = [], {}, {}
    for number, case in enumerate(cases):
        rng = np.random.default_rng(number)
        given = case.values or tuple(values_of(case.dtype, shape, rng) for shape in case.shapes)
        own = [T(f"x{i}", v.shape, str(v.dtype), v) for i, v in enumerate(given)]
        parts = [*own, *case.constants]
        if stored:
            parts = quantized_parts(case.kind, parts, stored)
        parts = [replace(t, name=f"c{number}_{t.name}") for t in parts]
        activations = parts[: len(given)]
        sample |= {t.name: t.data for t in activations if t.data is not None}
        ordered = [None if i is None else parts[i] for i in case.order or range(len(parts))]
        found = case.means(*(None if t is None else reals(t) for t in ordered))
        found = found if isinstance(found, tuple | list) else (found,)
        made = [result(f"c{number}_y{i}", np.asarray(v), case, stored) for i, v in enumerate(found)]
        results |= {t.name: v for t, v in made}
        tensors += [replace(t, data=None) for t in activations]
        tensors += [*parts[len(given) :], *(t for t, _ in made)]
        names = tuple("" if t is None else t.name for t in ordered)
        outputs = tuple(t.name for t, _ in made)
        operations.append(Operation(case.kind, names, outputs, case.options, case.fields))
    content = tflite_file(tensors, operations, list(sample), list(results))
    return Written(content, sample, results)


def values_of(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values = np.asarray(rng.normal(size=shape))
    return values > 0 if dtype == "bool" else values.astype(dtype)


OF_ONE_SCALE = ("MAXIMUM", "MINIMUM")  # as TensorFlow Lite demands for them
COMMON = {"int8": (0.02, 5), "int16": (0.0001, 0)}


def quantized_parts(kind: str, parts: list[T], dtype: str) -> list[T]:
    """The same in 8 or 16 bits, with weights of 8 that have a scale for each output channel."""
    stored = []
    for part in parts:
        data, axis = part.data, {"CONV_2D": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": 3}
        if data is None or data.dtype != np.float32:
            stored.append(part)
        elif part.name == "w" and kind in axis:
            others = tuple(i for i in range(4) if i != axis[kind])
            scale = np.abs(data).max(others) / 127
            shape = [-1 if i == axis[kind] else 1 for i in range(4)]
            values = np.rint(data / scale.reshape(shape)).astype(np.int8)
            stored.append(replace(part, data=values, dtype="int8", scale=tuple(scale.tolist()),
                                  axis=axis[kind]))  # fmt: skip
        elif part.name == "b":
            scale = np.float32(stored[0].scale[0]) * np.array(stored[1].scale, np.float32)
            scale = np.broadcast_to(scale, data.shape)
            wide = "int64" if dtype == "int16" else "int32"
            values = np.rint(data / scale).astype(wide)
            stored.append(replace(part, data=values, dtype=wide, scale=tuple(scale.tolist())))
        else:
            own = "int8" if part.name == "w" else dtype
            scale, zero = COMMON[own] if kind in OF_ONE_SCALE else scale_of(data, own)
            stored.append(replace(part, data=steps(data, scale, zero, own), dtype=own,
                                  scale=(scale,), zero=(zero,)))  # fmt: skip
    return stored


def scale_of(values: Array, dtype: str) -> tuple[float, int]:
    """A scale and a zero point that reach over the values; of int16 it is 0."""
    if dtype == "int16":
        return float(np.float32(np.abs(values).max(initial=0) / 32767 or 1.0)), 0
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = float(np.float32((high - low) / 255 or 1.0))
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def steps(values: Array, scale: float, zero: int, dtype: str) -> Array:
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(values / scale) + zero, limits.min, limits.max), dtype)


def reals(tensor: T) -> Array:
    assert tensor.data is not None
    if not tensor.scale:
        wide = tensor.data.dtype == np.float32
        return tensor.data.astype(np.float64) if wide else tensor.data
    shape = [-1 if i == tensor.axis else 1 for i in range(tensor.data.ndim)]
    scale = np.array(tensor.scale, np.float64)
    scale = scale.reshape(shape) if scale.size > 1 else scale[0]
    return (tensor.data.astype(np.int64) - tensor.zero[0]) * scale


def result(name: str, values: Array, case: Case, dtype: str) -> tuple[T, Array]:
    if values.dtype.kind != "f":
        return T(name, values.shape, str(values.dtype)), values
    if not dtype:
        return T(name, values.shape, "float32"), values
    scale, zero = COMMON[dtype] if case.kind in OF_ONE_SCALE else scale_of(values, dtype)
    stored = T(name, values.shape, dtype, scale=(scale,), zero=(zero,))
    return stored, steps(values, scale, zero, dtype)


def assert_close(case: str, found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape, case
    if wanted.dtype in (np.int8, np.int16):
        assert np.abs(found.astype(int) - wanted).max(initial=0) <= 1, case
    elif wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=case)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=case)
