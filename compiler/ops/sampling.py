"""Reading a tensor between its elements, at coordinates that are known at run time only."""

from tinyc.compiler.ops.kernel import Microkernel

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
PADDINGS = ("zeros", "border", "reflection")


def sample_taps() -> Microkernel:
    """`tinyc_sample_taps(at, size, taps, padding, low, high, place, weight)`: what an axis gives.

    at         the coordinate, in elements
    taps       1: the nearest element, 2: linear, 4: cubic (a = -0.75)
    padding    index into PADDINGS; the coordinates low..high are inside. Coordinates are moved
               inside, but of cubic ones the elements, each by itself, as PyTorch and onnxruntime do
    place      `taps` indices, all within the axis, and their weights, 0 where the padding is
    """
    return Microkernel("tinyc_sample_taps", SAMPLE_TAPS)


SAMPLE_TAPS = """\
/* Mirrored at low and high until it lies between them. */
static float tinyc_reflected(float at, float low, float high) {
  const float range = high - low;
  if (!(range > 0.0f)) {
    return low;
  }
  const float rest = fmodf(fabsf(at - low), 2.0f * range);
  return (rest <= range) ? (low + rest) : (high - (rest - range));
}

/* Which elements of an axis the coordinate `at` is made of, and how much of each. */
static void tinyc_sample_taps(float at, int32_t size, int32_t taps, int32_t padding, float low,
                              float high, int32_t *place, float *weight) {
  if (taps == 1) {
    at = rintf(at);
  }
  const bool outside = (taps != 4) && ((at < low) || (at > high));
  if ((padding == 2) && outside) {
    at = tinyc_reflected(at, low, high);
  } else if ((padding == 1) && outside) {
    at = fminf(fmaxf(at, 0.0f), (float)(size - 1));
  }
  /* all of it is padding beyond; what is mirrored has to fit an integer */
  const float reach = (padding == 2) ? 1e9f : ((float)size + 4.0f);
  at = fminf(fmaxf(at, -reach), reach);
  const float whole = floorf(at);
  const float r = at - whole;
  if (taps == 1) {
    weight[0] = 1.0f;
  } else if (taps == 2) {
    weight[0] = 1.0f - r;
    weight[1] = r;
  } else {
    const float a = -0.75f, s = 1.0f - r;
    weight[0] = a * r * s * s;
    weight[1] = (((a + 2.0f) * r - (a + 3.0f)) * r * r) + 1.0f;
    weight[2] = (((a + 2.0f) * s - (a + 3.0f)) * s * s) + 1.0f;
    weight[3] = a * s * r * r;
  }
  for (int32_t t = 0; t < taps; ++t) {
    int32_t i = (int32_t)whole + t - ((taps == 4) ? 1 : 0);
    if ((i < 0) || (i >= size)) {
      if (padding == 0) {
        weight[t] = 0.0f;
      } else if (padding == 2) {
        i = (int32_t)tinyc_reflected((float)i, low, high);
      }
      i = tinyc_min(tinyc_max(i, 0), size - 1);
    }
    place[t] = i;
  }
}
"""
