"""The heart of every matrix kernel: a block of rows x columns accumulators over a reduction.

Rows are pixels (columns of im2col) or rows of a matrix, columns are output channels. The
accumulators are scalars of the C function, so that the C compiler keeps them in registers.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.kernels.epilogue import Epilogue
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.element_types import HALVES
from tinyc.compiler.ops.half import conversions
from tinyc.compiler.ops.half import widened as from_half
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.targets.intrinsics.arm_dsp import dsp, extension

WORD = 4  # bytes of one load of the SMLAD form


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One kind of inner product: how weights lie, and a step of it.

    weights       1-D table, `pitch` elements a channel
    pitch         products of one channel, padded to whole steps
    step          products of one step
    microkernels  C functions it calls
    operands, lines  the variables of a step by (name, buffer, type), and its statements; None:
                  those of one product, or of words of four bytes
    """

    weights: Array
    pitch: int
    step: int
    microkernels: tuple[Microkernel, ...]
    note: str
    operands: Callable[[str, Any, str], tuple[Any, ...]] | None = None
    lines: Callable[["Side", "Side", "Accumulators"], list[Any]] | None = None


def plain_space(rows: Sequence[int], columns: Sequence[int]) -> Iterator[Schedule]:
    """Every block of `rows` x `columns`, its loop written out up to eight times."""
    for choice in itertools.product(rows, columns, (1, 2, 4, 8)):
        yield Schedule("", *choice)


def plain_product(weights: Array, x_dtype: str) -> Product:
    """One multiply-accumulate a step; asymmetric weights are widened to int16.

    weights  centred, [channels, products]; float32, float16 or whole numbers
    """
    table = weights
    if weights.dtype not in ("float32", "float16", "bfloat16"):
        fits = weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127
        table = weights.astype("int8" if fits else "int16")
    half = conversions(DType(table.dtype.name), DType.FLOAT32)
    return Product(read_only(table.reshape(-1)), weights.shape[1], 1, half, "plain C")


def smlad_product(weights: Array, x_dtype: str) -> Product:
    """Two multiply-accumulates an instruction on pairs that SXTB16 takes out of words."""
    channels, products = weights.shape
    pitch = -(-products // WORD) * WORD
    table = np.zeros((channels, pitch), np.int8)
    table[:, :products] = weights
    needed = dsp("load_word", *extension(x_dtype), *extension("int8"), "smlad")
    return Product(read_only(table.reshape(-1)), pitch, WORD, needed, "smlad")


def block(
    x: Any,
    x_rows: Sequence[Any],
    w: Any,
    first_channel: Any,
    columns: int,
    product: Product,
    unroll: int,
    finished: Epilogue,
    store: Callable[[int, Any, Any], Any],
    tag: str = "",
) -> list[Any]:
    """Statements that compute len(x_rows) x columns outputs.

    x, x_rows      the buffer of the input values, and the index of each row's first value
    w              the buffer of the weights
    first_channel  the first of `columns` neighbouring output channels
    store          (row, channel, value) -> statement
    tag            makes the names of this block's variables different from another's
    """
    dtype = "float32" if finished.accumulator == "float32" else "int32"
    rows, channels = range(len(x_rows)), [first_channel + c for c in range(columns)]
    wide = finished.accumulator
    acc = [[loops.local(f"acc{tag}_{r}{c}", wide) for c in range(columns)] for r in rows]
    lines: list[Any] = []
    for row in acc:
        for channel, a in zip(channels, row, strict=True):
            lines += [*loops.declare(a), loops.store(a, 0, finished.start(channel))]
    operands = product.operands or (_smlad_operands if product.step == WORD else _plain_operands)
    x_operands = [operands(f"x{tag}_{r}", x, dtype) for r in rows]
    w_operands = [operands(f"w{tag}_{c}", w, dtype) for c in range(columns)]
    lines += loops.declare(*(v for o in (*x_operands, *w_operands) for v in o))
    turns = product.pitch // product.step
    step = product.lines or (_smlad_step if product.step == WORD else _plain_step)

    def turn(k: Any) -> list[Any]:
        x_at, w_at = [row + k for row in x_rows], [c * product.pitch + k for c in channels]
        return step((x, x_at, x_operands), (w, w_at, w_operands), acc)

    unroll = next(u for u in (unroll, 4, 2, 1) if u <= unroll and turns % u == 0)
    lines.append(
        loops.loop("k", turns // unroll, lambda k: [
            loops.unrolled("u", unroll, lambda u: turn((k * unroll + u) * product.step))
        ])
    )  # fmt: skip
    for r, row in enumerate(acc):
        for channel, a in zip(channels, row, strict=True):
            lines.append(store(r, channel, finished.finish(loops.load(a, 0), channel)))
    return lines


