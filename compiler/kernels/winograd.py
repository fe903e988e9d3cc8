"""Conv2D 3x3 by Winograd's transforms: F(2x2,3x3), F(4x4,3x3) and one for stride 2; all exact.

The transformed weights lie in flash, 4 or 8 times the bytes of the plain ones; or the plain ones
do, and each pass makes the transformed weights of two output channels after the other again.
Weights of 4 bits lie there packed, and become bytes in the scratch before.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import FOUR_BITS, Array, DType, read_only
from tinyc.compiler.kernels.gemm_conv import suits_assembly, suits_nibbles
from tinyc.compiler.kernels.nibbles import UNPACK, Unpacking, packed_blocks
from tinyc.compiler.kernels.residual_sum import residual_sum
from tinyc.compiler.kernels.winograd_passes import image
from tinyc.compiler.kernels.winograd_sizes import (
    NOWHERE,
    Functions,
    Winograd,
    pass_of,
    places_of,
)
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import first_stage
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_dsp import dsp
from tinyc.targets.intrinsics.arm_winograd_input import columns, rows, strip
from tinyc.targets.intrinsics.arm_winograd_output import output
from tinyc.targets.intrinsics.arm_winograd_products import MOST_OFFSET, products
from tinyc.targets.intrinsics.arm_winograd_weights import GROUP_BYTES, packed_kernels, weights_rows
from tinyc.targets.intrinsics.winograd import (
    F2,
    F4,
    F4_PLAIN,
    F4_STRIDED,
    GROUP,
    LANES,
    Form,
    transformed_weights,
)

UNROLLED = 16  # groups of channels that are written out when the schedule leaves it open
WEIGHTS = ("flash", "scratch")  # where the transformed ones lie


def suits_2(call: Call, target: Target) -> bool:
    return suits_form(F2, call, target)


def suits_4(call: Call, target: Target) -> bool:
    return suits_form(F4 if call.attrs.strides == (1, 1) else F4_STRIDED, call, target)


def suits_nibble_weights(call: Call, target: Target) -> bool:
    """Of weights of 4 bits."""
    form = F4 if call.attrs.strides == (1, 1) else F4_STRIDED
    return _suits(form, call) and suits_nibbles(first_stage(call), target)


def kernel_2(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return _kernel(F2, call, target, schedule)


def kernel_4(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if call.attrs.strides == (2, 2):
        return _kernel(F4_STRIDED, call, target, schedule)
    return _kernel(F4_PLAIN if schedule.weights == "scratch" else F4, call, target, schedule)


def band_2(call: Call, schedule: Schedule) -> int:
    return _band(F2, call, schedule)


def band_4(call: Call, schedule: Schedule) -> int:
    return _band(F4, call, schedule)  # all forms of four outputs have the same tiles


def kernel_nibbles(call: Call, target: Target, schedule: Schedule) -> Kernel:
    return kernel_4(call, target, replace(schedule, weights="scratch"))


def suits_form(form: Form, call: Call, target: Target) -> bool:
    """3x3, one group, int8 throughout, two channels or more, an output of a tile or more."""
    return _suits(form, call) and suits_assembly(first_stage(call), target)


def _suits(form: Form, call: Call) -> bool:
    """All but the type of the weights, and how results are requantized."""
    (x, w), y, a = call.inputs[:2], call.output, call.attrs
    plain = a.strides == (form.stride, form.stride) and a.dilations == (1, 1) and a.groups == 1
    if not plain or w.shape[1:3] != (3, 3) or max(a.pads) > 2:
        return False
    if x.shape[0] != 1 or x.dtype != DType.INT8:
        return False
    oc, (_, oh, ow, _) = w.shape[0], y.shape
    least = ow if form.axes == 1 else min(oh, ow)
    if oc < 2 or oc * form.outputs > MOST_OFFSET or least < form.outputs:
        return False
    stage = first_stage(call)
    if y.dtype != DType.INT8 or stage.output.dtype != DType.INT8:
        return False
    return largest_sum(stage) < 1 << (31 - form.shift)


def largest_sum(stage: Call) -> int:
    """A bound of the magnitude of accumulators, bias included."""
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1)
    bias = folded_bias(stage, matrix).astype(np.int64)
    return int((np.abs(bias) + 128 * np.abs(matrix).sum(axis=1)).max())


def _band(form: Form, call: Call, schedule: Schedule) -> int:
    """Rows of the output that a pass computes."""
    return form.outputs * pass_of(form, call, schedule)[0]


def _kernel(form: Form, call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, stage = call.inputs[0], call.output, first_stage(call)
    groups = -(-x.shape[3] // GROUP)
    tile_rows, tile_columns = pass_of(form, call, schedule)
    shifted = not (output_requantization(stage).multipliers & ((1 << form.shift) - 1)).any()
    functions = _functions(form, stage, groups, schedule, shifted)
    weights, unpacking = _weights(form, stage, groups, bool(functions.weights))
    parameters = packed_parameters(form, stage, shifted, 2)
    sizes = Winograd(
        call, form, tile_rows, tile_columns, groups, NOWHERE, functions,
        loops.buffer("x", x.elements, "int8"),
        loops.buffer("y", y.elements, "int8"),
        loops.buffer("weights", weights.size, str(weights.dtype)),
        loops.buffer("parameters", parameters.size, "int32"),
        None,
        residual_sum(call, target),
        unpacking,
        loops.buffer("unpacked", 2 * groups * GROUP_BYTES, "int8"),
    )  # fmt: skip
    places = places_of(sizes)
    conv = replace(sizes, places=places, scratch=loops.buffer("scratch", places.end, "int32"))
    begin, end = loops.variable("row_begin"), loops.variable("row_end")
    moving = [conv.source] + ([] if conv.residual is None else [conv.residual.buffer])
    function = loops.function(
        [*moving, conv.result, conv.weights, conv.parameters, conv.scratch, begin, end],
        image(conv, begin, end),
    )
    where = "weights in scratch" if functions.weights else "weights in flash"
    where = where if unpacking is None else "4-bit weights"
    return Kernel(
        name="conv2d_3x3",
        function=function,
        constants=(Constant("weights", weights), Constant("parameters", parameters)),
        scratch_bytes=4 * places.end,
        microkernels=(
            *dsp("load_word"), functions.strip, functions.columns, functions.rows,
            *([] if unpacking is None else [UNPACK]),
            *functions.weights, functions.products, functions.output,
            *([] if conv.residual is None else [conv.residual.total.microkernel]),
        ),
        rows=y.shape[1],
        band=_band(form, call, schedule),
        gathers=conv.span == y.shape[2],
        note=f"winograd {form.outputs}x{form.outputs}, {where}{', add' if conv.residual else ''}",
    )  # fmt: skip


def _functions(
    form: Form, stage: Call, groups: int, schedule: Schedule, shifted: bool
) -> Functions:
    turn = turn_of(groups, schedule.unroll or UNROLLED)
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    parts = form.parts if schedule.weights == "scratch" else 0
    return Functions(
        strip(),
        columns(form),
        rows(form),
        tuple(weights_rows(form, part) for part in range(parts)),
        products(form, groups, turn, form.weight_positions // max(parts, 1)),
        output(form, stage.output.shape[3], shifted, low, high),
    )


def turn_of(groups: int, most: int) -> int:
    """The most groups of channels, up to `most`, that a whole number of turns multiplies."""
    return next(n for n in range(min(most, groups), 0, -1) if groups % n == 0)


def _weights(form: Form, stage: Call, groups: int, plain: bool) -> tuple[Array, Unpacking | None]:
    """The plain weights as `packed_kernels`, or the transformed ones as int16,

    [pair of output channels][group][position][half][channel of the pair][2].

    Weights of 4 bits are the plain ones, packed.
    """
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    ic, paired = w.shape[3], blocks_of(w.shape[0], 2)
    padded = np.zeros((len(paired), 3, 3, groups * GROUP), np.int64)
    padded[..., :ic] = centred(w.data, w)[paired]
    if w.dtype in FOUR_BITS:
        return packed_blocks(w, packed_kernels(padded).reshape(len(paired) // 2, -1))
    if plain:
        return packed_kernels(padded), None
    values = transformed_weights(form, padded)
    split = values.reshape(-1, 2, form.weight_positions, groups, 2, 2)  # ..., part, half
    return read_only(split.transpose(0, 3, 2, 5, 1, 4).reshape(-1), "int16"), None


def packed_parameters(form: Form, stage: Call, shifted: bool, size: int, offset: int = 0) -> Array:
    """For each `size` channels: their biases times the form's factor, then their multipliers.

    offset  what the kernel adds to all inputs
    """
    w = stage.inputs[1]
    assert w.data is not None, "the weights are constant"
    matrix = centred(w.data, w).reshape(w.shape[0], -1).astype(np.int64)
    bias = folded_bias(stage, matrix).astype(np.int64) - offset * matrix.sum(axis=1)
    multipliers = output_requantization(stage).multipliers >> (form.shift if shifted else 0)
    both = np.stack([bias * form.bias_factor, np.broadcast_to(multipliers, bias.shape)])
    both = both[:, blocks_of(w.shape[0], size)]
    words = (both & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return read_only(words.reshape(2, -1, size).transpose(1, 0, 2).reshape(-1), "int32")


def blocks_of(channels: int, size: int) -> list[int]:
    """The channels, `size` by `size`; the last block moves back over channels computed before."""
    return [
        min(first, channels - size) + i for first in range(0, channels, size) for i in range(size)
    ]


def space_2(call: Call, target: Target) -> Iterator[Schedule]:
    return _space(F2, call)


def space_4(call: Call, target: Target) -> Iterator[Schedule]:
    return _space(F4, call)


def space_nibbles(call: Call, target: Target) -> Iterator[Schedule]:
    return (replace(s, weights="") for s in _space(F4, call) if s.weights == "scratch")


def _space(form: Form, call: Call) -> Iterator[Schedule]:
    """Both places of the weights, passes of one, two or four groups of tiles, shorter turns."""
    groups = -(-call.inputs[0].shape[3] // GROUP)
    passes = {
        pass_of(form, call, Schedule(rows=count * LANES)): count * LANES for count in (4, 2, 1)
    }
    turns = {turn_of(groups, unroll): unroll for unroll in (4, UNROLLED)}
    for weights, tiles, unroll in itertools.product(WEIGHTS, passes.values(), turns.values()):
        yield Schedule(rows=tiles, unroll=unroll, weights=weights)
