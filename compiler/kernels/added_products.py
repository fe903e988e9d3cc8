"""Products of a matrix and a vector that are added to what is there: y[j] += w[j] . x.

Four rows at a time, so that a value of x is loaded once for them and no sum waits for another.
"""

from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import DType
from tinyc.compiler.ops.kernel import Microkernel

FLOATS = Microkernel(
    "tinyc_add_products",
    """\
/* y[j] += w[j * columns + k] * x[k], the sum over k, for all rows j. */
TINYC_SHARED_KERNEL void tinyc_add_products(
    const float *w, const float *x, float *y, int32_t rows, int32_t columns) {
  int32_t j = 0;
  for (; j + 4 <= rows; j += 4) {
    const float *const a = &w[j * columns];
    const float *const b = &a[columns];
    const float *const c = &b[columns];
    const float *const d = &c[columns];
    float sum_a = y[j];
    float sum_b = y[j + 1];
    float sum_c = y[j + 2];
    float sum_d = y[j + 3];
    for (int32_t k = 0; k < columns; ++k) {
      const float value = x[k];
      sum_a += a[k] * value;
      sum_b += b[k] * value;
      sum_c += c[k] * value;
      sum_d += d[k] * value;
    }
    y[j] = sum_a;
    y[j + 1] = sum_b;
    y[j + 2] = sum_c;
    y[j + 3] = sum_d;
  }
  for (; j < rows; ++j) {
    float sum = y[j];
    for (int32_t k = 0; k < columns; ++k) {
      sum += w[(j * columns) + k] * x[k];
    }
    y[j] = sum;
  }
}
""",
)

STORED = """\
/* y[j] += scales[j] * (w[j * columns + k] - zeros[j]) * x[k], the sum over k, for all rows j;
 * step 0: one scale and zero point for all. */
TINYC_SHARED_KERNEL void {name}(
    const {type} *w, const float *scales, const int32_t *zeros, int32_t step, const float *x,
    float *y, int32_t rows, int32_t columns) {{
  int32_t j = 0;
  for (; j + 4 <= rows; j += 4) {{
    const {type} *const a = &w[j * columns];
    const {type} *const b = &a[columns];
    const {type} *const c = &b[columns];
    const {type} *const d = &c[columns];
    const int32_t at = j * step;
    float sum_a = 0.0f;
    float sum_b = 0.0f;
    float sum_c = 0.0f;
    float sum_d = 0.0f;
    float sum_x = 0.0f;
    for (int32_t k = 0; k < columns; ++k) {{
      const float value = x[k];
      sum_x += value;
      sum_a += (float)a[k] * value;
      sum_b += (float)b[k] * value;
      sum_c += (float)c[k] * value;
      sum_d += (float)d[k] * value;
    }}
    y[j] += scales[at] * (sum_a - ((float)zeros[at] * sum_x));
    y[j + 1] += scales[at + step] * (sum_b - ((float)zeros[at + step] * sum_x));
    y[j + 2] += scales[at + (2 * step)] * (sum_c - ((float)zeros[at + (2 * step)] * sum_x));
    y[j + 3] += scales[at + (3 * step)] * (sum_d - ((float)zeros[at + (3 * step)] * sum_x));
  }}
  for (; j < rows; ++j) {{
    float sum = 0.0f;
    for (int32_t k = 0; k < columns; ++k) {{
      sum += (float)((int32_t)w[(j * columns) + k] - zeros[j * step]) * x[k];
    }}
    y[j] += scales[j * step] * sum;
  }}
}}
"""


def stored(dtype: DType) -> Microkernel:
    """The same for weights that are stored integers, dequantized as they are read."""
    name = f"tinyc_add_products_{dtype}"
    return Microkernel(name, STORED.format(name=name, type=C_TYPES[dtype]))
