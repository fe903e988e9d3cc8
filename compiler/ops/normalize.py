"""Normalize: y = (x - mean) / deviation * scale + shift, mean and deviation taken over some axes.

One kernel reads x twice or three times and needs no memory beyond a few scalars: the mean first,
then the squares of the differences from it, so that a large mean costs no digits. Stored
integers of 8 bits have a kernel of integers (`normalize_integer.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.kernels import integer_normalize
from tinyc.compiler.ops import loops, normalize_integer
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp, clamp_float
from tinyc.compiler.ops.copying import broadcast_strides, dense_strides, strided_nest
from tinyc.compiler.ops.element_types import FLOATS, check_same_type, check_type
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.real import Real
from tinyc.compiler.ops.reduce import ReduceAttrs, reduced_shape
from tinyc.targets import Target

MEASURES: dict[str, Callable[..., Any]] = {  # of x - mean, or of x; zero where all of it is
    "variance": lambda x, epsilon, **axes: np.sqrt(np.mean(x * x, **axes) + epsilon),
    "square": lambda x, epsilon, **axes: np.sqrt(np.mean(x * x, **axes) + epsilon),
    "l1": lambda x, epsilon, **axes: np.sum(np.abs(x), **axes),
    "l2": lambda x, epsilon, **axes: np.sqrt(np.sum(x * x, **axes)),
}


@dataclass(frozen=True, slots=True)
class NormalizeAttrs:
    """Inputs are x, and as far as there are any scale and shift, which broadcast to x.

    measure     key of MEASURES; the mean is taken away for "variance" alone
    axes        >= 0, ascending
    epsilon     added to the mean square
    statistics  further outputs: the mean, and one over the deviation
    clamp       real bounds of y
    """

    measure: str
    axes: tuple[int, ...]
    epsilon: float = 0.0
    statistics: bool = False
    clamp: Clamp = NO_CLAMP


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x = inputs[0]
    for tensor in inputs:
        check_type("a normalization", tensor, FLOATS)
        check_same_type(x, tensor)
    statistics = reduced_shape(x.shape, ReduceAttrs("mean", attrs.axes)), x.dtype
    return (x.shape, x.dtype), *((statistics, statistics) if attrs.statistics else ())


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    if call.quantized:
        return (normalize_integer.reference(call, arrays[0]),)
    a, dtype = call.attrs, call.outputs[0].dtype.value
    x, *parameters = (array.astype(np.float64) for array in arrays)
    axes = {"axis": a.axes, "keepdims": True}
    mean = np.mean(x, **axes) * (a.measure == "variance")
    deviation = MEASURES[a.measure](x - mean, a.epsilon, **axes)
    with np.errstate(all="ignore"):
        inverse = np.where(deviation == 0, _of_zero(a), 1 / deviation)
    y = (x - mean) * inverse
    y = y * parameters[0] if parameters else y
    y = y + parameters[1] if len(parameters) > 1 else y
    y = np.clip(y, a.clamp.low, a.clamp.high)
    results = (y, mean, inverse) if a.statistics else (y,)
    return tuple(np.asarray(r).astype(dtype) for r in results)


def _of_zero(attrs: NormalizeAttrs) -> float:
    """What 1 / 0 is: norms of zero give zeros, as in ONNX."""
    return 0.0 if attrs.measure in ("l1", "l2") else math.inf


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    if call.quantized:
        return integer_normalize.kernel(call, target, schedule)
    x, a = call.inputs[0], call.attrs
    names = ("x", "scale", "shift")[: len(call.inputs)]
    operands = [
        loops.buffer(n, t.elements, t.dtype) for n, t in zip(names, call.inputs, strict=True)
    ]
    results = [
        loops.buffer(n, t.elements, t.dtype)
        for n, t in zip(("y", "means", "inverses"), call.outputs, strict=False)
    ]
    kept = [axis for axis in range(len(x.shape)) if axis not in a.axes]
    every = [broadcast_strides(t.shape, x.shape) for t in call.inputs]
    line = _line(call, operands, results, [[s[i] for i in a.axes] for s in every])
    kept_shape = tuple(x.shape[i] for i in kept)
    strides = [[s[i] for i in kept] for s in every]
    if a.statistics:
        strides.append(dense_strides(kept_shape))
    body = strided_nest(kept_shape, strides, (0,) * len(strides), line)
    moving = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is None]
    fixed = [b for b, t in zip(operands, call.inputs, strict=True) if t.data is not None]
    tables = tuple(
        Constant(name, t.data.reshape(-1))
        for name, t in zip(names, call.inputs, strict=True)
        if t.data is not None
    )
    return Kernel(
        f"normalize_{a.measure}",
        loops.function([*moving, *results, *fixed], body),
        tables,
        in_place=not a.statistics and x.data is None,
        float_code=True,
    )


def _line(
    call: Call, operands: list[Any], results: list[Any], gone: list[list[int]]
) -> Callable[..., list[Any]]:
    """What is normalized together; `gone` are the strides along the axes, by operand."""
    x, a = call.inputs[0], call.attrs
    dtype, shape = str(x.dtype), tuple(x.shape[i] for i in a.axes)
    count = loops.const(float(math.prod(shape)), dtype)
    total, mean, inverse = (loops.local(n, dtype) for n in ("total", "mean", "inverse"))
    centred = a.measure == "variance"

    def of(buffer: Any) -> Any:
        return loops.load(buffer, 0)

    def add(value: Any) -> list[Any]:
        return [loops.store(total, 0, of(total) + value)]

    def difference(at: Any) -> Any:
        value = loops.load(operands[0], at)
        return value - of(mean) if centred else value

    def measure(at: Any) -> list[Any]:
        value = difference(at)
        if a.measure == "l1":
            return add(Real(dtype).call("fabs", value))
        return add(value * value)

    def deviation() -> Any:
        if a.measure == "l1":
            return of(total)
        square = of(total)
        if a.measure != "l2":
            square = square / count + loops.const(a.epsilon, dtype)
        return Real(dtype).call("sqrt", square)

    def write(*at: Any) -> list[Any]:
        value = difference(at[0]) * of(inverse)
        if len(operands) > 1:
            value = value * loops.load(operands[1], at[1])
        if len(operands) > 2:
            value = value + loops.load(operands[2], at[2])
        return [loops.store(results[0], at[0], clamp_float(value, a.clamp))]

    def over(strides: list[list[int]], starts: Sequence[Any], body: Any) -> list[Any]:
        return strided_nest(shape, strides, starts, body, "rstuvw")

    def line(*starts: Any) -> list[Any]:
        begin, zero = starts[0], loops.const(0.0, dtype)
        one = loops.const(1.0, dtype) / deviation()
        if a.measure in ("l1", "l2"):
            one = loops.select(of(total) > zero, one, zero)
        lines = [*loops.declare(total), loops.store(total, 0, zero)]
        if centred:
            lines += [
                *over(gone[:1], [begin], lambda at: add(loops.load(operands[0], at))),
                *loops.declare(mean),
                loops.store(mean, 0, of(total) / count),
                loops.store(total, 0, zero),
            ]
        lines += [
            *over(gone[:1], [begin], measure),
            *loops.declare(inverse),
            loops.store(inverse, 0, one),
            *over(gone, starts[: len(operands)], write),
        ]
        if a.statistics:
            lines += [
                loops.store(results[1], starts[-1], of(mean) if centred else zero),
                loops.store(results[2], starts[-1], of(inverse)),
            ]
        return lines

    return line


NORMALIZE = Op("Normalize", infer, reference, kernel, quantize=normalize_integer.can_quantize)
