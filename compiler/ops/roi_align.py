"""RoiAlign: every region of interest, pooled to the same size from samples between the elements.

x [N, C, H, W], regions [R, 4] (x0, y0, x1, y1), images [R] int64, y [R, C, height, width].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class RoiAlignAttrs:
    """size: (height, width) of the result; scale: from a region's numbers to elements of x.

    samples  on each axis of a bin; 0: as many as it is elements wide
    maximum  the largest share of a neighbour instead of the average of the samples
    shifted  coordinates are those of pixel corners: half an element is taken off
    """

    size: tuple[int, int]
    scale: float
    samples: int
    maximum: bool
    shifted: bool


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, regions = inputs[:2]
    for tensor in (x, regions):
        check_type("RoiAlign", tensor, (DType.FLOAT32,))
    return (((regions.shape[0], x.shape[1], *attrs.size), x.dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (x, regions, images), a = arrays, call.attrs
    y = np.zeros(call.output.shape, np.float32)
    for r, (region, image) in enumerate(zip(regions, images, strict=True)):
        if not 0 <= image < x.shape[0]:
            continue
        edges = region.astype(np.float64) * a.scale - (0.5 if a.shifted else 0.0)
        for row, column in np.ndindex(*a.size):
            ys = _samples(edges[1], edges[3], row, a.size[0], a)
            xs = _samples(edges[0], edges[2], column, a.size[1], a)
            shares = [_shares(x[image], v, u) for v in ys for u in xs]
            if a.maximum:
                y[r, :, row, column] = np.max(shares, axis=(0, 1)) if shares else 0
            else:
                y[r, :, row, column] = np.sum(shares, axis=(0, 1)) / max(len(shares), 1)
    return (y,)


def _samples(begin: float, end: float, index: int, bins: int, a: RoiAlignAttrs) -> list[float]:
    """Where the samples of one bin lie on one axis."""
    length = end - begin if a.shifted else max(end - begin, 1.0)
    width = length / bins
    count = a.samples or int(np.ceil(width))
    return [begin + (index + (i + 0.5) / count) * width for i in range(count)]


def _shares(image: Array, v: float, u: float) -> Array:
    """What the four neighbours of a point give, [4, C]."""
    _, height, width = image.shape
    if not (-1 <= v <= height and -1 <= u <= width):
        return np.zeros((4, image.shape[0]))
    v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
    top, left = int(v), int(u)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    r, s = v - top, u - left
    corners = [(top, left, (1 - r) * (1 - s)), (top, right, (1 - r) * s),
               (low, left, r * (1 - s)), (low, right, r * s)]  # fmt: skip
    return np.array([image[:, i, j] * weight for i, j, weight in corners])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, regions, _), y, a = call.inputs, call.output, call.attrs
    given = operands(call.inputs, ("x", "regions", "images"))
    result = loops.buffer("y", y.elements, y.dtype)
    sizes = (*x.shape, regions.shape[0], *a.size, a.samples, int(a.maximum), int(a.shifted))
    line = loops.run(
        "tinyc_roi_align", *(loops.pointer(b) for b in (*given.buffers, result)),
        *map(loops.const, sizes), loops.const(a.scale, "float32"),
    )  # fmt: skip
    function = loops.function([*given.moving, result, *given.fixed], [line])
    blocks = (Microkernel("tinyc_roi_align", TEXT),)
    return Kernel("roi_align", function, given.constants, microkernels=blocks, float_code=True)


TEXT = """\
/* One axis of a sample: the two neighbours and the share of the second; false outside. */
static bool tinyc_roi_tap(float at, int32_t size, int32_t *low, int32_t *high, float *share) {
  if (!((at >= -1.0f) && (at <= (float)size))) {
    return false;
  }
  at = fminf(fmaxf(at, 0.0f), (float)(size - 1));
  *low = (int32_t)at;
  *high = tinyc_min(*low + 1, size - 1);
  *share = at - (float)*low;
  return true;
}

/* One bin of one channel: samples from (y0, x0) on, (dy, dx) apart. */
static float tinyc_roi_bin(const float *plane, int32_t h, int32_t w, float y0, float x0, float dy,
    float dx, int32_t rows, int32_t columns, int32_t maximum) {
  float total = 0.0f;
  for (int32_t i = 0; i < rows; ++i) {
    for (int32_t j = 0; j < columns; ++j) {
      int32_t top = 0, low = 0, left = 0, right = 0;
      float r = 0.0f, s = 0.0f, a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
      if (tinyc_roi_tap(y0 + (((float)i + 0.5f) * dy), h, &top, &low, &r) &&
          tinyc_roi_tap(x0 + (((float)j + 0.5f) * dx), w, &left, &right, &s)) {
        a = (1.0f - r) * (1.0f - s) * plane[(top * w) + left];
        b = (1.0f - r) * s * plane[(top * w) + right];
        c = r * (1.0f - s) * plane[(low * w) + left];
        d = r * s * plane[(low * w) + right];
      }
      if (maximum == 0) {
        total += a + b + c + d;
      } else {
        const float best = fmaxf(fmaxf(a, b), fmaxf(c, d));
        total = ((i == 0) && (j == 0)) ? best : fmaxf(total, best);
      }
    }
  }
  const int32_t count = rows * columns;
  return (maximum == 0) ? (total / (float)tinyc_max(count, 1)) : total;
}

/* How many samples a bin of `size` elements has: `samples`, or one an element. */
static int32_t tinyc_roi_samples(float size, int32_t samples) {
  if (samples > 0) {
    return samples;
  }
  return (int32_t)ceilf(fminf(fmaxf(size, 0.0f), 4096.0f)); /* more would never end */
}

/* x [n, c, h, w]; y [regions, c, oh, ow]; a region of an image that is not there gives zeros. */
static void tinyc_roi_align(const float *x, const float *regions, const int64_t *images, float *y,
    int32_t n, int32_t c, int32_t h, int32_t w, int32_t count, int32_t oh, int32_t ow,
    int32_t samples, int32_t maximum, int32_t shifted, float scale) {
  for (int32_t r = 0; r < count; ++r) {
    const float half = (shifted != 0) ? 0.5f : 0.0f;
    const float x0 = (regions[4 * r] * scale) - half;
    const float y0 = (regions[(4 * r) + 1] * scale) - half;
    float width = (regions[(4 * r) + 2] * scale) - half - x0;
    float height = (regions[(4 * r) + 3] * scale) - half - y0;
    if (shifted == 0) {
      width = fmaxf(width, 1.0f);
      height = fmaxf(height, 1.0f);
    }
    const float dy = height / (float)oh, dx = width / (float)ow;
    const int32_t rows = tinyc_roi_samples(dy, samples), columns = tinyc_roi_samples(dx, samples);
    const bool known = (images[r] >= 0) && (images[r] < n);
    const int32_t image = known ? (int32_t)images[r] : 0;
    for (int32_t k = 0; k < c; ++k) {
      const float *plane = &x[((image * c) + k) * h * w];
      for (int32_t i = 0; i < oh; ++i) {
        for (int32_t j = 0; j < ow; ++j) {
          const float top = y0 + ((float)i * dy), left = x0 + ((float)j * dx);
          const float value = known ? tinyc_roi_bin(plane, h, w, top, left, dy / (float)rows,
              dx / (float)columns, rows, columns, maximum) : 0.0f;
          y[(((((r * c) + k) * oh) + i) * ow) + j] = value;
        }
      }
    }
  }
}
"""

ROI_ALIGN = Op("RoiAlign", infer, reference, kernel)
