"""LSTM, GRU and RNN: all steps in one kernel, one direction after the other.

For each step and sequence: the gates are the biases plus w x plus r h (`gate_products.py`), then
the cell goes over the hidden units (`recurrent_cells.py`). The state lies in the outputs for the
last state where the model reads them, else in the scratch, and is written over in place: the
products of a step have read all of it before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Tensor
from tinyc.compiler.kernels.gate_products import GateProducts, gate_products, more_floats
from tinyc.compiler.kernels.recurrent_cells import CELLS, Cell
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

WORDS = {"lstm": 4, "gru": 3, "rnn": 1}  # vectors of gates; GRU with reset_after has one more


@dataclass(frozen=True, slots=True)
class Place:
    """Where the elements of a tensor lie: index = t * step + d * direction + b * batch + unit."""

    step: int
    direction: int
    batch: int


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    a, x, r = call.attrs, call.inputs[0], call.inputs[2]
    steps, batch = x.shape[:2][::-1] if a.batch_first else x.shape[:2]
    hidden, directions = r.shape[1], len(a.reverse)
    tensors = dict(zip(("x", "w", "r", *a.operands), call.inputs, strict=True))
    results = dict(zip(a.results, call.outputs, strict=True))
    vectors = WORDS[a.kind] + a.reset_after
    kept = [name for name in (("h", "c") if a.kind == "lstm" else ("h",)) if name not in results]
    places = {name: (vectors + batch * i) * hidden for i, name in enumerate(kept)}
    own = (vectors + batch * len(kept)) * hidden
    row = 0 if x.quant is None else x.shape[2]
    scratch = loops.buffer("scratch", own + row + more_floats(call), "float32")
    products = gate_products(call, target, scratch)
    places["x"] = own
    inputs = {name: _buffer(name, t) for name, t in tensors.items() if t.data is None}
    inputs |= {n: b for n, b in products.inputs.items()}
    outputs = {f"y_{name}": _buffer(f"y_{name}", t) for name, t in results.items()}
    tables = _tables({n: t for n, t in tensors.items() if n not in ("w", "r", "bias")})
    table_buffers = {c.role: loops.buffer(c.role, c.array.size, str(c.array.dtype)) for c in tables}
    buffers = {**inputs, **outputs, **table_buffers}
    body: list[Any] = products.range_of_x(loops.pointer(buffers["x"]))
    for d in range(directions):
        body += _direction(call, d, (steps, batch, hidden), buffers, products, scratch, places)
    function = loops.function(
        [*inputs.values(), *outputs.values(), *table_buffers.values(), *products.buffers, scratch],
        body,
    )
    return Kernel(
        a.kind,
        function,
        constants=(*tables, *products.constants),
        scratch_bytes=4 * int(scratch.shape[0]),
        microkernels=products.microkernels,
        float_code=True,
        note=products.note,
    )


def _dequantized(x: Tensor, source: Any, first: Any, scratch: Any, at: int) -> Any:
    """Statement: scratch[at ...] = the reals of the row of x from `first` on."""
    assert x.quant is not None
    zero, scale = x.quant.zero_point[0], loops.const(x.quant.scale[0], "float32")

    def real(j: Any) -> Any:
        return (loops.load(source, first + j, "int32") - zero).astype("float32") * scale

    return loops.loop("j", x.shape[2], lambda j: [loops.store(scratch, at + j, real(j))])


def _quantized(value: Any, y: Tensor) -> Any:
    """The stored integer of a real; tinyc_nearest stops beyond all values of 16 bits."""
    assert y.quant is not None
    low, high = y.dtype.limits
    zero, scale = y.quant.zero_point[0], loops.const(y.quant.scale[0], "float32")
    steps = loops.call("tinyc_nearest", value / scale) + zero
    return loops.clamp(steps, low, high)


def _buffer(name: str, tensor: Tensor) -> Any:
    return loops.buffer(name, tensor.elements, tensor.dtype)


def _tables(tensors: Mapping[str, Tensor]) -> tuple[Constant, ...]:
    return tuple(
        Constant(name, t.data.reshape(-1)) for name, t in tensors.items() if t.data is not None
    )


def _places(batch_first: bool, steps: int, batch: int, width: int, directions: int) -> Place:
    """Of a sequence with `directions` vectors of `width` for each step."""
    if batch_first:
        return Place(directions * width, width, steps * directions * width)
    return Place(directions * batch * width, batch * width, width)


def _direction(
    call: Call,
    d: int,
    sizes: tuple[int, int, int],
    buffers: Mapping[str, Any],
    products: GateProducts,
    scratch: Any,
    kept: Mapping[str, int],
) -> list[Any]:
    """All steps of one direction.

    sizes  steps, sequences, hidden units
    kept   where in the scratch the state is that is no output, and a row of x that was stored
    """
    a, (steps, batch, hidden) = call.attrs, sizes
    x_place = _places(a.batch_first, steps, batch, call.inputs[0].shape[2], 1)
    y_place = _places(a.batch_first, steps, batch, hidden, len(a.reverse))
    state_place = _places(a.batch_first, 1, batch, hidden, len(a.reverse))
    lengths = buffers.get("lengths")

    def stored(value: Any) -> Any:
        sequence = call.outputs[a.results.index("sequence")]
        return value if sequence.quant is None else _quantized(value, sequence)

    def state(name: str, b: Any) -> tuple[Any, Any]:
        if name in kept:
            return scratch, kept[name] + b * hidden
        return buffers.get(f"y_{name}"), d * state_place.direction + b * state_place.batch

    def begin(name: str, b: Any) -> Any:
        (to, at), first, zero = state(name, b), buffers.get(name), loops.const(0.0, "float32")
        given = d * state_place.direction + b * state_place.batch

        def value(j: Any) -> Any:
            if first is None:
                return zero
            known = loops.load(first, given + j)
            if lengths is None:
                return known
            return loops.select(loops.load(lengths, b) > 0, known, zero)

        return loops.loop("j", hidden, lambda j: [loops.store(to, at + j, value(j))])

    def step(t: Any, b: Any, length: Any) -> list[Any]:
        time = length - 1 - t if a.reverse[d] else t
        no_c = (scratch, 0)
        c = state("c", b) if a.kind == "lstm" else no_c
        cell = Cell(call, d, hidden, buffers, scratch, state("h", b), c)
        first = time * x_place.step + b * x_place.batch
        source, lines = loops.pointer(buffers["x"], first), list[Any]()
        if call.inputs[0].quant is not None:
            source = loops.pointer(scratch, kept["x"])
            lines.append(_dequantized(call.inputs[0], buffers["x"], first, scratch, kept["x"]))
        lines += [*products.begin(d, source), *CELLS[a.kind](cell, products)]
        if "y_sequence" not in buffers:
            return lines
        at = time * y_place.step + d * y_place.direction + b * y_place.batch
        h, h_first = cell.h
        copy = loops.loop("j", hidden, lambda j: [
            loops.store(buffers["y_sequence"], at + j, stored(loops.load(h, h_first + j)))
        ])  # fmt: skip
        return [*lines, copy]

    def behind(t: Any, b: Any) -> list[Any]:
        """A step behind the end of a sequence is zeros."""
        if "y_sequence" not in buffers:
            return []
        at = t * y_place.step + d * y_place.direction + b * y_place.batch
        zero = stored(loops.const(0.0, "float32"))
        return [
            loops.loop("j", hidden, lambda j: [loops.store(buffers["y_sequence"], at + j, zero)])
        ]

    def one(t: Any, b: Any) -> list[Any]:
        if lengths is None:
            return step(t, b, steps)
        length = loops.minimum(loops.load(lengths, b, "int32"), loops.const(steps))
        return [loops.when(t < length, step(t, b, length), behind(t, b) or None)]

    def begins(b: Any) -> list[Any]:
        return [begin(name, b) for name in (("h", "c") if a.kind == "lstm" else ("h",))]

    return [
        loops.loop("b", batch, begins),
        loops.loop("t", steps, lambda t: [loops.loop("b", batch, lambda b: one(t, b))]),
    ]
