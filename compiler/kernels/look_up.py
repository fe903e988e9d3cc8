"""Element by element through a table of 256: the kernel of every function of one 8-bit value."""

from typing import Any

from tinyc.compiler.graph import Array
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.row_range import row_range

UNROLL = 4  # elements a turn of the loop


def look_up(call: Call, table: Array) -> Kernel:
    """table  the output for each stored input value, by its bits as an unsigned byte"""
    (x,), y, rows = call.inputs, call.output, row_range(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    values = loops.buffer("table", 256, y.dtype)
    together = UNROLL if y.elements >= UNROLL else 1
    body = _loops(source, values, result, *rows.span(len(y.shape)), together)
    function = loops.function([source, result, values, *rows.parameters], body)
    return Kernel("look_up", function, (Constant("table", table),), rows=rows.count, note="table")


def _loops(
    source: Any, table: Any, result: Any, begin: Any, elements: Any, together: int
) -> list[Any]:
    """`together` elements at once, which may be written over themselves: first all are read."""
    values = [loops.local(f"y_{u}") for u in range(together)]
    turns = loops.quotient(elements, together)

    def turn(first: Any, count: int) -> list[Any]:
        lines = []
        for u in range(count):
            at = loops.load(source, first + u, "uint8").astype("int32")
            lines.append(loops.store(values[u], 0, loops.load(table, at, "int32")))
        stores = (loops.store(result, first + u, loops.load(values[u], 0)) for u in range(count))
        return [*lines, *stores]

    done = turns * together
    return [
        *loops.declare(*values),
        loops.loop("i", turns, lambda i: turn(begin + i * together, together)),
        loops.loop("i", elements - done, lambda i: turn(begin + done + i, 1)),
    ]
