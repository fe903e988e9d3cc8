"""3x3 convolution of stride 1 by F(2x2, 3x3), exact in whole numbers, for cores without SIMD.

A tile of 4x4 inputs gives 2x2 outputs with 16 products instead of 36:

    Y = A' [(2 G) g (2 G)' * (B' d B)] A / 4
    B' = (1 0 -1 0 | 0 1 1 0 | 0 -1 1 0 | 0 1 0 -1)
    2G = (2 0 0 | 1 1 1 | 1 -1 1 | 0 0 2),  A' = (1 1 1 0 | 0 1 -1 -1)

(A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2015.) Transformed inputs
are below 2^10, weights below 2^11, so both are int16; the sum over the channels is a multiple of 4.

Inputs of 4 tiles and weights of 4 output channels lie alike: for every input channel, for each of
the 16 places of a tile, 4 int16. The sums: for every place, for every tile, 4 channels, int32.
Weights as int8 lie for every input channel as 9 taps of 4 output channels.
"""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.riscv_assembly import GUARD, REGISTERS, framed, quoted

BLOCK = 4  # tiles, and output channels, that are multiplied together
PLACES = 16
CHANNEL_BYTES = 2 * PLACES * BLOCK  # of an input channel's transformed values
SUM_BYTES = 4 * PLACES * BLOCK * BLOCK
MOST_CHANNELS = 256  # no sum leaves int32: 2^10 * 2^11 * 9 * 256 is more than that of real values
TRANSFORM = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int64)


def taps(weights: Array) -> Array:
    """int8 weights [oc, 3, 3, ic] as [oc / 4, ic, 9, 4]."""
    oc, _, _, ic = weights.shape
    return weights.reshape(oc // BLOCK, BLOCK, 9, ic).transpose(0, 3, 2, 1).astype(np.int8)


def transformed(weights: Array) -> Array:
    """The same as the int16 [oc / 4, ic, 16, 4] that are multiplied."""
    oc, _, _, ic = weights.shape
    tiles = np.einsum("pi,oijc,qj->ocpq", TRANSFORM, weights.astype(np.int64), TRANSFORM)
    blocks = tiles.reshape(oc // BLOCK, BLOCK, ic, PLACES).transpose(0, 2, 3, 1)
    return np.asarray(blocks, np.int16)


def multiply(unroll: int) -> Microkernel:
    """`tinyc_winograd_multiply(inputs, weights, channels, sums)`.

    unroll  channels in a turn of the loop; divides `channels`
    """
    name = f"tinyc_winograd_multiply_{unroll}"
    assembly = quoted(_assembly(unroll))
    return Microkernel(name, MULTIPLY.format(name=name, guard=GUARD, assembly=assembly))


MULTIPLY = """\
/* Transformed inputs of 4 tiles times weights of 4 output channels, summed over the channels. */
#if {guard}
__attribute__((naked, noinline)) static void {name}(
    const void *inputs __attribute__((unused)), const void *weights __attribute__((unused)),
    int32_t channels __attribute__((unused)), void *sums __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *inputs, const void *weights, int32_t channels, void *sums) {{
  int32_t *to = (int32_t *)sums;
  for (int32_t place = 0; place < 16; ++place) {{
    for (int32_t tile = 0; tile < 4; ++tile) {{
      for (int32_t n = 0; n < 4; ++n) {{
        const int16_t *const x = (const int16_t *)inputs + (4 * place) + tile;
        const int16_t *const w = (const int16_t *)weights + (4 * place) + n;
        int32_t acc = 0;
        for (int32_t c = 0; c < channels; ++c) {{
          acc += x[64 * c] * w[64 * c];
        }}
        *to++ = acc;
      }}
    }}
  }}
}}
#endif
"""
SUMS_END, CHANNELS_BYTES = range(2)  # words of the frame


def _assembly(unroll: int) -> list[str]:
    """The naked function: a0 inputs, a1 weights, a2 channels, a3 sums."""
    inputs, weights, sums = "a0", "a1", "a3"
    free = iter(r for r in REGISTERS if r not in (inputs, weights, sums))
    x = [next(free) for _ in range(BLOCK)]
    w = [next(free) for _ in range(2)]
    product, end = next(free), next(free)
    acc = [next(free) for _ in range(BLOCK * BLOCK)]  # [tile][channel]
    lines = [
        f"slli a2, a2, {CHANNEL_BYTES.bit_length() - 1}",
        f"sw a2, {4 * CHANNELS_BYTES}(sp)",
        f"addi a2, {sums}, {SUM_BYTES}",
        f"sw a2, {4 * SUMS_END}(sp)",
        "1:",
        f"lw {end}, {4 * CHANNELS_BYTES}(sp)",
        *(f"li {a}, 0" for a in acc),
        f"add {end}, {end}, {inputs}",
        ".balign 4",
        "2:",
    ]
    for c in range(unroll):
        at = c * CHANNEL_BYTES
        lines += [f"lh {v}, {at + 2 * i}({inputs})" for i, v in enumerate(x)]
        lines += [f"lh {v}, {at + 2 * n}({weights})" for n, v in enumerate(w)]
        for n in range(BLOCK):
            v = w[n % 2]
            for i in range(BLOCK):
                lines.append(f"mul {product}, {x[i]}, {v}")
                if i + 1 == BLOCK and n + 2 < BLOCK:
                    lines.append(f"lh {v}, {at + 2 * (n + 2)}({weights})")
                lines.append(f"add {acc[i * BLOCK + n]}, {acc[i * BLOCK + n]}, {product}")
    lines += [
        f"addi {inputs}, {inputs}, {unroll * CHANNEL_BYTES}",
        f"addi {weights}, {weights}, {unroll * CHANNEL_BYTES}",
        f"bne {inputs}, {end}, 2b",
        *(f"sw {a}, {4 * i}({sums})" for i, a in enumerate(acc)),
        f"lw {product}, {4 * CHANNELS_BYTES}(sp)",
        f"lw {end}, {4 * SUMS_END}(sp)",
        f"addi {sums}, {sums}, {4 * len(acc)}",
        f"sub {inputs}, {inputs}, {product}",
        f"sub {weights}, {weights}, {product}",
        f"addi {inputs}, {inputs}, {2 * BLOCK}",
        f"addi {weights}, {weights}, {2 * BLOCK}",
        f"bne {sums}, {end}, 1b",
    ]
    return framed(lines, 2)
