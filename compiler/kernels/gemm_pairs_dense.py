"""Dense by the assembly of `targets/intrinsics/thumb_gemm.py`: rows of x in packed pairs."""

from collections.abc import Iterator
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels import pair_product
from tinyc.compiler.kernels.pair_product import multiply, product
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target
from tinyc.targets.intrinsics.thumb_gemm import GROUP, pack


def suits(call: Call, target: Target) -> bool:
    """As for convolutions."""
    return pair_product.suits(call, target)


def space(call: Call, target: Target) -> Iterator[Schedule]:
    """The product's choices."""
    yield from pair_product.space()


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x, w), y = call.inputs[:2], call.output
    n, k = w.shape
    by = product(call, schedule)
    column = 2 * GROUP * by.groups
    whole_words = k % GROUP == 0
    scratch_bytes = column + (0 if whole_words else by.groups * GROUP)
    source = loops.buffer("x", x.elements, "int8")
    result = loops.buffer("y", y.elements, "int8")
    scratch = loops.buffer("scratch", scratch_bytes, "int8")

    def row(r: Any) -> list[Any]:
        values = loops.pointer(source, r * k)
        lines = []
        if not whole_words:
            place = loops.pointer(scratch, column)
            lines.append(loops.run("memcpy", place, values, loops.const(k)))
            values = place
        groups = loops.const(by.groups)
        lines.append(loops.run("tinyc_pack_pairs", values, groups, loops.pointer(scratch)))
        return [*lines, *multiply(by, loops.const(1), scratch, result, r * n)]

    body = [loops.loop("r", x.elements // k, row)]
    return Kernel(
        name="dense",
        function=loops.function([source, result, by.stream, scratch], body),
        constants=(Constant("stream", by.table),),
        scratch_bytes=scratch_bytes,
        microkernels=(pack(), *by.functions),
        note="gemm 1x2, packed pairs",
    )
