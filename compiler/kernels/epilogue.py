"""What happens to a finished accumulator: bias, scale or requantization, and clamp."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.accumulate import accumulator_type, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import clamp_float, stored_bounds
from tinyc.compiler.ops.kernel import Constant
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.requantize import Requantizer, requantizer
from tinyc.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class Epilogue:
    """What happens to a finished accumulator: tables, and the value to store.

    start        the accumulator's first value for a channel
    accumulator  its type
    """

    constants: tuple[Constant, ...]
    buffers: tuple[Any, ...]
    start: Callable[[Any], Any]
    finish: Callable[[Any, Any], Any]
    accumulator: str = "int32"


def epilogue(call: Call, weights: Array, target: Target) -> Epilogue:
    """Bias with the input's zero point folded in, then requantize, clamp, or nothing.

    weights  centred, [channels, products]
    """
    y = call.output
    if not call.quantized:
        return _float_epilogue(call)
    bias = Constant("bias", folded_bias(call, weights))
    accumulator = accumulator_type(call)
    table = loops.buffer("bias", bias.array.size, accumulator)
    if y.quant is None:
        return Epilogue((bias,), (table,), lambda c: loops.load(table, c), lambda acc, c: acc)
    to: Requantizer = requantizer(output_requantization(call), target)
    low, high = stored_bounds(y, call.attrs.clamp)
    zero_point = y.quant.zero_point[0]

    def finish(acc: Any, channel: Any) -> Any:
        return loops.clamp(to.apply(acc, channel, zero_point), low, high)

    return Epilogue(
        (bias, *to.constants), (table, *to.buffers), lambda c: loops.load(table, c), finish,
        accumulator,
    )  # fmt: skip


def _float_epilogue(call: Call) -> Epilogue:
    def finish(acc: Any, channel: Any) -> Any:
        return clamp_float(acc, call.attrs.clamp)

    if call.inputs[1].quant is not None:
        return _scaled_epilogue(call)
    if len(call.inputs) < 3 or call.inputs[2].data is None:
        return Epilogue((), (), lambda c: loops.const(0.0, "float32"), finish, "float32")
    bias = Constant("bias", read_only(call.inputs[2].data, "float32"))
    table = loops.buffer("bias", bias.array.size, "float32")
    return Epilogue((bias,), (table,), lambda c: loops.load(table, c), finish, "float32")


def _scaled_epilogue(call: Call) -> Epilogue:
    """A float's sums of whole numbers, times the scale of the weights."""
    quant, given = call.inputs[1].quant, call.inputs[2:3]
    assert quant is not None, "the weights are stored integers"
    tables = [Constant("scales", read_only(quant.scale, "float32"))]
    tables += [Constant("bias", read_only(b.data, "float32")) for b in given if b.data is not None]
    buffers = [loops.buffer(t.role, t.array.size, "float32") for t in tables]

    def finish(acc: Any, channel: Any) -> Any:
        value = acc * loops.load(buffers[0], 0 if len(quant.scale) == 1 else channel)
        value = value + loops.load(buffers[1], channel) if len(buffers) > 1 else value
        return clamp_float(value, call.attrs.clamp)

    zero = loops.const(0.0, "float32")
    return Epilogue(tuple(tables), tuple(buffers), lambda c: zero, finish, "float32")
