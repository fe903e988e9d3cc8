"""TreeRanks: features as int16 ranks among the thresholds that trees compare them with.

A feature's rank is the number of thresholds that lie below it. It is not above the threshold of
rank i when its rank is not above i: comparisons of ranks decide as those of floats do, always.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class RankColumn:
    """One rank of each row.

    feature     the column of the input
    nan         what is no number is below all thresholds; else above all
    thresholds  different ones, in order
    """

    feature: int
    nan: bool
    thresholds: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TreeRanksAttrs:
    """The ranks of a row, in order."""

    columns: tuple[RankColumn, ...]


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("ranks of features", inputs[0], FLOATS)
    return (((inputs[0].shape[0], len(attrs.columns)), DType.INT16),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), columns = arrays, call.attrs.columns
    ranks = np.empty((len(x), len(columns)), np.int16)
    for rank, column in zip(ranks.T, columns, strict=True):
        values = x[:, column.feature]
        rank[:] = np.searchsorted(np.array(column.thresholds, x.dtype), values, "left")
        rank[np.isnan(values)] = 0 if column.nan else len(column.thresholds)
    return (ranks,)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, columns = call.inputs, call.output, call.attrs.columns
    thresholds = np.array([t for c in columns for t in c.thresholds], x.dtype.value)
    features = [2 * c.feature + c.nan for c in columns]
    counts = [len(c.thresholds) for c in columns]
    constants = (
        _unsigned("features", features),
        _unsigned("counts", counts),
        Constant("keys", read_only(_keys(thresholds), f"int{8 * x.dtype.size}")),
    )
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    own = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    block = _ranks(x.dtype, *(C_TYPES[str(c.array.dtype)] for c in constants))

    def row(r: Any) -> list[Any]:
        first = loops.const(r) if isinstance(r, int) else r
        places = (
            loops.pointer(source, first * x.shape[1]),
            loops.pointer(result, first * y.shape[1]),
        )
        return [loops.run(block.name, *places, *map(loops.pointer, own), len(columns))]

    function = loops.function([source, result, *own], [loops.loop("r", x.shape[0], row)])
    size = sum(c.array.nbytes for c in constants)
    note = f"{len(columns)} ranks among {thresholds.size} thresholds, {size} bytes"
    return Kernel(
        "tree_ranks", function, constants, microkernels=(block,), float_code=True, note=note
    )


def _keys(thresholds: Array) -> Array:
    """Integers in the order of the floats: their bits, turned around below zero; -0.0 is 0.0."""
    kind = np.dtype(f"int{8 * thresholds.dtype.itemsize}")
    bits = thresholds.view(kind)
    size = bits & np.iinfo(kind).max
    return np.where(bits < 0, -size, size)


def _unsigned(role: str, values: list[int]) -> Constant:
    types = ("uint8", "uint16", "uint32")
    kind = next(t for t in types if max(values) <= np.iinfo(t).max)
    return Constant(role, read_only(values, kind))


def _ranks(dtype: DType, feature: str, count: str, key: str) -> Microkernel:
    """`name(x, y, features, counts, keys, columns)`: the ranks of one row of x into y."""
    words = "_".join(t.removesuffix("_t") for t in (feature, count, key))
    infinity = "0x7f800000" if dtype == DType.FLOAT32 else "INT64_C(0x7ff0000000000000)"
    text = RANKS.format(
        name=(name := f"tinyc_tree_ranks_{words}"), real=C_TYPES[dtype], feature=feature,
        count=count, key=key, limit=key.removesuffix("_t").upper(), infinity=infinity,
    )  # fmt: skip
    return Microkernel(name, text)


RANKS = """\
/* Of one row: how many thresholds of each column lie below its feature. Keys are integers in the
   order of the floats, whose bits they are; the lowest bit of `features` says that what is no
   number is below all. */
static void {name}(const {real} *x, int16_t *y,
    const {feature} *features, const {count} *counts, const {key} *keys, int32_t columns) {{
  for (int32_t c = 0; c < columns; ++c) {{
    {key} key;
    memcpy(&key, &x[features[c] >> 1], sizeof key);
    const {key} size = key & {limit}_MAX;
    key = (key < 0) ? -size : size;
    if (size > {infinity}) {{
      key = ((features[c] & 1u) != 0u) ? {limit}_MIN : {limit}_MAX;
    }}
    int32_t rank = 0;
    int32_t left = (int32_t)counts[c];
    while (left > 0) {{
      const int32_t half = left >> 1;
      if (keys[rank + half] < key) {{
        rank += half + 1;
        left -= half + 1;
      }} else {{
        left = half;
      }}
    }}
    y[c] = (int16_t)rank;
    keys += counts[c];
  }}
}}
"""

TREE_RANKS = Op("TreeRanks", infer, reference, kernel)
