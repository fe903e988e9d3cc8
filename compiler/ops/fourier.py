"""Fourier: discrete Fourier transforms along one axis, or of frames of a signal.

Complex values are pairs on the last axis. A transform of N values runs in place by mixed radices,
decimated in time: values are loaded in the order of their reversed digits, then each stage makes
of r neighbouring transforms of m values one of r m. A real line of even length L is one of L / 2
complex values, whose spectrum is taken apart at the end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor, elements, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.fourier_plan import Line, factors, line_of, order, turns
from tinyc.compiler.ops.fourier_stages import apart, stage
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target

MOST_INDEX = 1 << 16  # orders of fewer values are uint16


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, a = inputs[0], attrs
    for tensor in inputs:
        check_type("the Fourier transform", tensor, (DType.FLOAT32,))
    real = a.inverse and a.onesided
    size = a.half if a.onesided and not a.inverse else a.length
    frames = () if not a.step else (1 + (x.shape[a.axis] - a.length) // a.step,)
    return ((
        (*x.shape[: a.axis], *frames, size, *x.shape[a.axis + 1 : -1], 1 if real else 2), x.dtype,
    ),)  # fmt: skip


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, axis = call.attrs, call.attrs.axis
    x = arrays[0][..., 0].astype(np.complex128)
    if arrays[0].shape[-1] == 2:
        x = x + 1j * arrays[0][..., 1]
    if a.step:
        starts = range(0, x.shape[axis] - a.length + 1, a.step)
        x = np.stack([x.take(range(s, s + a.length), axis) for s in starts], axis)
        axis += 1
        x = x * (arrays[1].astype(np.float64) if len(arrays) == 2 else 1.0)
    if a.inverse and a.onesided:
        return (np.fft.irfft(x, a.length, axis)[..., None].astype(np.float32),)
    y = (np.fft.ifft if a.inverse else np.fft.fft)(x, a.length, axis)
    if a.onesided:
        y = y.take(range(a.half), axis)
    return (np.stack([y.real, y.imag], -1).astype(np.float32),)


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    a, x, y, line = call.attrs, call.inputs[0], call.output, line_of(call)
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    radices = factors(line.count)
    places = order(line.count, radices)
    table, quarter = turns(a.length)
    index = "uint16" if line.count <= MOST_INDEX else "uint32"
    constants = [Constant("order", read_only(places.astype(index)))]
    if radices or line.paired:
        constants.append(Constant("turns", table))
    window, moving = None, [source]
    if len(call.inputs) == 2:
        weights = call.inputs[1]
        window = loops.buffer("window", weights.elements, weights.dtype)
        if weights.data is None:
            moving.append(window)
        else:
            constants.append(Constant("window", weights.data))
    tables = [loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in constants]
    if window is not None and constants[-1].role == "window":
        window = tables[-1]
    inner = 1 if a.step else elements(x.shape[a.axis + 1 : -1])
    complex_out = y.shape[-1] == 2
    written = y.shape[a.axis + (a.step > 0)]
    in_place = inner == 1 and complex_out and written >= line.work
    scratch = loops.buffer("scratch", 2 * line.work, "float32")
    room, blocks = _room(radices)
    scratch_elements = (0 if in_place else 2 * line.work) + room

    def one(at_x: Any, at_y: Any) -> list[Any]:
        z, start = (result, at_y) if in_place else (scratch, loops.const(0))
        load = _load(line, source, at_x, inner * line.parts, tables[0], window, z, start)
        spare = loops.pointer(scratch, 0 if in_place else 2 * line.work)
        steps = _stages(line, radices, loops.pointer(z, start), tables[1:], quarter, spare)
        return [load, *steps, *_finish(line, call, z, start, result, at_y, inner, in_place)]

    body = _over_lines(call, inner, one)
    parameters = [*moving, result, *tables, *([scratch] if scratch_elements else [])]
    taken_apart = (apart(),) if line.paired else ()
    return Kernel(
        "stft" if a.step else "fourier",
        loops.function(parameters, body),
        tuple(constants),
        4 * scratch_elements,
        (*blocks, *taken_apart),
        float_code=True,
        note=f"radices {' '.join(map(str, radices))}" if radices else "one value",
    )


def _room(radices: tuple[int, ...]) -> tuple[int, tuple[Microkernel, ...]]:
    """Floats that the largest stage needs, and the stages' functions."""
    room = max((2 * r for r in radices if r not in (2, 4)), default=0)
    return room, tuple(map(stage, sorted({r if r in (2, 4) else 0 for r in radices})))


def _over_lines(call: Call, inner: int, one: Callable[[Any, Any], list[Any]]) -> list[Any]:
    """`one(first value in x, first value in y)` for every line."""
    a, x, y = call.attrs, call.inputs[0], call.output
    parts, out = x.shape[-1], y.shape[-1]
    outer = elements(x.shape[: a.axis])
    length, written = x.shape[a.axis], y.shape[a.axis + (a.step > 0)]
    many = y.shape[a.axis] if a.step else inner
    step_x, step_y = (a.step * parts, written * out) if a.step else (parts, out)

    def line(o: Any, k: Any) -> list[Any]:
        at_x = o * (length * inner * parts) + k * step_x
        return one(at_x, o * (written * out * (many if a.step else inner)) + k * step_y)

    return [
        loops.loop("o", outer, lambda o: [loops.loop("k", many, lambda k: line(_int(o), _int(k)))])
    ]


