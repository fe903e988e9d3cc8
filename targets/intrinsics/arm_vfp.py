"""Blocks of a float matrix product in assembly, for Thumb cores with an FPU.

A block is `pixels` x `channels` accumulators in the FPU's registers; `arm_vfp_assembly.py` has its
steps. This has what the C around it sees, and the same block in C for other cores.

Stream of weights, for every `channels` of the output: their biases, then for each value of the
window their weights, side by side. `arm_vfp_stored.py` has that of weights smaller than floats.
"""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics import arm_vfp_stored
from tinyc.targets.intrinsics.arm_assembly import quoted
from tinyc.targets.intrinsics.arm_vfp_assembly import FloatBlock, assembly
from tinyc.targets.intrinsics.arm_vfp_clamps import clamped_text
from tinyc.targets.intrinsics.arm_vfp_stored import FLOAT32, LOAD_FLOAT, LOAD_HALF, is_whole


def packed_stream(weights: Array, bias: Array, channels: int) -> Array:
    """The stream of the module's text; weights [outputs, K], outputs a multiple of `channels`."""
    outputs, _ = weights.shape
    parts = []
    for n in range(0, outputs, channels):
        parts += [bias[n : n + channels], weights[n : n + channels].T.reshape(-1)]
    return read_only(np.concatenate(parts), "float32")


def float_block(shape: FloatBlock) -> Microkernel:
    """The function of a block; `TEXT` says what its parameters mean."""
    pixels, channels = range(shape.pixels), range(shape.channels)
    accs = [(p, c, f"acc_{p}{c}") for p in pixels for c in channels]
    places = {a: f"at + ({p} * y_pixel) + {c}" for p, c, a in accs}
    residual = {a: f" + residual[{places[a]}]" if shape.residual else "" for _, _, a in accs}
    starts = {a: f"{_c_start(shape, c)}{residual[a]}" for _, c, a in accs}
    whole = is_whole(shape.stored)
    lines = {
        "starts": [f"float {a} = {'0.0f' if whole else starts[a]};" for _, _, a in accs],
        "values": [f"const float x_{p} = row[k + ({p} * x_pixel)];" for p in pixels],
        "products": [
            f"{a} = fmaf(x_{p}, {w}, {a});" if shape.fused else f"{a} += x_{p} * {w};"
            for p, c, a in accs
            for w in [_c_weight(shape, c)]
        ],
        "stores": [f"y[{places[a]}] = {clamped_text(a, shape.clamp)};" for _, _, a in accs],
    }
    if shape.stored != FLOAT32:
        lines["stores"] = [*_c_scaled(shape, accs, residual), *lines["stores"]]
    stream = "float" if shape.stored == FLOAT32 else "int8_t"
    parameters = [p.format(stream=stream) for p in PARAMETERS]
    parameters += ["const float *residual"] if shape.residual else []
    text = TEXT.format(
        name=shape.name,
        pixels=shape.pixels,
        channels=shape.channels,
        also=" The residual is added." if shape.residual else "",
        naked=",\n    ".join(f"{p} __attribute__((unused))" for p in parameters),
        plain=",\n    ".join(parameters),
        assembly=quoted(assembly(shape)),
        stream=stream,
        start=_start_units(shape),
        step=shape.channels if shape.stored == FLOAT32 else shape.step_bytes,
        starts="\n      ".join(lines["starts"]),
        values="\n          ".join(lines["values"]),
        products="\n          ".join(lines["products"]),
        stores="\n      ".join(lines["stores"]),
    )
    needs = {FLOAT32: (), "float16": (LOAD_FLOAT, LOAD_HALF)}.get(shape.stored, (LOAD_FLOAT,))
    return Microkernel(shape.name, text, needs)


def _c_start(shape: FloatBlock, channel: int) -> str:
    """The bias of a channel."""
    return f"w[{channel}]" if shape.stored == FLOAT32 else f"tinyc_load_float(&w[{4 * channel}])"


def _start_units(shape: FloatBlock) -> int:
    """Elements of the stream before the weights."""
    if shape.stored == FLOAT32:
        return shape.channels
    return 0 if is_whole(shape.stored) else 4 * shape.channels


def _c_weight(shape: FloatBlock, channel: int) -> str:
    if shape.stored == FLOAT32:
        return f"w[{channel}]"
    return arm_vfp_stored.c_weight(shape.stored, channel)


def _c_scaled(
    shape: FloatBlock, accs: list[tuple[int, int, str]], residual: dict[str, str]
) -> list[str]:
    """C: to the end of the weights' last word; of integers scales, biases and residual."""
    lines = []
    if shape.step_bytes % 4:
        lines.append(f"w += ({shape.step_bytes} * rows * values) & 2;")
    if is_whole(shape.stored):
        for _, c, a in accs:
            bias = f"tinyc_load_float(&w[{4 * (shape.channels + c)}])"
            lines.append(f"{a} = ({a} * tinyc_load_float(&w[{4 * c}])) + {bias}{residual[a]};")
        lines.append(f"w += {8 * shape.channels};")
    return lines


PARAMETERS = (
    "const float *x",
    "const {stream} *stream",
    "float *y",
    "int32_t blocks",
    "const {stream} *end",
    "int32_t x_pixel",
    "int32_t x_row",
    "int32_t rows",
    "int32_t values",
    "int32_t y_pixel",
    "int32_t x_group",
)
TEXT = """\
/* `blocks` times {pixels} neighbouring pixels, all channels of the stream.{also}
 *
 * x_pixel, y_pixel  from pixel to pixel, in floats
 * x_row             from row to row of a window of `rows` rows of `values` neighbouring floats
 * x_group           from {channels} channels to the next of the same block; 0: they read the same
 * end               behind the stream */
#if defined(__thumb2__) && defined(__ARM_FP)
__attribute__((naked, noinline, aligned(4))) static void {name}(
    {naked}) {{
  __asm volatile(
{assembly}
  );
}}
#else
TINYC_SHARED_KERNEL void {name}(
    {plain}) {{
  for (int32_t block = 0; block < blocks; ++block) {{
    int32_t at = block * {pixels} * y_pixel;
    const {stream} *w = stream;
    const float *group = x;
    while (w != end) {{
      {starts}
      const float *row = group;
      w += {start};
      for (int32_t i = 0; i < rows; ++i) {{
        for (int32_t k = 0; k < values; ++k) {{
          {values}
          {products}
          w += {step};
        }}
        row += x_row;
      }}
      {stores}
      at += {channels};
      group += x_group;
    }}
    x += {pixels} * x_pixel;
  }}
}}
#endif
"""
