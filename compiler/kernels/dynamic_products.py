"""Products of stored weights with values that are quantized to uint8 at run time.

As onnxruntime's DynamicQuantizeLSTM has it: one scale and zero point for x of all steps and
sequences, and one at each step for the state; the sums of products are integers. With several
sequences onnxruntime takes as many together as its number of threads makes of them; here each has
a scale of its own, as it has with a thread for each.
"""

from typing import Any

from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import DType
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Microkernel

RANGE = Microkernel(
    "tinyc_find_range",
    """\
/* The scale and the zero point, range[0] and range[1], by which 0 to 255 cover x and 0. */
TINYC_SHARED_KERNEL void tinyc_find_range(const float *x, int32_t count, float *range) {
  float low = 0.0f;
  float high = 0.0f;
  for (int32_t i = 0; i < count; ++i) {
    low = (x[i] < low) ? x[i] : low;
    high = (x[i] > high) ? x[i] : high;
  }
  range[0] = high > low ? (high - low) / 255.0f : 1.0f;
  const int32_t zero = tinyc_nearest(0.0f - (low / range[0]));
  range[1] = (float)tinyc_min(tinyc_max(zero, 0), 255);
}
""",
)
QUANTIZE = Microkernel(
    "tinyc_quantize_by_range",
    """\
/* x in uint8, to the bytes of `stored`. */
TINYC_SHARED_KERNEL void tinyc_quantize_by_range(
    const float *x, int32_t count, const float *range, float *stored) {
  uint8_t *const y = (uint8_t *)(void *)stored;
  const int32_t zero = (int32_t)range[1];
  for (int32_t i = 0; i < count; ++i) {
    const int32_t value = tinyc_nearest(x[i] / range[0]) + zero;
    y[i] = (uint8_t)tinyc_min(tinyc_max(value, 0), 255);
  }
}
""",
)
PRODUCTS = """\
/* y[j] += scales[j] * range[0] * the sum of (w[j * columns + k] - zeros[j]) * (x[k] - range[1])
 * over k, for all rows j; x are the bytes of `stored`. step 0: one scale and zero point for all. */
TINYC_SHARED_KERNEL void {name}(
    const {type} *w, const float *scales, const int32_t *zeros, int32_t step, const float *stored,
    const float *range, float *y, int32_t rows, int32_t columns) {{
  const uint8_t *const x = (const uint8_t *)(const void *)stored;
  const int32_t zero = (int32_t)range[1];
  for (int32_t j = 0; j < rows; ++j) {{
    const {type} *const row = &w[j * columns];
    int32_t sum = 0;
    for (int32_t k = 0; k < columns; ++k) {{
      sum += ((int32_t)row[k] - zeros[j * step]) * ((int32_t)x[k] - zero);
    }}
    y[j] += (range[0] * scales[j * step]) * (float)sum;
  }}
}}
"""
RANGES = 4  # floats: of x, then of the state


def products(dtype: DType) -> Microkernel:
    """The products of weights of that type."""
    name = f"tinyc_add_dynamic_products_{dtype}"
    return Microkernel(name, PRODUCTS.format(name=name, type=C_TYPES[dtype]))


def scratch_floats(columns: int) -> int:
    """Of the ranges, and a row of stored values."""
    return RANGES + -(-columns // 4)


def find_range(x: Any, count: int, scratch: Any, at: int) -> Any:
    return loops.run(RANGE.name, x, loops.const(count), loops.pointer(scratch, at))


def quantized_row(x: Any, count: int, scratch: Any, range_at: int, at: int) -> Any:
    """Statement: the row at scratch[at] is x by the range at scratch[range_at]."""
    return loops.run(
        QUANTIZE.name, x, loops.const(count), loops.pointer(scratch, range_at),
        loops.pointer(scratch, at),
    )  # fmt: skip
