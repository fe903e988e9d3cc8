"""A vector times a matrix with two products in a multiplication, for RISC-V cores without SIMD.

With a = a0 + (a1 << 16) and w = w1 + (w0 << 16) the high halfword of a * w mod 2^32 is
a0 * w0 + a1 * w1, once 0x8000 is added for the low one, a0 * w1. The products of a whole group
may be added before the shift, as long as their sum stays in 16 bits: where the absolute values of
the weights add up to 255 at most. What a weight has above that is an extra product of its own.

A word of four weights, each plus 128 so that it is a byte without a sign, becomes two pairs by
two masks. The 128 come off again by a constant that depends on the inputs of the group alone:

    packed inputs of a group of 4:  a2 + (a0 << 16), a3 + (a1 << 16),
                                    0x8000 - 0x00800080 * (sum of both) mod 2^32
    of 8:  both words of k 0..3, both of k 4..7, the constant for all four

Stream of weights (little-endian):

    header:      blocks of channels, groups, the bounds of `doubled.py`, channels (int32)
    each block:  biases (int32); for every group, for every channel its weights ^ 0x80 (uint8);
                 for every channel 4 * number of extras (int32), each k (uint16), weight (int8), an
                 unused byte; doubled multiplier (uint32)

The last block begins earlier where the channels are no whole blocks.
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.doubled import stored_doubled
from tinyc.targets.intrinsics.riscv_assembly import GUARD, REGISTERS, framed, quoted, requantized
from tinyc.targets.intrinsics.riscv_gemm import EXTRA, within_halfwords

GROUPS = (4, 8)  # products that are summed in a halfword
COLUMNS = (4, 8)  # channels of a block


def packed_stream(
    weights: Array, bias: Array, doubled: Array, bounds: list[int], group: int, columns: int
) -> Array:
    """The stream of the module's text; weights [channels, K] whole numbers, K in whole groups."""
    channels, products = weights.shape
    kept = within_halfwords(weights.astype(np.int64), group)
    extra = weights.astype(np.int64) - kept
    starts = [min(n, channels - columns) for n in range(0, channels, columns)]
    header = [len(starts), products // group, *bounds, channels]
    parts = [np.array(header, "<i4").tobytes()]
    for n in starts:
        rows = slice(n, n + columns)
        groups = (kept[rows] + 128).astype(np.uint8).reshape(columns, -1, group)
        parts += [bias[rows].astype("<i4").tobytes(), groups.transpose(1, 0, 2).tobytes()]
        for row, multiplier in zip(extra[rows], doubled[rows], strict=True):
            listed = [(k, row[k]) for k in np.flatnonzero(row).tolist()]
            parts.append(np.array([4 * len(listed)], "<i4").tobytes())
            parts += [np.array(listed, EXTRA).tobytes(), multiplier.tobytes()]
    return read_only(np.frombuffer(b"".join(parts), np.int8))


def number_of_extras(weights: Array, group: int) -> int:
    """Products that do not fit the groups."""
    whole = weights.astype(np.int64)
    return int(np.count_nonzero(whole - within_halfwords(whole, group)))


def pack(group: int) -> Microkernel:
    """`tinyc_pack_halves_<group>(x, groups, lanes)`: inputs as the module's text says."""
    words = [f"x[{k + 2}] + (x[{k}] * 65536)" for q in range(0, group, 4) for k in (q, q + 1)]
    lines = [f"    const uint32_t pair_{i} = (uint32_t)({w});" for i, w in enumerate(words)]
    lines += [f"    *words++ = pair_{i};" for i in range(len(words))]
    total = " + ".join(f"pair_{i}" for i in range(len(words)))
    lines.append(f"    *words++ = 0x8000u - (0x00800080u * ({total}));")
    name = f"tinyc_pack_halves_{group}"
    return Microkernel(name, PACK.format(name=name, group=group, lines="\n".join(lines)))


PACK = """\
/* Inputs two in a word; after each {group} the constant that takes the weights' 128 off. */
static __attribute__((noinline)) void {name}(const int8_t *x, int32_t groups, void *lanes) {{
  uint32_t *words = (uint32_t *)lanes;
  for (int32_t g = 0; g < groups; ++g) {{
{lines}
    x += {group};
  }}
}}
"""


def dense(group: int, columns: int) -> Microkernel:
    """`tinyc_pair_dense_<group>x<columns>(lanes, stream, y, x)`: every channel of a vector."""
    name = f"tinyc_pair_dense_{group}x{columns}"
    assembly = quoted(_assembly(group, columns))
    text = TEXT.format(name=name, guard=GUARD, assembly=assembly, group=group, columns=columns)
    return Microkernel(name, text, (stored_doubled(),))


TEXT = """\
/* A vector times all channels of the stream, {columns} a turn; two products in a multiplication. */
#if {guard}
__attribute__((naked, noinline)) static void {name}(
    const void *lanes __attribute__((unused)), const int8_t *stream __attribute__((unused)),
    int8_t *y __attribute__((unused)), const int8_t *x __attribute__((unused))) {{
  __asm volatile(
{assembly}
  );
}}
#else
static void {name}(const void *lanes, const int8_t *stream, int8_t *y, const int8_t *x) {{
  int32_t header[6];
  (void)lanes;
  memcpy(header, stream, sizeof header);
  stream += sizeof header;
  for (int32_t b = 0; b < header[0]; ++b) {{
    int8_t *const to = &y[tinyc_min({columns} * b, header[5] - {columns})];
    const int8_t *const weights = &stream[4 * {columns}];
    const int8_t *extras = &weights[header[1] * {group} * {columns}];
    for (int32_t n = 0; n < {columns}; ++n) {{
      int32_t acc;
      int32_t extra_bytes;
      uint32_t doubled;
      memcpy(&acc, &stream[4 * n], 4u);
      memcpy(&extra_bytes, extras, 4u);
      extras += 4;
      for (int32_t k = 0; k < header[1] * {group}; ++k) {{
        const int32_t at = (((k / {group} * {columns}) + n) * {group}) + (k % {group});
        acc += x[k] * ((int32_t)(uint8_t)weights[at] - 128);
      }}
      for (int32_t e = 0; e < extra_bytes; e += 4) {{
        uint16_t k;
        memcpy(&k, &extras[e], 2u);
        acc += x[k] * extras[e + 2];
      }}
      memcpy(&doubled, &extras[extra_bytes], 4u);
      extras += extra_bytes + 4;
      to[n] = tinyc_stored_doubled(acc, doubled, &header[2]);
    }}
    stream = extras;
  }}
}}
#endif
"""
Y, LAST_Y, X, BASE, END, BLOCKS, OFFSET, REACH, LOW = range(9)  # words of the frame
FRAME_WORDS = 9


def _assembly(group: int, columns: int) -> list[str]:
    """The naked function: a0 lanes, a1 stream, a2 y, a3 x."""
    pairs = group // 2
    word_bytes = 4 * (pairs + 1)
    free = iter(REGISTERS)
    words = [next(free) for _ in range(group // 4)]
    even, total, product = (next(free) for _ in range(3))
    stream, at, end, mask = (next(free) for _ in range(4))
    x = [next(free) for _ in range(pairs + 1)]
    acc = [next(free) for _ in range(columns)]
    lines = [
        f"sw a2, {4 * Y}(sp)",
        f"sw a3, {4 * X}(sp)",
        f"sw a0, {4 * BASE}(sp)",
        "lw a3, 20(a1)",
        f"addi a3, a3, -{columns}",
        "add a3, a3, a2",
        f"sw a3, {4 * LAST_Y}(sp)",
        "lw a3, 4(a1)",
        f"li a4, {word_bytes}",
        "mul a3, a3, a4",
        "add a3, a3, a0",
        f"sw a3, {4 * END}(sp)",
    ]
    for offset, slot in ((0, BLOCKS), (8, OFFSET), (12, REACH), (16, LOW)):
        lines += [f"lw a4, {offset}(a1)", f"sw a4, {4 * slot}(sp)"]
    lines += [
        f"addi {stream}, a1, 24",
        f"lui {mask}, 0xff0",
        f"addi {mask}, {mask}, 0xff",
        "1:",
        *(f"lw {a}, {4 * n}({stream})" for n, a in enumerate(acc)),
        f"addi {stream}, {stream}, {4 * columns}",
        f"lw {at}, {4 * BASE}(sp)",
        f"lw {end}, {4 * END}(sp)",
        ".balign 4",
        "2:",
        *(f"lw {v}, {4 * i}({at})" for i, v in enumerate(x)),
    ]
    for n, a in enumerate(acc):
        lines += [f"lw {v}, {group * n + 4 * i}({stream})" for i, v in enumerate(words)]
        for i, word in enumerate(words):
            to = product if i else total
            lines += [
                f"and {even}, {word}, {mask}",
                f"srli {word}, {word}, 8",
                f"and {word}, {word}, {mask}",
                f"mul {to}, {x[2 * i]}, {even}",
                *([f"add {total}, {total}, {product}"] if i else []),
                f"mul {product}, {x[2 * i + 1]}, {word}",
                f"add {total}, {total}, {product}",
            ]
        lines += [
            f"add {total}, {total}, {x[pairs]}",
            f"srai {total}, {total}, 16",
            f"add {a}, {a}, {total}",
        ]
    lines += [f"addi {stream}, {stream}, {group * columns}"]
    lines += [f"addi {at}, {at}, {word_bytes}", f"bne {at}, {end}, 2b"]
    place, index, bounds = end, even, (x[0], x[1], x[2])
    lines += [f"lw {b}, {4 * (OFFSET + i)}(sp)" for i, b in enumerate(bounds)]
    lines += [f"lw {place}, {4 * Y}(sp)"]
    for n, a in enumerate(acc):
        lines += [
            f"lw {at}, 0({stream})",
            f"addi {stream}, {stream}, 4",
            f"add {at}, {at}, {stream}",
            f"beq {at}, {stream}, 4f",
            "3:",
            f"lhu {index}, 0({stream})",
            f"lw {product}, {4 * X}(sp)",
            f"lb {total}, 2({stream})",
            f"add {index}, {index}, {product}",
            f"lb {index}, 0({index})",
            f"addi {stream}, {stream}, 4",
            f"mul {index}, {index}, {total}",
            f"add {a}, {a}, {index}",
            f"bne {stream}, {at}, 3b",
            "4:",
            f"lw {total}, 0({stream})",
            f"addi {stream}, {stream}, 4",
            *requantized(a, total, bounds, product),
            f"sb {a}, {n}({place})",
        ]
    lines += [
        f"lw {index}, {4 * LAST_Y}(sp)",
        f"lw {total}, {4 * BLOCKS}(sp)",
        f"addi {place}, {place}, {columns}",
        f"bgeu {index}, {place}, 5f",
        f"mv {place}, {index}",
        "5:",
        f"sw {place}, {4 * Y}(sp)",
        f"addi {total}, {total}, -1",
        f"sw {total}, {4 * BLOCKS}(sp)",
        f"bnez {total}, 1b",
    ]
    return framed(lines, FRAME_WORDS)
