"""The stages of a Fourier transform in place, in C.

z holds n complex values; of every r neighbouring transforms of m values each stage makes one of
r m. `cosines` and `sines` are those of -2 pi i / length, of which a stage takes every `step`-th.
"""

from tinyc.compiler.ops.kernel import Microkernel


def stage(radix: int) -> Microkernel:
    """`tinyc_fourier_2`, `tinyc_fourier_4`, or `tinyc_fourier_radix` for any other."""
    names = {2: ("tinyc_fourier_2", TWO), 4: ("tinyc_fourier_4", FOUR)}
    return Microkernel(*names.get(radix, ("tinyc_fourier_radix", ANY)))


def apart() -> Microkernel:
    """`tinyc_fourier_apart(z, n, cosines, sines)`: of 2 n real values that went in as n pairs."""
    return Microkernel("tinyc_fourier_apart", APART)


TWO = """\
/* A stage of radix 2. */
static void tinyc_fourier_2(float *z, int32_t n, int32_t m, const float *cosines,
    const float *sines, int32_t step) {
  for (int32_t p = 0; p < m; ++p) {
    const float c = cosines[p * step];
    const float s = sines[p * step];
    for (int32_t at = p; at < n; at += 2 * m) {
      float *const z0 = &z[2 * at];
      float *const z1 = &z0[2 * m];
      const float real = (z1[0] * c) - (z1[1] * s);
      const float imag = (z1[0] * s) + (z1[1] * c);
      z1[0] = z0[0] - real;
      z1[1] = z0[1] - imag;
      z0[0] += real;
      z0[1] += imag;
    }
  }
}
"""

FOUR = """\
/* A stage of radix 4. */
static void tinyc_fourier_4(float *z, int32_t n, int32_t m, const float *cosines,
    const float *sines, int32_t step) {
  for (int32_t p = 0; p < m; ++p) {
    const float c1 = cosines[p * step];
    const float s1 = sines[p * step];
    const float c2 = cosines[2 * p * step];
    const float s2 = sines[2 * p * step];
    const float c3 = cosines[3 * p * step];
    const float s3 = sines[3 * p * step];
    for (int32_t at = p; at < n; at += 4 * m) {
      float *const z0 = &z[2 * at];
      float *const z1 = &z0[2 * m];
      float *const z2 = &z1[2 * m];
      float *const z3 = &z2[2 * m];
      const float r1 = (z1[0] * c1) - (z1[1] * s1);
      const float i1 = (z1[0] * s1) + (z1[1] * c1);
      const float r2 = (z2[0] * c2) - (z2[1] * s2);
      const float i2 = (z2[0] * s2) + (z2[1] * c2);
      const float r3 = (z3[0] * c3) - (z3[1] * s3);
      const float i3 = (z3[0] * s3) + (z3[1] * c3);
      const float even_r = z0[0] + r2;
      const float even_i = z0[1] + i2;
      const float odd_r = z0[0] - r2;
      const float odd_i = z0[1] - i2;
      z0[0] = even_r + (r1 + r3);
      z0[1] = even_i + (i1 + i3);
      z1[0] = odd_r + (i1 - i3);
      z1[1] = odd_i - (r1 - r3);
      z2[0] = even_r - (r1 + r3);
      z2[1] = even_i - (i1 + i3);
      z3[0] = odd_r - (i1 - i3);
      z3[1] = odd_i + (r1 - r3);
    }
  }
}
"""

ANY = """\
/* A stage of any radix r, by its sums; `sum` holds r complex values. */
static void tinyc_fourier_radix(float *z, int32_t n, int32_t m, int32_t r, const float *cosines,
    const float *sines, int32_t step, float *sum) {
  const int32_t whole = r * m;
  for (int32_t at = 0; at < n; at += whole) {
    for (int32_t p = 0; p < m; ++p) {
      for (int32_t k = 0; k < r; ++k) {
        const int32_t turn = p + (k * m);
        int32_t angle = 0;
        float real = 0.0f;
        float imag = 0.0f;
        for (int32_t j = 0; j < r; ++j) {
          const float *const from = &z[2 * (at + p + (j * m))];
          const float c = cosines[angle * step];
          const float s = sines[angle * step];
          real += (from[0] * c) - (from[1] * s);
          imag += (from[0] * s) + (from[1] * c);
          angle += turn;
          angle -= (angle >= whole) ? whole : 0;
        }
        sum[2 * k] = real;
        sum[(2 * k) + 1] = imag;
      }
      for (int32_t k = 0; k < r; ++k) {
        z[2 * (at + p + (k * m))] = sum[2 * k];
        z[(2 * (at + p + (k * m))) + 1] = sum[(2 * k) + 1];
      }
    }
  }
}
"""

APART = """\
/* The spectrum of 2 n real values, its first n + 1 values, from that of n pairs of them. */
static void tinyc_fourier_apart(float *z, int32_t n, const float *cosines, const float *sines) {
  const float first = z[0];
  z[0] = first + z[1];
  z[2 * n] = first - z[1];
  z[(2 * n) + 1] = 0.0f;
  z[1] = 0.0f;
  for (int32_t k = 1; 2 * k <= n; ++k) {
    float *const a = &z[2 * k];
    float *const b = &z[2 * (n - k)];
    const float even_r = 0.5f * (a[0] + b[0]);
    const float even_i = 0.5f * (a[1] - b[1]);
    const float odd_r = 0.5f * (a[1] + b[1]);
    const float odd_i = 0.5f * (b[0] - a[0]);
    const float turned_r = (odd_r * cosines[k]) - (odd_i * sines[k]);
    const float turned_i = (odd_r * sines[k]) + (odd_i * cosines[k]);
    a[0] = even_r + turned_r;
    a[1] = even_i + turned_i;
    b[0] = even_r - turned_r;
    b[1] = turned_i - even_i;
  }
}
"""
