"""Preparation of features: Impute, Binarize, Categories and RowNorm."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import NUMBERS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import is_nan
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class ImputeAttrs:
    """replaced: the value that stands for a missing one (NaN: those that are no number);
    values: what it becomes, one for all or one a column."""

    replaced: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BinarizeAttrs:
    """What is above the threshold becomes 1, the rest 0."""

    threshold: float


@dataclass(frozen=True, slots=True)
class CategoriesAttrs:
    """One value for each category on a new last axis: 1 for that of the input, else 0."""

    categories: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowNormAttrs:
    """Rows are divided by their norm unless it is 0: "MAX" (of signed values), "L1", "L2"."""

    norm: str


def infer_same(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("this preparation", inputs[0], NUMBERS)
    return ((inputs[0].shape, inputs[0].dtype),)


def infer_categories(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("the category", inputs[0], NUMBERS)
    return (((*inputs[0].shape, len(attrs.categories)), DType.FLOAT32),)


def impute_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    missing = np.isnan(x) if a.replaced != a.replaced else x == np.array(a.replaced, x.dtype)
    return (np.where(missing, np.array(a.values, x.dtype), x),)


def binarize_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,) = arrays
    return ((x > call.attrs.threshold).astype(x.dtype),)


def categories_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,) = arrays
    with np.errstate(invalid="ignore"):
        whole = x.astype(np.int64)[..., None]
    return ((whole == np.array(call.attrs.categories)).astype(np.float32),)


def row_norm_reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, norm = arrays[0].astype(np.float64), call.attrs.norm
    if norm == "MAX":
        size = x.max(-1, keepdims=True)
    else:
        size = np.linalg.norm(x, 1 if norm == "L1" else 2, -1, keepdims=True)
    return ((x / np.where(size == 0, 1, size)).astype(np.float32),)


def _elementwise(call: Call, name: str, compute: Any, table: Constant | None = None) -> Kernel:
    """`compute(value, column, table)` for every value of x; columns are the last axis."""
    (x,), y = call.inputs, call.output
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    columns = x.shape[-1] if x.shape else 1
    own = () if table is None else (table,)
    buffers = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in own]

    def one(r: Any, c: Any) -> list[Any]:
        at = r * columns + c
        value = loops.load(source, at)
        return [loops.store(result, at, compute(value, c, *buffers))]

    def row(r: Any) -> list[Any]:
        return [loops.loop("c", columns, lambda c: one(_int(r), _int(c)))]

    body = [loops.loop("r", x.elements // columns, row)]
    function = loops.function([source, result, *buffers], body)
    return Kernel(name, function, own, float_code=x.dtype.is_float)


def _int(value: Any) -> Any:
    return loops.const(value) if isinstance(value, int) else value


def impute_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), a = call.inputs, call.attrs
    table = Constant("imputed", read_only(a.values, x.dtype.value)) if len(a.values) > 1 else None

    def compute(value: Any, column: Any, *tables: Any) -> Any:
        known = a.replaced == a.replaced
        missing = value == loops.const(a.replaced, x.dtype) if known else is_nan(value)
        own = loops.load(tables[0], column) if tables else loops.const(a.values[0], x.dtype)
        return loops.select(missing, own, value)

    return _elementwise(call, "impute", compute, table)


def binarize_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    dtype = call.inputs[0].dtype

    def compute(value: Any, column: Any) -> Any:
        above = value.astype("float32") > loops.const(call.attrs.threshold, "float32")
        return loops.select(above, loops.const(1, dtype), loops.const(0, dtype))

    return _elementwise(call, "binarize", compute)


def categories_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    count = len(a.categories)
    table = loops.buffer("categories", count, "int64")
    constants = (Constant("categories", read_only(a.categories, "int64")),)
    one, zero = loops.const(1.0, "float32"), loops.const(0.0, "float32")

    def each(i: Any, k: Any) -> list[Any]:
        value, category = loops.load(source, i), loops.load(table, k)
        if x.dtype.is_float:  # 2.7 is of category 2; beyond int64 there is none
            value = loops.call(
                "truncf" if x.dtype == DType.FLOAT32 else "trunc", value, dtype=x.dtype
            )
            same = value == category.astype(x.dtype.value)
        else:
            same = value.astype("int64") == category
        return [loops.store(result, i * count + k, loops.select(same, one, zero))]

    body = [
        loops.loop("i", x.elements, lambda i: [
            loops.loop("k", count, lambda k: each(_int(i), _int(k)))
        ])
    ]  # fmt: skip
    return Kernel(
        "categories", loops.function([source, result, table], body), constants, float_code=True
    )


def row_norm_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, norm = call.inputs, call.output, call.attrs.norm
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    columns, total = x.shape[-1], loops.local("total", "float32")
    zero, one = loops.const(0.0, "float32"), loops.const(1.0, "float32")

    def take(at: Any) -> list[Any]:
        value, before = loops.load(source, at), loops.load(total, 0)
        if norm == "MAX":
            return [loops.store(total, 0, loops.maximum(before, value))]
        size = value * value if norm == "L2" else loops.call("fabsf", value, dtype="float32")
        return [loops.store(total, 0, before + size)]

    def row(r: Any) -> list[Any]:
        first = _int(r) * columns
        size = loops.load(total, 0)
        if norm == "L2":
            size = loops.call("sqrtf", size, dtype="float32")
        start = loops.load(source, first) if norm == "MAX" else zero
        return [
            *loops.declare(total),
            loops.store(total, 0, start),
            loops.loop("c", columns, lambda c: take(first + c)),
            loops.store(total, 0, size),
            loops.when(loops.load(total, 0) == zero, [loops.store(total, 0, one)]),
            loops.loop("c", columns, lambda c: [
                loops.store(result, first + c, loops.load(source, first + c) / loops.load(total, 0))
            ]),
        ]  # fmt: skip

    body = [loops.loop("r", x.elements // columns, row)]
    return Kernel("row_norm", loops.function([source, result], body), float_code=True)


IMPUTE = Op("Impute", infer_same, impute_reference, impute_kernel)
BINARIZE = Op("Binarize", infer_same, binarize_reference, binarize_kernel)
CATEGORIES = Op("Categories", infer_categories, categories_reference, categories_kernel)
ROW_NORM = Op("RowNorm", infer_same, row_norm_reference, row_norm_kernel)
FEATURE_OPS = (IMPUTE, BINARIZE, CATEGORIES, ROW_NORM)
