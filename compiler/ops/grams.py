"""Grams: how often sequences of numbers occur in each row, weighted: TfIdfVectorizer.

A sequence also counts where its numbers lie 2, 3, ... `distances` places apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target

MODES = ("TF", "IDF", "TFIDF")


@dataclass(frozen=True, slots=True)
class GramsAttrs:
    """grams, columns  what is counted, all different, and where in a row of the output
    width      values of a row of the output
    distances  the largest distance between neighbours of a sequence
    mode       TF: the counts, IDF: the weight where one occurs, TFIDF: the product
    weights    one for each column; (): ones
    """

    grams: tuple[tuple[int, ...], ...]
    columns: tuple[int, ...]
    width: int
    distances: int
    mode: str = "TF"
    weights: tuple[float, ...] = ()


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("the count", x, (DType.INT32, DType.INT64))
    return (((*x.shape[:-1], attrs.width), DType.FLOAT32),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x,), a = arrays, call.attrs
    rows = x.reshape(-1, x.shape[-1]).tolist()
    counts = np.zeros((len(rows), a.width))
    for row, values in enumerate(rows):
        for gram, column in zip(a.grams, a.columns, strict=True):
            for d in range(1, (a.distances if len(gram) > 1 else 1) + 1):
                places = [tuple(values[i::d][: len(gram)]) for i in range(len(values))]
                counts[row, column] += places.count(gram)
    weights = np.array(a.weights or (1.0,) * a.width)
    result = {"TF": counts, "IDF": (counts > 0) * weights, "TFIDF": counts * weights}[a.mode]
    return (result.reshape(call.output.shape).astype(np.float32),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    block = _counter(x.dtype)
    constants, sizes = [], sorted({len(g) for g in a.grams})
    for size in sizes:
        mine = [(g, c) for g, c in zip(a.grams, a.columns, strict=True) if len(g) == size]
        constants.append(Constant(f"grams_{size}", _table([g for g, _ in mine], x.dtype)))
        constants.append(Constant(f"columns_{size}", _table([c for _, c in mine], DType.INT32)))
    if a.mode != "TF" and a.weights:
        constants.append(Constant("weights", _table(a.weights, DType.FLOAT32)))
    tables = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    length = x.shape[-1]

    def finish(at: Any, column: Any) -> Any:
        count = loops.load(result, at)
        if a.mode == "TFIDF":
            return count * loops.load(tables[-1], column)
        weight = loops.load(tables[-1], column) if a.weights else loops.const(1.0, "float32")
        zero = loops.const(0.0, "float32")
        return loops.select(count > zero, weight, zero)

    def row(r: Any) -> list[Any]:
        r = loops.const(r) if isinstance(r, int) else r
        first = r * a.width
        zero = loops.const(0.0, "float32")
        lines = [loops.loop("k", a.width, lambda k: [loops.store(result, first + k, zero)])]
        for i, size in enumerate(sizes):
            grams = constants[2 * i + 1].array.size
            arguments = [loops.pointer(tables[2 * i]), loops.pointer(tables[2 * i + 1])]
            lines.append(loops.run(
                block.name, loops.pointer(source, r * length), length,
                loops.pointer(result, first), *arguments, grams, size,
                a.distances if size > 1 else 1,
            ))  # fmt: skip
        if a.mode == "IDF" or (a.mode == "TFIDF" and a.weights):
            lines.append(loops.loop("k", a.width, lambda k: [
                loops.store(result, first + k, finish(first + k, k))
            ]))  # fmt: skip
        return lines

    body = [loops.loop("r", x.elements // length, row)]
    function = loops.function([source, result, *tables], body)
    return Kernel("grams", function, tuple(constants), microkernels=(block,), float_code=True)


def _table(values: Any, dtype: DType) -> Array:
    return read_only(np.array(values, dtype.value).reshape(-1))


def _counter(dtype: DType) -> Microkernel:
    name = f"tinyc_count_grams_{dtype}"
    return Microkernel(name, COUNT.format(name=name, type=C_TYPES[dtype]))


COUNT = """\
/* How often each of `grams` sequences of n numbers occurs in a row. */
static void {name}(const {type} *x, int32_t length, float *y, const {type} *pool,
    const int32_t *columns, int32_t grams, int32_t n, int32_t distances) {{
  for (int32_t g = 0; g < grams; ++g) {{
    int32_t count = 0;
    for (int32_t d = 1; d <= distances; ++d) {{
      for (int32_t i = 0; i + (d * (n - 1)) < length; ++i) {{
        int32_t same = 0;
        while (same < n && x[i + (d * same)] == pool[(g * n) + same]) {{
          ++same;
        }}
        count += (same == n) ? 1 : 0;
      }}
    }}
    y[columns[g]] += (float)count;
  }}
}}
"""

GRAMS = Op("Grams", infer, reference, kernel)
