"""Weights of a few bits with a scale for each block of a row: unpacked while they are multiplied.

Values and zero points are stored less half of their range, so that the usual zero point is 0 and
costs nothing. Eight values of 4 bits lie in a word, the first in the lowest bits; those of 8 bits
are bytes. A block begins with a word of its own; what it adds up is multiplied by its scale once.
"""

from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import FOUR_BITS, Array, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import clamp_float
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

GROUP = 8  # values of a turn of the microkernels

_NIBBLE = "(float)(((int32_t)(v << {shift}) >> 28) - zero)"
_BYTE = "(float)(w[{i}] - zero)"


def _turn(value: str) -> str:
    """Two sums take turns, so that none waits for the other."""
    return "\n".join(
        f"    sum{i % 2} += x[{i}] * {value.format(i=i, shift=28 - 4 * i)};" for i in range(GROUP)
    )


NIBBLES = Microkernel(
    "tinyc_sum_nibbles",
    f"""\
/* The sum of x[i] * (w[i] - zero) of `count` values, eight weights of 4 bits a word. */
static float tinyc_sum_nibbles(const float *x, const uint32_t *w, int32_t count, int32_t zero) {{
  float sum0 = 0.0f;
  float sum1 = 0.0f;
  for (int32_t left = count / 8; left > 0; --left) {{
    const uint32_t v = *w++;
{_turn(_NIBBLE)}
    x += 8;
  }}
  if (count % 8 > 0) {{
    uint32_t v = *w;
    for (int32_t i = 0; i < count % 8; ++i) {{
      sum0 += x[i] * (float)(((int32_t)(v << 28) >> 28) - zero);
      v >>= 4;
    }}
  }}
  return sum0 + sum1;
}}
""",
)
BYTES = Microkernel(
    "tinyc_sum_bytes",
    f"""\
/* The sum of x[i] * (w[i] - zero) of `count` values. */
static float tinyc_sum_bytes(const float *x, const int8_t *w, int32_t count, int32_t zero) {{
  float sum0 = 0.0f;
  float sum1 = 0.0f;
  for (int32_t left = count / 8; left > 0; --left) {{
{_turn(_BYTE)}
    x += 8;
    w += 8;
  }}
  for (int32_t i = 0; i < count % 8; ++i) {{
    sum0 += x[i] * (float)(w[i] - zero);
  }}
  return sum0 + sum1;
}}
""",
)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, attrs = call.inputs[0], call.output, call.attrs
    few = call.inputs[1].dtype in FOUR_BITS
    half = 8 if few else 128
    points = _data(call.inputs[3]).astype(np.int16) - half
    constants = [_packed(_data(call.inputs[1]), attrs.block, few)]
    constants.append(Constant("scales", read_only(_data(call.inputs[2]).reshape(-1))))
    if np.ptp(points):
        constants.append(Constant("zeros", read_only(points.reshape(-1), "int8")))
    constants += [Constant("bias", _data(bias)) for bias in call.inputs[4:]]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    tables = {c.role: loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants}
    (n, k), blocks = call.inputs[1].shape, call.inputs[2].shape[1]
    pitch = attrs.block // GROUP if few else attrs.block
    acc, function = loops.local("acc", "float32"), NIBBLES if few else BYTES

    def take(r: Any, c: Any, b: Any, count: int) -> list[Any]:
        at = c * blocks + b
        total = loops.call(
            function.name, loops.pointer(source, r * k + b * attrs.block),
            loops.pointer(tables["weights"], at * pitch), loops.const(count),
            loops.load(tables["zeros"], at, "int32") if "zeros" in tables
            else loops.const(int(points.item(0))), dtype="float32",
        )  # fmt: skip
        return [loops.store(acc, 0, loops.load(acc, 0) + total * loops.load(tables["scales"], at))]

    def channel(r: Any, c: Any) -> list[Any]:
        whole, rest = divmod(k, attrs.block)
        last = take(r, c, loops.const(whole), rest) if rest else []
        zero = loops.const(0.0, "float32")
        first = loops.load(tables["bias"], c) if "bias" in tables else zero
        return [
            *loops.declare(acc),
            loops.store(acc, 0, first),
            *([loops.loop("b", whole, lambda b: take(r, c, b, attrs.block))] if whole else []),
            *last,
            loops.store(result, r * n + c, clamp_float(loops.load(acc, 0), attrs.clamp)),
        ]

    rows = x.elements // k
    body = [loops.loop("r", rows, lambda r: [loops.loop("c", n, lambda c: channel(r, c))])]
    return Kernel(
        "dense_blocks_of_scales",
        loops.function([source, result, *tables.values()], body),
        constants=tuple(constants),
        microkernels=(function,),
        float_code=True,
        note=f"{4 if few else 8}-bit weights, a scale for {attrs.block}",
    )


def _data(tensor: Tensor) -> Array:
    assert tensor.data is not None, f"'{tensor.name}' is constant"
    return tensor.data


def _packed(weights: Array, block: int, few: bool) -> Constant:
    """The rows [n, k], each filled up to whole blocks."""
    n, k = weights.shape
    rows: Array = np.zeros((n, -(-k // block) * block), np.uint8)
    if not few:
        rows[:, :k] = weights ^ 0x80  # less 128, as int8
        return Constant("weights", read_only(rows.view(np.int8).reshape(-1)))
    rows[:, :k] = weights.astype(np.uint8) ^ 8  # less 8, in 4 bits
    pairs = np.ascontiguousarray(rows[:, ::2] | rows[:, 1::2] << 4)
    return Constant("weights", read_only(pairs.view("<u4").reshape(-1), "uint32"))
