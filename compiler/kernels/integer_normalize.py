"""Normalize of stored integers: two reads of a line, and one 64-bit sum and root for all of it.

The formulas are those of `ops/normalize_integer.py`. Factors of a line that wrap around modulo
2^32 do no harm: what they give, t, fits.
"""

from collections.abc import Callable
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.copying import broadcast_strides, strided_nest
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.normalize_integer import FRACTION, Factors, count_of, factors
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

FACTORS = """\
/* value * 2^-shift modulo 2^32, rounded down; -32 < shift < 64. */
static inline uint32_t tinyc_shifted(int64_t value, int32_t shift) {{
  return (uint32_t)((shift >= 0) ? (uint64_t)(value >> shift) : ((uint64_t)value << -shift));
}}

/* factors[0] and [1] = count and offset * 2^(bits + 8) / sqrt(square), rounded down, modulo 2^32.
 * The root has 24 bits, one for each turn; its inverse is divided out a byte at a time. */
TINYC_HELPER void {name}(int64_t square, int32_t count, int32_t offset, int32_t bits,
                         uint32_t *factors) {{
  uint64_t w = (square > 0) ? (uint64_t)square : 1u;
  int32_t shift = 38 - bits;
  for (int32_t step = 32; step >= 2; step /= 2) {{
    if ((w >> (48 - step)) == 0u) {{
      w <<= step;
      shift -= step / 2;
    }}
  }}
  while ((w >> 48) != 0u) {{
    w >>= 2;
    shift += 1;
  }}
  w <<= 16;
  uint32_t root = 0u;
  uint32_t rest = 0u;
  for (int32_t i = 0; i < 24; ++i) {{
    const uint32_t trial = (root << 2) | 1u;
    rest = (rest << 2) | (uint32_t)(w >> 62);
    w <<= 2;
    root <<= 1;
    if (rest >= trial) {{
      rest -= trial;
      root |= 1u;
    }}
  }}
  uint32_t inverse = 0u;
  rest = UINT32_C(1) << 22;
  for (int32_t i = 0; i < 3; ++i) {{
    const uint32_t digit = {divide}(rest << 8, root);
    inverse = (inverse << 8) + digit;
    rest = (rest << 8) - digit * root;
  }}
  factors[0] = tinyc_shifted((int64_t)count * (int64_t)inverse, shift);
  factors[1] = tinyc_shifted((int64_t)offset * (int64_t)inverse, shift);
}}
"""
LONG_PRODUCT = Microkernel(
    "tinyc_normalized",
    """\
/* (floor(t * g / 2^16) + h) >> bits */
static inline int32_t tinyc_normalized(int32_t t, int32_t g, int32_t h, int32_t bits) {
  return ((int32_t)(((int64_t)t * (g * 65536)) >> 32) + h) >> bits;
}
""",
)
PRODUCT_OF_HALVES = Microkernel(
    "tinyc_normalized_16",
    """\
/* (floor(t * g / 2^16) + h) >> bits, from halves of t */
static inline int32_t tinyc_normalized_16(int32_t t, int32_t g, int32_t h, int32_t bits) {
  const int32_t low = ((int32_t)((uint32_t)t & 0xffffu) * g) >> 16;
  return (((t >> 16) * g + low) + h) >> bits;
}
""",
)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, *_), y, a = call.inputs, call.output, call.attrs
    f = factors(call)
    assert f is not None, "can_quantize has asked"
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    constants = (Constant("scale", read_only(f.scale)), Constant("shift", read_only(f.shift)))
    buffers = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    every = [broadcast_strides(x.shape, x.shape)]
    every += [
        broadcast_strides(t.shape, x.shape) if c.array.size > 1 else [0] * len(x.shape)
        for t, c in zip((*call.inputs[1:], x, x), constants, strict=False)
    ]
    divided = "hardware-divide" in target.features
    line_factors = _line_factors(divided)
    product = LONG_PRODUCT if "long-multiply" in target.features else PRODUCT_OF_HALVES
    line = _line(call, f, (source, result, *buffers), [[s[i] for i in a.axes] for s in every],
                 line_factors.name, product.name)  # fmt: skip
    kept = [axis for axis in range(len(x.shape)) if axis not in a.axes]
    shape, strides = tuple(x.shape[i] for i in kept), [[s[i] for i in kept] for s in every]
    return Kernel(
        f"normalize_{a.measure}",
        loops.function([source, result, *buffers], strided_nest(shape, strides, (0,) * 3, line)),
        constants,
        microkernels=(line_factors, product),
        in_place=True,
        note="integer",
    )


def _line_factors(divided: bool) -> Microkernel:
    """By the target's division; other names for other texts."""
    name = "tinyc_line_factors" if divided else "tinyc_line_factors_by_shifts"
    divide = "tinyc_divide" if divided else "tinyc_divide_by_shifts"
    return Microkernel(name, FACTORS.format(name=name, divide=divide))


def _line(
    call: Call, f: Factors, buffers: tuple[Any, ...], gone: list[list[int]], find: str, product: str
) -> Callable[..., list[Any]]:
    """What is normalized together; `gone` are the strides along the axes: of x, scale, shift."""
    x, y, a = call.inputs[0], call.output, call.attrs
    assert x.quant is not None
    source, result, scale, shift = buffers
    n, zero, centred = count_of(call), x.quant.zero_point[0], a.measure == "variance"
    shape, bounds = tuple(x.shape[i] for i in a.axes), stored_bounds(y, a.clamp)
    total, squares = loops.local("total"), loops.local("squares")
    both, own = loops.local("factors", "uint32", 2), loops.local("value")
    slope, start = loops.local("slope", "uint32"), loops.local("start", "uint32")

    def of(buffer: Any, at: int = 0) -> Any:
        return loops.load(buffer, at)

    def add(at: Any) -> list[Any]:
        value = loops.load(source, at, "int32")
        lines = [*loops.declare(own), loops.store(own, 0, value if centred else value - zero)]
        if centred:
            lines.append(loops.store(total, 0, of(total) + of(own)))
        return [*lines, loops.store(squares, 0, of(squares) + of(own) * of(own))]

    def write(at: Any, g: Any, h: Any) -> list[Any]:
        value = loops.load(source, at, "int32").astype("uint32")
        t = (value * of(slope) - of(start)).astype("int32")
        steps = loops.call(
            product, t, loops.load(scale, g, "int32"), loops.load(shift, h), loops.const(f.bits)
        )
        return [loops.store(result, at, loops.clamp(steps, *bounds))]

    def line(*starts: Any) -> list[Any]:
        wide = loops.const(n, "int64") * of(squares).astype("int64")
        if centred:
            wide = wide - of(total).astype("int64") * of(total).astype("int64")
        wide = wide * loops.const(1 << FRACTION, "int64") + loops.const(f.epsilon, "int64")
        offset = of(total) if centred else loops.const(n * zero)
        return [
            *loops.declare(*([total] if centred else []), squares, both, slope, start),
            *([loops.store(total, 0, loops.const(0))] if centred else []),
            loops.store(squares, 0, loops.const(0)),
            *strided_nest(shape, gone[:1], starts[:1], add, "rstuvw"),
            loops.run(
                find, wide, loops.const(n), offset, loops.const(f.step_bits), loops.pointer(both)
            ),
            loops.store(slope, 0, of(both)),
            loops.store(start, 0, of(both, 1)),
            *strided_nest(shape, gone, starts, write, "rstuvw"),
        ]

    return line
