"""TopK: the k largest or smallest values along an axis, best first, and where they stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import dense_strides, strided_nest
from tinyc.compiler.ops.element_types import FLOATS, INTEGERS, check_type
from tinyc.compiler.ops.kernel import Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class TopKAttrs:
    """axis >= 0; 1 <= k <= its length; largest, or smallest."""

    axis: int
    k: int
    largest: bool = True


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    (x,) = inputs
    check_type("TopK", x, (*INTEGERS, *FLOATS))
    shape = (*x.shape[: attrs.axis], attrs.k, *x.shape[attrs.axis + 1 :])
    return (shape, x.dtype), (shape, DType.INT64)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Of equal values the one with the lower index comes first."""
    (x,), a = arrays, call.attrs
    if a.largest:  # stable from the end, then turned
        order = np.flip(np.argsort(np.flip(x, a.axis), a.axis, kind="stable"), a.axis)
        order = x.shape[a.axis] - 1 - order
    else:
        order = np.argsort(x, a.axis, kind="stable")
    order = np.take(order, range(a.k), a.axis)
    return np.take_along_axis(x, order, a.axis), order.astype(np.int64)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), (values, indices), a = call.inputs, call.outputs, call.attrs
    source = loops.buffer("x", x.elements, x.dtype)
    best = loops.buffer("values", values.elements, values.dtype)
    where = loops.buffer("indices", indices.elements, indices.dtype)
    from_strides, to_strides = dense_strides(x.shape), dense_strides(values.shape)
    search = _microkernel(x.dtype, a.largest)
    stride, n = from_strides[a.axis], x.shape[a.axis]

    def line(start: Any, to: Any) -> list[Any]:
        results = loops.pointer(best, to), loops.pointer(where, to)
        sizes = map(loops.const, (stride, n, a.k))
        return [loops.run(search.name, loops.pointer(source, start), *sizes, *results)]

    kept = [axis for axis in range(len(x.shape)) if axis != a.axis]
    shape = tuple(x.shape[i] for i in kept)
    strides = [[s[i] for i in kept] for s in (from_strides, to_strides)]
    function = loops.function([source, best, where], strided_nest(shape, strides, (0, 0), line))
    return Kernel(
        "top_k", function, microkernels=(search,), float_code=x.dtype.is_float, note="heap"
    )


def _microkernel(dtype: DType, largest: bool) -> Microkernel:
    suffix = f"{dtype}_{'largest' if largest else 'smallest'}"
    names = {"SUFFIX": suffix, "TYPE": C_TYPES[dtype], "BEHIND": "<" if largest else ">"}
    text = HEAP
    for word, value in names.items():
        text = text.replace(word, value)
    return Microkernel(f"tinyc_top_k_{suffix}", text)


HEAP = """\
/* Whether a value comes behind another one; of equal ones the one with the higher index does. */
static inline bool tinyc_behind_SUFFIX(TYPE a, int64_t at_a, TYPE b, int64_t at_b) {
  return (a BEHIND b) || (!(b BEHIND a) && (at_a > at_b));
}

/* Put a value into a heap of `count` values, `stride` apart, whose root is the last of all, at a
 * place whose children are heaps. */
TINYC_HELPER void tinyc_sift_SUFFIX(TYPE *values, int64_t *indices, int32_t stride, int32_t place,
                                    int32_t count, TYPE value, int64_t index) {
  for (int32_t child = (2 * place) + 1; child < count; child = (2 * place) + 1) {
    int32_t from = child * stride;
    if ((child + 1 < count) && tinyc_behind_SUFFIX(values[from + stride], indices[from + stride],
                                                   values[from], indices[from])) {
      ++child;
      from += stride;
    }
    if (!tinyc_behind_SUFFIX(values[from], indices[from], value, index)) {
      break;
    }
    values[place * stride] = values[from];
    indices[place * stride] = indices[from];
    place = child;
  }
  values[place * stride] = value;
  indices[place * stride] = index;
}

/* The first k of n values in order, and where they stand; all are `stride` apart. The results are
 * a heap until they are sorted: about n * log2(k) steps, and no other memory. */
TINYC_HELPER void tinyc_top_k_SUFFIX(const TYPE *x, int32_t stride, int32_t n, int32_t k,
                                     TYPE *values, int64_t *indices) {
  for (int32_t i = 0; i < k; ++i) {
    values[i * stride] = x[i * stride];
    indices[i * stride] = i;
  }
  for (int32_t i = (k / 2) - 1; i >= 0; --i) {
    tinyc_sift_SUFFIX(values, indices, stride, i, k, values[i * stride], indices[i * stride]);
  }
  for (int32_t i = k; i < n; ++i) {
    if (tinyc_behind_SUFFIX(values[0], indices[0], x[i * stride], i)) {
      tinyc_sift_SUFFIX(values, indices, stride, 0, k, x[i * stride], i);
    }
  }
  for (int32_t end = k - 1; end > 0; --end) {
    const TYPE value = values[end * stride];
    const int64_t index = indices[end * stride];
    values[end * stride] = values[0];
    indices[end * stride] = indices[0];
    tinyc_sift_SUFFIX(values, indices, stride, 0, end, value, index);
  }
}
"""


TOP_K = Op("TopK", infer, reference, kernel)
