"""Resize of stored integers: weights are read once for many elements, and none twice.

An output pixel is a sum over the taps of its axes; products of weights, and what they take off
for the zero point, are made once and serve the elements behind the last axis that is resized
(channels that come last). Where there are none, the sums over the other axes are made for a
whole line of x in the scratch, and the last axis is a second pass over it:

    y[.., o] = sum over t of w[o, t] * line[first[o] + t],
    line[i] = sum over s of product[s] * x[.. + s, i] - zero point * sum over s of product[s]

Sums of integers that fit int32 in any order: the same bytes as the definition of `ops/resize.py`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.cells import flat
from tinyc.compiler.ops.copying import dense_strides
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.requantize import Requantizer
from tinyc.compiler.ops.resampling import Taps

MOST_TAPS = 16  # of all axes, whose products are variables: two cubic axes
MOST_PRODUCTS = 16  # written out in a loop's turn


def suits(taps: Sequence[Taps | None]) -> bool:
    """Whether all outputs are inside, and sums of few taps."""
    given = [axis for axis in taps if axis is not None]
    inside = all((axis.first >= 0).all() for axis in given)
    count = math.prod(axis.count for axis in given)
    return inside and 1 < count <= MOST_TAPS


def kernel(
    call: Call, taps: Sequence[Taps | None], tables: Mapping[str, Constant], to: Requantizer
) -> Kernel:
    """tables: by name, `first_N` and `weights_N` of axis N."""
    (x,), y = call.inputs, call.output
    assert x.quant and y.quant, "both are stored integers"
    zero, y_zero = x.quant.zero_point[0], y.quant.zero_point[0]
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    buffers = {n: loops.buffer(n, c.array.size, str(c.array.dtype)) for n, c in tables.items()}
    scales = [loops.local(f"own_{c.role}") for c in to.constants]
    strides = dense_strides(x.shape)
    counts = {n: a.count for n, a in enumerate(taps) if a is not None and not a.is_choice}
    last = max(n for n, axis in enumerate(taps) if axis is not None)
    inner = math.prod(x.shape[last + 1 :])
    passes = _passes(taps, last, inner, x.shape[last])
    scratch = loops.buffer("scratch", x.shape[last] if passes == 2 else 0, "int32")

    def first(number: int, o: Any) -> Any:
        return o if taps[number] is None else loops.load(buffers[f"first_{number}"], o, "int32")

    def weight(number: int, o: Any, t: int) -> Any:
        return loops.load(buffers[f"weights_{number}"], o * counts[number] + t, "int32")

    def write(at: Any, value: Any) -> list[Any]:
        multipliers = [loops.load(s, 0) for s in scales]
        steps = loops.call(to.function, value, *multipliers, loops.const(y_zero))
        return [loops.store(result, at, loops.clamp(steps, *y.dtype.limits))]

    def sums(
        numbers: list[int], outputs: list[Any], at: Any, count: int,
        store: Callable[[Any, Any], list[Any]],
    ) -> list[Any]:  # fmt: skip
        """`count` neighbours from `at` on, each summed over the taps of the axes `numbers`."""
        places = list(itertools.product(*(range(counts[n]) for n in numbers)))
        products = [loops.local(f"product_{i}") for i in range(len(places))]
        begin, off, total = loops.local("begin"), loops.local("off"), loops.const(0)
        lines = [*loops.declare(*products, begin, off), loops.store(begin, 0, at)]
        for product, place in zip(products, places, strict=True):
            value = math.prod(
                (weight(n, outputs[n], t) for n, t in zip(numbers, place, strict=True)),
                start=loops.const(1),
            )
            lines.append(loops.store(product, 0, value))
            total = total + loops.load(product, 0)
        lines.append(loops.store(off, 0, total * -zero))

        def one(i: Any) -> list[Any]:
            value = loops.load(off, 0)
            for product, place in zip(products, places, strict=True):
                step = sum(t * strides[n] for n, t in zip(numbers, place, strict=True))
                value = value + (
                    loops.load(source, loops.load(begin, 0) + i + step, "int32")
                    * loops.load(product, 0)
                )
            return store(i, value)

        return [*lines, _turns("i", count, len(places), one)]

    def second_pass(outputs: list[Any]) -> list[Any]:
        def one(o: Any) -> list[Any]:
            begin = first(last, o)
            value = loops.const(0)
            for t in range(counts[last]):
                value = value + loops.load(scratch, begin + t) * weight(last, o, t)
            return write(flat([*outputs, o], y.shape[: last + 1]), value)

        return [_turns(f"o{last}", y.shape[last], counts[last], one)]

    def nest(number: int, outputs: list[Any], at: Any) -> list[Any]:
        if number == last and passes == 2:
            line = sums(
                [n for n in counts if n != last], outputs, at, x.shape[last],
                lambda i, value: [loops.store(scratch, i, value)],
            )  # fmt: skip
            return [*line, *second_pass(outputs)]
        if number > last:
            to_y = flat(outputs, y.shape[: last + 1]) * inner
            return sums(list(counts), outputs, at, inner, lambda i, value: write(to_y + i, value))

        def one(o: Any) -> list[Any]:
            return nest(number + 1, [*outputs, o], at + first(number, o) * strides[number])

        return [loops.loop(f"o{number}", y.shape[number], one)]

    begin = [loops.store(s, 0, loops.load(b, 0)) for s, b in zip(scales, to.buffers, strict=True)]
    body = [*loops.declare(*scales), *begin, *nest(0, [], loops.const(0))]
    working = [scratch] if passes == 2 else []
    return Kernel(
        f"resize_{call.attrs.how.mode}",
        loops.function([source, result, *buffers.values(), *to.buffers, *working], body),
        (*tables.values(), *to.constants),
        scratch_bytes=4 * x.shape[last] if passes == 2 else 0,
    )


def _turns(name: str, count: int, taps: int, body: Callable[[Any], list[Any]]) -> Any:
    """A loop over `count` sums of `taps` products, some of them written out each turn."""
    steps = next(n for n in (4, 2, 1) if count % n == 0 and (n == 1 or n * taps <= MOST_PRODUCTS))
    return loops.loop(name, count // steps, lambda i: [
        loops.unrolled(f"{name}_step", steps, lambda k: body(i * steps + k))
    ])  # fmt: skip


def _passes(taps: Sequence[Taps | None], last: int, inner: int, inputs: int) -> int:
    """2 where a line of sums is read so often that it costs less than every pixel's own."""
    axis = taps[last]
    assert axis is not None
    read = axis.weights.size
    return 2 if inner == 1 and not axis.is_choice and inputs <= read else 1
