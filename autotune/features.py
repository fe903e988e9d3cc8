"""A schedule of a call as numbers that its cycles can be learned from."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array
from tinyc.compiler.ops import OPS, kernel_of
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

ALGORITHMS = sorted({name for op in OPS.values() for name in op.algorithms})
WORDS = sorted({f.name for f in fields(Schedule) if f.type is str} - {"algorithm"})
NUMBERS = sorted(f.name for f in fields(Schedule) if f.type is int)


def features(call: Call, target: Target, schedule: Schedule) -> Array:
    """float32; which operator and algorithm, the sizes, the choices, and the loop nest they make.

    Sizes are logarithms: half the pixels are half the cycles, whatever the layer.
    """
    values = [*_names(call, schedule), *_sizes(call), *_choices(call, schedule)]
    return np.array([*values, *_code(kernel_of(call, target, schedule))], np.float32)


def _names(call: Call, schedule: Schedule) -> list[float]:
    words = [float(_code_of(getattr(schedule, word))) for word in WORDS]
    return [*(float(schedule.algorithm == name) for name in ALGORITHMS), *words]


def _code_of(word: str) -> int:
    """A number for a word, the same everywhere; trees only ask which of few it is."""
    return sum(map(ord, word)) % 97


def _sizes(call: Call) -> list[float]:
    x, y = call.inputs[0], call.outputs[0]
    products = OPS[call.node.op].macs(call) / max(y.elements, 1)
    strides = getattr(call.attrs, "strides", (1, 1))
    padded = any(getattr(call.attrs, "pads", ()))
    sizes = (x.elements, y.elements, y.shape[-1], x.shape[-1], y.elements // y.shape[-1], products)
    return [*(math.log2(max(s, 1)) for s in sizes), *map(float, strides), float(padded)]


def _choices(call: Call, schedule: Schedule) -> list[float]:
    """The plain choices, and what they leave over at the ends of rows, channels and products."""
    y = call.outputs[0]
    width, channels = y.shape[-2] if len(y.shape) > 1 else 1, y.shape[-1]
    products = max(OPS[call.node.op].macs(call) // max(y.elements, 1), 1)
    values = [float(getattr(schedule, name)) for name in NUMBERS]
    parts = ((width, schedule.rows), (channels, schedule.columns), (products, schedule.unroll))
    waste = [_rounded_up(whole, part) / max(whole, 1) for whole, part in parts]
    return [*values, float(schedule.rows * schedule.columns), *waste]


def _rounded_up(whole: int, part: int) -> int:
    return -(-whole // part) * part if part else whole


def _code(kernel: Kernel) -> list[float]:
    """What the kernel became: tables, scratch, loops and statements of the nest, its blocks."""
    kinds = Counter(type(statement).__name__ for statement in _nest(kernel.function.body))
    lines = sum(m.text.count("\n") for m in kernel.microkernels)
    tables = sum(c.array.nbytes for c in kernel.constants)
    statements = kinds.total() - kinds["For"] - kinds["SeqStmt"]
    numbers = (tables, kernel.scratch_bytes, kinds["For"], statements, lines)
    return [math.log2(1 + n) for n in numbers]


def _nest(statement: Any) -> Iterator[Any]:
    """A TensorIR statement and all that are in it."""
    yield statement
    parts = list(getattr(statement, "seq", ()))
    parts += [getattr(statement, name, None) for name in ("body", "then_case", "else_case")]
    for part in parts:
        if part is not None:
            yield from _nest(part)
