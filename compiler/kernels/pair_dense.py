"""Dense by the blocks of `targets/intrinsics/riscv_dense.py`: two products in a multiplication."""

from collections.abc import Iterator
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array
from tinyc.compiler.kernels.lane_conv import suits_weights
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.doubled import bounds, doubled
from tinyc.targets.intrinsics.riscv_dense import (
    COLUMNS,
    GROUPS,
    dense,
    number_of_extras,
    pack,
    packed_stream,
)

MOST_PRODUCTS = 1 << 15  # keeps an extra's k in 16 bits
FEWEST_WEIGHTS = 1024  # below, the block is more code than the plain loop is cycles
EXTRA_CYCLES = 10
GROUP_CYCLES = {4: 10, 8: 18}


def suits(call: Call, target: Target) -> bool:
    """int8 throughout, whole groups of products, channels for a block, and enough of them all."""
    n, k = call.inputs[1].shape
    shape = k % GROUPS[0] == 0 and k <= MOST_PRODUCTS and n >= COLUMNS[0]
    shape = shape and n * k >= FEWEST_WEIGHTS
    return shape and suits_weights(call, target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """Every block, and both lengths of a group."""
    n, k = call.inputs[1].shape
    for columns in COLUMNS:
        for group in GROUPS:
            if n >= columns and k % group == 0:
                yield Schedule(columns=columns, unroll=group)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    assert w.data is not None and y.quant is not None
    matrix = centred(w.data, w)
    group = schedule.unroll or _rule_of_group(matrix)
    columns = schedule.columns or (COLUMNS[1] if n % COLUMNS[1] == 0 else COLUMNS[0])
    stream = packed_stream(
        matrix,
        folded_bias(call, matrix),
        doubled(output_requantization(call), n),
        bounds(y.quant.zero_point[0], *stored_bounds(y, call.attrs.clamp)),
        group,
        columns,
    )
    lane_bytes = k // group * (group // 2 + 1) * 4
    packer, multiply = pack(group), dense(group, columns)
    source = loops.buffer("x", x.elements, "int8")
    result = loops.buffer("y", y.elements, "int8")
    table = loops.buffer("stream", stream.size, "int8")
    lanes = loops.buffer("scratch", lane_bytes, "int8")

    def row(r: Any) -> list[Any]:
        values, place = loops.pointer(source, r * k), loops.pointer(lanes)
        return [
            loops.run(packer.name, values, loops.const(k // group), place),
            loops.run(
                multiply.name, place, loops.pointer(table), loops.pointer(result, r * n), values
            ),
        ]

    return Kernel(
        name="dense",
        function=loops.function(
            [source, result, table, lanes], [loops.loop("r", x.elements // k, row)]
        ),
        constants=(Constant("stream", stream),),
        scratch_bytes=lane_bytes,
        microkernels=(packer, multiply),
        note=f"pairs 1x{columns}, groups of {group}, assembly",
    )


def _rule_of_group(weights: Array) -> int:
    """The group that takes fewer cycles, its extras counted."""
    products = weights.shape[1]
    fitting = [g for g in GROUPS if products % g == 0]

    def cycles(group: int) -> int:
        groups = weights.size // group
        return groups * GROUP_CYCLES[group] + number_of_extras(weights, group) * EXTRA_CYCLES

    return min(fitting, key=cycles)
