"""GridSample: y[n, c, o...] is x[n, c] at grid[n, o..., :], from -1 to 1, the last axis first.

x [N, C, spatial...], grid [N, output..., axes], y [N, C, output...]; of any number of axes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import flat, over
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.compiler.ops.operands import operands
from tinyc.compiler.ops.sampling import PADDINGS, TAPS, sample_taps
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class GridSampleAttrs:
    """mode: a key of TAPS; padding: one of PADDINGS.

    corners  -1 and 1 are the middles of the first and last element, not their outer borders
    """

    mode: str = "linear"
    padding: str = "zeros"
    corners: bool = False


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, grid = inputs
    for tensor in inputs:
        check_type("GridSample", tensor, (DType.FLOAT32,))
    return (((*x.shape[:2], *grid.shape[1:-1]), x.dtype),)


def _limits(size: int, corners: bool) -> tuple[float, float]:
    """The first and the last coordinate inside, in elements."""
    return (0.0, size - 1.0) if corners else (-0.5, size - 0.5)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    x, grid = arrays[0].astype(np.float64), arrays[1].astype(np.float32)
    y = np.zeros(call.output.shape, np.float64)
    for index in np.ndindex(call.output.shape[0], *call.output.shape[2:]):
        image = x[index[0]]
        for number, at in enumerate(grid[index]):  # from the last axis on
            image = _sampled(image, x.ndim - 2 - number, at, call.attrs)
        y[(index[0], slice(None), *index[1:])] = image
    return (y.astype(np.float32),)


def _sampled(image: Array, axis: int, coordinate: np.float32, a: GridSampleAttrs) -> Array:
    """`image` at one coordinate of an axis, which goes."""
    size, one, half = image.shape[axis], np.float32(1), np.float32(0.5)
    if a.corners:
        at = float((coordinate + one) * half * np.float32(size - 1))
    else:
        at = float(((coordinate + one) * np.float32(size) - one) * half)
    low, high = _limits(size, a.corners)
    at = float(np.rint(at)) if a.mode == "nearest" else at
    if a.mode != "cubic" and a.padding != "zeros" and not low <= at <= high:
        at = min(max(at, 0.0), size - 1.0) if a.padding == "border" else _mirrored(at, low, high)
    first = int(np.floor(at))
    r = at - first
    weights = {
        "nearest": {0: 1.0},
        "linear": {0: 1 - r, 1: r},
        "cubic": {t: _cubic(abs(r - t)) for t in range(-1, 3)},
    }[a.mode]
    total = np.zeros(np.delete(image.shape, axis))
    for t, weight in weights.items():
        i = first + t
        if not 0 <= i < size:
            if a.padding == "zeros":
                continue
            i = int(_mirrored(i, low, high)) if a.padding == "reflection" else i
        total += weight * image.take(min(max(i, 0), size - 1), axis)
    return total


def _mirrored(at: float, low: float, high: float) -> float:
    if high <= low:
        return low
    while not low <= at <= high:
        at = 2 * low - at if at < low else 2 * high - at
    return at


def _cubic(x: float, a: float = -0.75) -> float:
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    x, y, a = call.inputs[0], call.output, call.attrs
    given = operands(call.inputs, ("x", "grid"))
    source, grid = given.buffers
    result, taps, rank = loops.buffer("y", y.elements, y.dtype), TAPS[a.mode], len(x.shape) - 2
    place, weight = loops.local("place", "int32", rank * taps), loops.local(
        "weight", "float32", rank * taps)  # fmt: skip
    total = loops.local("total", "float32")
    strides = dense_strides(x.shape)

    def number(value: float) -> Any:
        return loops.const(value, "float32")

    def coordinate(pixel: Any, axis: int) -> Any:
        size = x.shape[axis + 2]
        shifted = loops.load(grid, pixel * rank + (rank - 1 - axis)) + number(1.0)
        if a.corners:
            return shifted * number(0.5) * number(float(size - 1))
        return (shifted * number(float(size)) - number(1.0)) * number(0.5)

    def find(pixel: Any, axis: int) -> Any:
        size = x.shape[axis + 2]
        return loops.run(
            "tinyc_sample_taps", coordinate(pixel, axis), loops.const(size), loops.const(taps),
            loops.const(PADDINGS.index(a.padding)), *map(number, _limits(size, a.corners)),
            loops.pointer(place, axis * taps), loops.pointer(weight, axis * taps),
        )  # fmt: skip

    def add(axis: int, at: Any, product: Any) -> list[Any]:
        if axis == rank:
            return [loops.store(total, 0, loops.load(total, 0) + product * loops.load(source, at))]

        def tap(t: Any) -> list[Any]:
            own = loops.load(weight, axis * taps + t)
            to = at + loops.load(place, axis * taps + t) * strides[axis + 2]
            return add(axis + 1, to, own if product is None else product * own)

        return [loops.loop(f"t{axis}", taps, tap)]

    def pixel(indices: list[Any]) -> list[Any]:
        n, spatial = indices[0], indices[1:]

        def channel(c: Any) -> list[Any]:
            return [
                *loops.declare(total),
                loops.store(total, 0, number(0.0)),
                *add(0, n * strides[0] + c * strides[1], None),
                loops.store(result, flat([n, c, *spatial], y.shape), loops.load(total, 0)),
            ]

        at = flat([n, *spatial], (y.shape[0], *y.shape[2:]))
        return [
            *(find(at, axis) for axis in range(rank)),
            loops.loop("c", x.shape[1], channel),
        ]

    body = [*loops.declare(place, weight), *over((y.shape[0], *y.shape[2:]), pixel)]
    function = loops.function([*given.moving, result, *given.fixed], body)
    return Kernel(
        f"grid_sample_{a.mode}", function, given.constants, microkernels=(sample_taps(),),
        float_code=True,
    )  # fmt: skip


GRID_SAMPLE = Op("GridSample", infer, reference, kernel)
