"""Dense of floats by the blocks of `targets/intrinsics/arm_vfp.py`: a row of x is one pixel."""

from collections.abc import Iterator

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import read_only
from tinyc.compiler.kernels import float_block
from tinyc.compiler.kernels.float_block import Reads
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.arm_vfp_clamps import is_simple

CHANNELS = (8, 4, 12)  # of a block; the first is the rule


def suits(call: Call, target: Target) -> bool:
    """Floats on a core with an FPU, and a clamp that its blocks know."""
    x, w, *bias = call.inputs
    return float_block.suits_stored(x, w, bias, target) and is_simple(call.attrs.clamp)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """How many channels share a value of x, and how far their loop is written out."""
    return float_block.shapes([(1, channels) for channels in CHANNELS])


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    matrix = float_block.matrix_of(w)
    channels = min(schedule.columns or CHANNELS[0], n)
    unroll = schedule.unroll or float_block.UNROLLS[0]
    values, parts = float_block.parts_of(
        matrix, float_block.bias_of(call.inputs, n), [1], channels, unroll,
        call.attrs.clamp, target,
    )  # fmt: skip
    source = loops.buffer("x", x.elements, x.dtype)
    result = loops.buffer("y", y.elements, y.dtype)
    stream = loops.buffer("stream", values.size, str(values.dtype))
    rows = loops.const(x.elements // k)
    body = [
        float_block.run_part(
            part, 1, stream, loops.pointer(source), Reads(k, 0, 1, k), (result, 0), n, rows
        )
        for part in parts
    ]
    return Kernel(
        name="dense",
        function=loops.function([source, result, stream], body),
        constants=(Constant("stream", read_only(values)),),
        microkernels=tuple(part.blocks[1] for part in parts),
        float_code=True,
        note=f"float 1x{channels}, assembly{matrix.note}",
    )