def partial_sums(
    x: Any,
    w: Any,
    first_channel: Any,
    columns: int,
    product: Product,
    begin: Any,
    end: Any,
    start: Callable[[Any, Any], Any],
    store: Callable[[Any, Any], Any],
    tag: str = "",
) -> list[Any]:
    """Statements that add the products `begin` to `end` of one row to `columns` sums.

    start  (sum, channel) -> statement that gives a sum its first value
    store  (channel, sum) -> statement
    """
    dtype = "float32" if str(w.dtype) == "float32" else "int32"
    channels = [first_channel + c for c in range(columns)]
    acc = [loops.local(f"acc{tag}_{c}", dtype) for c in range(columns)]
    lines = [*loops.declare(*acc), *(start(a, c) for a, c in zip(acc, channels, strict=True))]

    def steps(width: int, first: Any, count: Any, name: str) -> list[Any]:
        operands = _smlad_operands if width == WORD else _plain_operands
        x_operands = operands(f"x{name}{tag}_0", x, dtype)
        w_operands = [operands(f"w{name}{tag}_{c}", w, dtype) for c in range(columns)]
        step = _smlad_step if width == WORD else _plain_step

        def one(k: Any) -> list[Any]:
            at = first + k * width
            w_at = [c * product.pitch + at for c in channels]
            return step((x, [at], [x_operands]), (w, w_at, w_operands), [acc])

        declared = loops.declare(*(v for o in (x_operands, *w_operands) for v in o))
        return [*declared, loops.loop("k", count, one)]

    turns = loops.quotient(end - begin, product.step)
    lines += steps(product.step, begin, turns, "")
    if product.step > 1:
        rest = begin + turns * product.step
        lines += steps(1, rest, end - rest, "rest")
    return lines + [store(c, loops.load(a, 0)) for c, a in zip(channels, acc, strict=True)]


Side = tuple[Any, Sequence[Any], Sequence[tuple[Any, ...]]]  # buffer, indices, operand variables
Accumulators = Sequence[Sequence[Any]]  # [row][column]


def _plain_operands(name: str, source: Any, dtype: str) -> tuple[Any, ...]:
    return (loops.local(name, dtype),)


def _plain_step(x_side: Side, w_side: Side, acc: Accumulators) -> list[Any]:
    """acc[r][c] += x[r] * w[c], every operand loaded once."""
    lines = []
    for source, indices, operands in (x_side, w_side):
        for at, (value,) in zip(indices, operands, strict=True):
            lines.append(loops.store(value, 0, value_of(source, at, str(value.dtype))))
    for (x,), row in zip(x_side[2], acc, strict=True):
        for (w,), a in zip(w_side[2], row, strict=True):
            product = loops.load(x, 0) * loops.load(w, 0)
            lines.append(loops.store(a, 0, loops.load(a, 0) + widened(product, a)))
    return lines


def value_of(source: Any, at: Any, dtype: str) -> Any:
    """An element as a factor of `dtype`; halves are stored as their bits."""
    if str(source.dtype) in HALVES:
        return from_half(loops.load(source, at), DType(str(source.dtype)))
    return loops.load(source, at, dtype)


def widened(product: Any, accumulator: Any) -> Any:
    """An int32 product as what is added to an accumulator."""
    dtype = str(accumulator.dtype)
    return product.astype(dtype) if dtype == "int64" else product


def _smlad_operands(name: str, source: Any, dtype: str) -> tuple[Any, ...]:
    return tuple(loops.local(f"{name}_{part}", "uint32") for part in ("word", "even", "odd"))


def _smlad_step(x_side: Side, w_side: Side, acc: Accumulators) -> list[Any]:
    """acc[r][c] += the four products of a word of x[r] and a word of w[c]."""
    lines = _split(x_side)
    for c, operands in enumerate(w_side[2]):
        lines += _split((w_side[0], w_side[1][c : c + 1], (operands,)))
        for x_operands, row in zip(x_side[2], acc, strict=True):
            for x, w in zip(x_operands[1:], operands[1:], strict=True):
                values = (loops.load(x, 0), loops.load(w, 0), loops.load(row[c], 0))
                lines.append(loops.store(row[c], 0, loops.call("tinyc_smlad", *values)))
    return lines


def _split(side: Side) -> list[Any]:
    """Words as two pairs of halfwords: values 0 and 2, and values 1 and 3."""
    source, indices, operands = side
    lines = []
    for at, (word, even, odd) in zip(indices, operands, strict=True):
        loaded = loops.call("tinyc_load_word", loops.pointer(source, at), dtype="uint32")
        lines.append(loops.store(word, 0, loaded))
        for half, name in zip((even, odd), extension(str(source.dtype)), strict=True):
            value = loops.call(f"tinyc_{name}", loops.load(word, 0), dtype="uint32")
            lines.append(loops.store(half, 0, value))
    return lines
