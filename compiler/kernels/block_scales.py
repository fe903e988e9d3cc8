"""Weights of a few bits with a scale for each block of a row: unpacked while they are multiplied.

Values and zero points are stored less half of their range, so that the usual zero point is 0 and
costs nothing. Eight values of 4 bits lie in a word, the first in the lowest bits; those of 8 bits
are bytes. A block begins with a word of its own; what it adds up is multiplied by its scale once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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

_NIBBLE = "(float)(((int32_t)({word} << {shift}) >> 28) - {zero})"
_BYTE = "(float)({word}[{i}] - {zero})"


_FUNCTION = """\
/* sums[r] is the sum of x[i] * (r[i] - zero of r) of `count` values{packing}. */
static void {name}(const float *x, const {type} *row0, const {type} *row1,
    int32_t count, int32_t zero0, int32_t zero1, float *sums) {{
  float sum0 = 0.0f;
  float sum1 = 0.0f;
  for (int32_t left = count / 8; left > 0; --left) {{
{turn}
  }}
{rest}
  sums[0] = sum0;
  sums[1] = sum1;
}}
"""


def _function(name: str, dtype: str, packing: str, turn: str, rest: str) -> Microkernel:
    """turn, rest: what is done with eight values, and with the last ones."""
    text = _FUNCTION.format(name=name, type=dtype, packing=packing, turn=turn, rest=rest)
    return Microkernel(name, text)


def _products(value: str, rows: tuple[str, str]) -> str:
    """The products of eight values of x with two rows of weights."""
    lines = []
    for i in range(GROUP):
        lines.append(f"    const float x{i} = x[{i}];")
        for row, word in enumerate(rows):
            term = value.format(i=i, shift=28 - 4 * i, word=word, zero=f"zero{row}")
            lines.append(f"    sum{row} += x{i} * {term};")
    return "\n".join(lines)


NIBBLES = _function(
    "tinyc_sum_nibbles",
    "uint32_t",
    ", eight of r in a word",
    f"""\
    const uint32_t v = *row0++;
    const uint32_t w = *row1++;
{_products(_NIBBLE, ("v", "w"))}
    x += 8;""",
    """\
  if (count % 8 > 0) {
    uint32_t v = *row0;
    uint32_t w = *row1;
    for (int32_t i = 0; i < count % 8; ++i) {
      sum0 += x[i] * (float)(((int32_t)(v << 28) >> 28) - zero0);
      sum1 += x[i] * (float)(((int32_t)(w << 28) >> 28) - zero1);
      v >>= 4;
      w >>= 4;
    }
  }""",
)
BYTES = _function(
    "tinyc_sum_bytes",
    "int8_t",
    "",
    f"""\
{_products(_BYTE, ("row0", "row1"))}
    x += 8;
    row0 += 8;
    row1 += 8;""",
    """\
  for (int32_t i = 0; i < count % 8; ++i) {
    sum0 += x[i] * (float)(row0[i] - zero0);
    sum1 += x[i] * (float)(row1[i] - zero1);
  }""",
)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A call's buffers, and what is known of its weights.

    tables  by role: "weights", "scales", "zeros" unless all are `zero`, "bias" if there is one
    pitch   elements of the table of weights for a block
    """

    call: Call
    tables: Mapping[str, Any]
    zero: int
    pitch: int
    function: Microkernel
    source: Any
    result: Any
    acc: Any
    sums: Any


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, block = call.inputs[0], call.output, call.attrs.block
    few = call.inputs[1].dtype in FOUR_BITS
    points = _data(call.inputs[3]).astype(np.int16) - (8 if few else 128)
    constants = [_packed(_data(call.inputs[1]), block, few)]
    constants.append(Constant("scales", read_only(_data(call.inputs[2]).reshape(-1))))
    if np.ptp(points):
        constants.append(Constant("zeros", read_only(points.reshape(-1), "int8")))
    constants += [Constant("bias", _data(bias)) for bias in call.inputs[4:]]
    layer = Layer(
        call,
        {c.role: loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants},
        int(points.item(0)),
        block // GROUP if few else block,
        NIBBLES if few else BYTES,
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.local("acc", "float32", 2),
        loops.local("sums", "float32", 2),
    )
    rows = x.elements // call.inputs[1].shape[1]
    return Kernel(
        "dense_blocks_of_scales",
        loops.function(
            [layer.source, layer.result, *layer.tables.values()],
            [loops.loop("r", rows, lambda r: _row(layer, r))],
        ),
        constants=tuple(constants),
        microkernels=(layer.function,),
        float_code=True,
        note=f"{4 if few else 8}-bit weights, a scale for {block}",
    )


def _row(layer: Layer, r: Any) -> list[Any]:
    """Two channels at a time share what is loaded of x; a last one alone is both of them."""
    pairs, odd = divmod(layer.call.inputs[1].shape[0], 2)
    lines = loops.declare(layer.acc, layer.sums)
    if pairs:
        lines.append(loops.loop("p", pairs, lambda p: _channels(layer, r, p * 2, 2)))
    if odd:
        lines += _channels(layer, r, loops.const(pairs * 2), 1)
    return lines


def _channels(layer: Layer, r: Any, first: Any, count: int) -> list[Any]:
    (n, k), block = layer.call.inputs[1].shape, layer.call.attrs.block
    whole, rest = divmod(k, block)
    lines = [
        loops.store(layer.acc, i, _table_value(layer, "bias", first + i)) for i in range(count)
    ]
    if whole:
        lines.append(loops.loop("b", whole, lambda b: _block(layer, r, first, b, (count, block))))
    if rest:
        lines += _block(layer, r, first, loops.const(whole), (count, rest))
    clamp = layer.call.attrs.clamp
    return lines + [
        loops.store(layer.result, r * n + first + i, clamp_float(loops.load(layer.acc, i), clamp))
        for i in range(count)
    ]


def _block(layer: Layer, r: Any, first: Any, b: Any, size: tuple[int, int]) -> list[Any]:
    """`size` channels and values of block `b`, added to what there is."""
    (_, k), blocks = layer.call.inputs[1].shape, layer.call.inputs[2].shape[1]
    count, values = size
    places = [(first + i % count) * blocks + b for i in range(2)]
    weights = [loops.pointer(layer.tables["weights"], at * layer.pitch) for at in places]
    zeros = [_table_value(layer, "zeros", at) for at in places]
    x = loops.pointer(layer.source, r * k + b * layer.call.attrs.block)
    arguments = (x, *weights, loops.const(values), *zeros, loops.pointer(layer.sums))
    return [loops.run(layer.function.name, *arguments)] + [
        loops.store(layer.acc, i, loops.load(layer.acc, i)
                    + loops.load(layer.sums, i) * loops.load(layer.tables["scales"], places[i]))
        for i in range(count)
    ]  # fmt: skip


def _table_value(layer: Layer, role: str, at: Any) -> Any:
    """A zero point or bias; what it is where there is no table of them."""
    dtype, constant = ("int32", layer.zero) if role == "zeros" else ("float32", 0.0)
    if role not in layer.tables:
        return loops.const(constant, dtype)
    return loops.load(layer.tables[role], at, dtype)


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
