"""InputRows: the input, row by row as the caller has it: a copy into the arena."""

from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import ROW, Call, Op, RowWindows, Type
from tinyc.targets import Target


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((inputs[0].shape, inputs[0].dtype),)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (arrays[0].copy(),)


def windows(call: Call) -> RowWindows | None:
    return (ROW,)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y = call.inputs, call.output
    rows = x.shape[1]
    row = x.elements // rows
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    begin, end = loops.variable("row_begin"), loops.variable("row_end")

    def copy(i: Any) -> list[Any]:
        places = loops.pointer(result, i * row), loops.pointer(source, i * row)
        return [loops.run("memcpy", *places, loops.const(row * x.dtype.size))]

    body = [loops.loop("row", end - begin, copy, begin)]
    function = loops.function([source, result, begin, end], body)
    return Kernel("input_rows", function, rows=rows, note="copy of a row")


INPUT_ROWS = Op("InputRows", infer, reference, kernel, windows)