def _int(value: Any) -> Any:
    return loops.const(value) if isinstance(value, int) else value


def _load(
    line: Line, source: Any, start: Any, stride: int, places: Any, window: Any, z: Any, to: Any
) -> Any:
    """The line's values as complex ones in the order of the first stage; conjugated to invert."""

    def value(at: Any, part: int) -> Any:
        taken = loops.load(source, start + at * stride + part)
        return taken if window is None else taken * loops.load(window, at)

    def imaginary(at: Any, sign: float) -> Any:
        if line.parts == 1:
            return loops.const(0.0, "float32")
        taken = value(at, 1)
        return loops.const(0.0, "float32") - taken if sign < 0 else taken

    def put(i: Any, part: int, number: Any) -> Any:
        return loops.store(z, to + i * 2 + part, number)

    def within(at: Any, then: list[Any], last: int, i: Any) -> list[Any]:
        """`then`, or zeros where the line has ended."""
        if line.given > last:
            return then
        zeros = [put(i, part, loops.const(0.0, "float32")) for part in range(2)]
        return [loops.when(at < line.given, then, zeros)]

    def each(i: Any) -> list[Any]:
        at = loops.load(places, i, "int32")
        if line.paired:
            rest = [put(i, 1, value(at * 2 + 1, 0))]
            if line.given < 2 * line.count:
                zero = [put(i, 1, loops.const(0.0, "float32"))]
                rest = [loops.when(at * 2 + 1 < line.given, rest, zero)]
            return within(at * 2, [put(i, 0, value(at * 2, 0)), *rest], 2 * line.count - 2, i)
        sign = -1.0 if line.attrs.inverse else 1.0
        first = [put(i, 0, value(at, 0)), put(i, 1, imaginary(at, sign))]
        if not line.mirrored:
            return within(at, first, line.count - 1, i)
        other = line.count - at
        second = [put(i, 0, value(other, 0)), put(i, 1, imaginary(other, -sign))]
        half = line.attrs.half
        return [
            loops.when(
                at < half, within(at, first, half - 1, i), within(other, second, half - 1, i)
            )
        ]

    return loops.loop("i", line.count, lambda i: each(_int(i)))


def _stages(
    line: Line, radices: tuple[int, ...], z: Any, tables: list[Any], quarter: int, spare: Any
) -> list[Any]:
    if not radices and not line.paired:
        return []
    calls, done = [], 1
    cosines, sines = loops.pointer(tables[0]), loops.pointer(tables[0], quarter)
    for radix in radices:
        step = line.attrs.length // (radix * done)
        if radix in (2, 4):
            call = loops.run(f"tinyc_fourier_{radix}", z, line.count, done, cosines, sines, step)
        else:
            call = loops.run(
                "tinyc_fourier_radix", z, line.count, done, radix, cosines, sines, step, spare
            )
        calls.append(call)
        done *= radix
    if line.paired:
        calls.append(loops.run("tinyc_fourier_apart", z, line.count, cosines, sines))
    return calls


def _finish(
    line: Line, call: Call, z: Any, start: Any, result: Any, at_y: Any, inner: int, in_place: bool
) -> list[Any]:
    """What was computed at z[start] goes where it belongs, scaled, and conjugated to invert."""
    a, y = call.attrs, call.output
    out, written = y.shape[-1], y.shape[a.axis + (a.step > 0)]
    scale = 1.0 / a.length if a.inverse else 1.0
    known = min(written, line.work)

    def put(k: Any, part: int, number: Any, factor: float) -> Any:
        scaled = number if factor == 1.0 else number * loops.const(factor, "float32")
        return loops.store(result, at_y + k * (inner * out) + part, scaled)

    def move(k: Any) -> list[Any]:
        real, imaginary = (loops.load(z, start + k * 2 + part) for part in range(2))
        moved = [put(k, 0, real, scale)]
        return moved if out == 1 else [*moved, put(k, 1, imaginary, -scale if a.inverse else 1.0)]

    def mirror(k: Any) -> list[Any]:
        real, imaginary = (loops.load(z, start + (a.length - k) * 2 + part) for part in range(2))
        return [put(k, 0, real, 1.0), put(k, 1, imaginary, -1.0)]

    lines = []
    if not in_place or a.inverse:
        lines.append(loops.loop("i", known, lambda k: move(_int(k))))
    if known < written:
        lines.append(loops.loop("i", written - known, lambda k: mirror(_int(k)), known))
    return lines


def macs(call: Call) -> int:
    """Multiplications of the stages' turns and of what follows, about."""
    line = line_of(call)
    shape = call.output.shape
    lines = elements(shape[:-1]) // shape[call.attrs.axis + (call.attrs.step > 0)]
    return int(lines * sum(4 * line.count * (r - 1) // r for r in factors(line.count)))


FOURIER = Op("Fourier", infer, reference, kernel, macs=macs)
