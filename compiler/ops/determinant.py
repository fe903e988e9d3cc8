"""Determinant of square matrices, the last two axes: by elimination with the largest pivots."""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import FLOATS, check_type
from tinyc.compiler.ops.kernel import Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    check_type("Det", inputs[0], FLOATS)
    return ((inputs[0].shape[:-2], inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (np.asarray(np.linalg.det(arrays[0].astype(np.float64))).astype(arrays[0].dtype),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, n = call.inputs, call.output, call.inputs[0].shape[-1]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    matrix = loops.buffer("matrix", n * n, x.dtype)
    search = _microkernel(x.dtype)

    def one(i: Any) -> list[Any]:
        begin, scratch = loops.pointer(source, i * (n * n)), loops.pointer(matrix)
        value = loops.call(search.name, begin, scratch, loops.const(n), dtype=str(x.dtype))
        return [loops.store(result, i, value)]

    function = loops.function([source, result, matrix], [loops.loop("i", y.elements, one)])
    return Kernel(
        "determinant", function, scratch_bytes=n * n * x.dtype.size, microkernels=(search,),
        float_code=True,
    )  # fmt: skip


def _microkernel(dtype: DType) -> Microkernel:
    text = TEXT.replace("TYPE", C_TYPES[dtype])
    text = text.replace("ABS", "fabs" if dtype == DType.FLOAT64 else "fabsf")
    text = text.replace("ONE", "1.0" if dtype == DType.FLOAT64 else "1.0f")
    return Microkernel(f"tinyc_determinant_{C_TYPES[dtype]}", text)


TEXT = """\
/* The determinant of x [n, n]: the product of the pivots of its elimination, in the matrix a. */
TINYC_HELPER TYPE tinyc_determinant_TYPE(const TYPE *x, TYPE *a, int32_t n) {
  TYPE product = ONE;
  memcpy(a, x, sizeof(TYPE) * (uint32_t)n * (uint32_t)n);
  for (int32_t c = 0; c < n; ++c) {
    int32_t pivot = c;
    for (int32_t r = c + 1; r < n; ++r) {
      if (ABS(a[(r * n) + c]) > ABS(a[(pivot * n) + c])) {
        pivot = r;
      }
    }
    if (pivot != c) {
      for (int32_t k = c; k < n; ++k) {
        const TYPE upper = a[(c * n) + k];
        a[(c * n) + k] = a[(pivot * n) + k];
        a[(pivot * n) + k] = upper;
      }
      product = -product;
    }
    const TYPE head = a[(c * n) + c];
    product *= head;
    if (!(ABS(head) > 0)) {
      return product;
    }
    for (int32_t r = c + 1; r < n; ++r) {
      const TYPE factor = a[(r * n) + c] / head;
      for (int32_t k = c + 1; k < n; ++k) {
        a[(r * n) + k] -= factor * a[(c * n) + k];
      }
    }
  }
  return product;
}
"""

DETERMINANT = Op("Determinant", infer, reference, kernel)
