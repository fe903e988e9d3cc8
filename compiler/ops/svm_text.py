"""Support vector machines in C."""

from tinyc.compiler.ops.kernel import Microkernel

NEAR = """\
/* How near a row is to each of the support vectors. */
static void {name}(const float *x, const float *vectors, int32_t count, int32_t features,
    {parameters}float *near) {{
  for (int32_t v = 0; v < count; ++v) {{
    const float *const vector = &vectors[v * features];
    float sum = 0.0f;
    for (int32_t f = 0; f < features; ++f) {{
      {add}
    }}
    near[v] = {value};
  }}
}}
"""
DIFFERENCE = """const float difference = x[f] - vector[f];
      sum += difference * difference;"""
PRODUCT = "sum += x[f] * vector[f];"


def similarity(kind: str, degree: float) -> Microkernel:
    """`name(x, vectors, count, features, <parameters>, near)`"""
    if kind == "LINEAR":
        parts = ("linear", "", PRODUCT, "sum")
    elif kind == "RBF":
        parts = ("rbf", "float gamma, ", DIFFERENCE, "expf(-gamma * sum)")
    elif kind == "SIGMOID":
        parts = ("sigmoid", "float gamma, float coef0, ", PRODUCT, "tanhf((gamma * sum) + coef0)")
    else:
        value = "powf((gamma * sum) + coef0, degree)"
        parts = ("poly", "float gamma, float coef0, float degree, ", PRODUCT, value)
    word, parameters, add, value = parts
    name = f"tinyc_svm_{word}"
    return Microkernel(name, NEAR.format(name=name, parameters=parameters, add=add, value=value))


def decision(classes: bool) -> Microkernel:
    """`name(near, coefficients, count, rho, [classes, sizes,] y)`"""
    adding = (Microkernel("tinyc_svm_add", ADD),)
    if classes:
        return Microkernel("tinyc_svm_pairs", PAIRS, adding)
    return Microkernel("tinyc_svm_sum", SUM, adding)


ADD = """\
/* Kahan's sum: large coefficients of both signs nearly cancel, and doubles are slow here. */
static void tinyc_svm_add(float value, float *sum, float *lost) {
  const float exact = value - *lost;
  const float next = *sum + exact;
  *lost = (next - *sum) - exact;
  *sum = next;
}
"""

SUM = """\
/* The sum of a regression. */
static void tinyc_svm_sum(const float *near, const float *coefficients, int32_t count,
    const float *rho, float *y) {
  float sum = rho[0];
  float lost = 0.0f;
  for (int32_t v = 0; v < count; ++v) {
    tinyc_svm_add(near[v] * coefficients[v], &sum, &lost);
  }
  y[0] = sum;
}
"""

PAIRS = """\
/* Each pair of classes: the vectors of both, by their coefficients against the other class. */
static void tinyc_svm_pairs(const float *near, const float *coefficients, int32_t count,
    const float *rho, int32_t classes, const int32_t *sizes, float *y) {
  int32_t pair = 0;
  int32_t first_i = 0;
  for (int32_t i = 0; i < classes; ++i) {
    int32_t first_j = first_i + sizes[i];
    for (int32_t j = i + 1; j < classes; ++j) {
      float sum = rho[pair];
      float lost = 0.0f;
      for (int32_t v = first_i; v < first_i + sizes[i]; ++v) {
        tinyc_svm_add(near[v] * coefficients[((j - 1) * count) + v], &sum, &lost);
      }
      for (int32_t v = first_j; v < first_j + sizes[j]; ++v) {
        tinyc_svm_add(near[v] * coefficients[(i * count) + v], &sum, &lost);
      }
      y[pair] = sum;
      ++pair;
      first_j += sizes[j];
    }
    first_i += sizes[i];
  }
}
"""

VOTE = Microkernel(
    "tinyc_svm_vote",
    """\
/* The class that wins most of the pairs, the first of equal ones. */
static int32_t tinyc_svm_vote(const float *pairs, int32_t classes, int32_t *votes) {
  int32_t best = 0;
  int32_t pair = 0;
  for (int32_t i = 0; i < classes; ++i) {
    votes[i] = 0;
  }
  for (int32_t i = 0; i < classes; ++i) {
    for (int32_t j = i + 1; j < classes; ++j) {
      ++votes[(pairs[pair] > 0.0f) ? i : j];
      ++pair;
    }
  }
  for (int32_t i = 1; i < classes; ++i) {
    best = (votes[i] > votes[best]) ? i : best;
  }
  return best;
}
""",
)

COUPLE = Microkernel(
    "tinyc_svm_couple",
    """\
/* The probabilities of n classes by those of their pairs, which are sigmoids of the pairs' values:
 * Wu, Lin and Weng 2004, algorithm 2, ended as libsvm does. `room` holds n n + n values. */
static void tinyc_svm_couple(const float *pairs, const float *sigmoids, int32_t n, float *room,
    float *p) {
  float *const q = room;
  float *const qp = &room[n * n];
  const int32_t count = (n * (n - 1)) / 2;
  int32_t pair = 0;
  for (int32_t i = 0; i < n; ++i) {
    p[i] = 1.0f / (float)n;
    q[(i * n) + i] = 0.0f;
  }
  for (int32_t i = 0; i < n; ++i) {
    for (int32_t j = i + 1; j < n; ++j) {
      const float turn = (pairs[pair] * sigmoids[pair]) + sigmoids[count + pair];
      const float share = 1.0f / (1.0f + expf(turn));
      const float own = fminf(fmaxf(share, 1.0e-7f), 1.0f - 1.0e-7f);
      const float other = 1.0f - own;
      q[(i * n) + i] += other * other;
      q[(j * n) + j] += own * own;
      q[(i * n) + j] = -own * other;
      q[(j * n) + i] = -own * other;
      ++pair;
    }
  }
  for (int32_t turn = 0; turn < 100; ++turn) {
    float total = 0.0f;
    float error = 0.0f;
    for (int32_t i = 0; i < n; ++i) {
      qp[i] = 0.0f;
      for (int32_t j = 0; j < n; ++j) {
        qp[i] += q[(i * n) + j] * p[j];
      }
      total += p[i] * qp[i];
    }
    for (int32_t i = 0; i < n; ++i) {
      error = fmaxf(error, fabsf(qp[i] - total));
    }
    if (error < 0.005f / (float)n) {
      break;
    }
    for (int32_t i = 0; i < n; ++i) {
      const float own = q[(i * n) + i];
      const float change = (total - qp[i]) / own;
      const float size = 1.0f + change;
      p[i] += change;
      total = (total + (change * ((change * own) + (2.0f * qp[i])))) / size / size;
      for (int32_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + (change * q[(i * n) + j])) / size;
        p[j] /= size;
      }
    }
  }
}
""",
)
