"""The cells of LSTM, GRU and RNN: from the gates of a step to the next state, unit by unit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyc.compiler.kernels.gate_products import GateProducts
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.gate_activations import expression
from tinyc.compiler.ops.op import Call


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What the code of one direction is made of.

    buffers      by operand and result; what is missing is not there
    gates        the scratch with the gates at its beginning
    h, c         where the state of the sequence is: a buffer, and the index of its first unit
    """

    call: Call
    direction: int
    hidden: int
    buffers: Mapping[str, Any]
    gates: Any
    h: tuple[Any, Any]
    c: tuple[Any, Any]

    def gate(self, number: int, j: Any) -> Any:
        return loops.load(self.gates, number * self.hidden + j)

    def function(self, number: int, value: Any) -> Any:
        activation = self.call.attrs.activations[self.direction][number]
        return expression(activation, value)

    def clipped(self, value: Any) -> Any:
        clip = self.call.attrs.clip
        if clip == math.inf:
            return value
        bound = loops.const(clip, "float32")
        return loops.minimum(loops.maximum(value, loops.const(-clip, "float32")), bound)

    def with_peephole(self, number: int, j: Any, value: Any, state: Any) -> Any:
        """`value` and the state times a peephole: 0 of the input gate, 1 output, 2 forget."""
        table = self.buffers.get("peepholes")
        if table is None:
            return value
        at = (self.direction * 3 + number) * self.hidden + j
        return value + loops.load(table, at) * state


def _set(local: Any, value: Any) -> Any:
    return loops.store(local, 0, value)


def _get(local: Any) -> Any:
    return loops.load(local, 0)


def _rnn(cell: Cell, products: GateProducts) -> list[Any]:
    (h, at), value = cell.h, loops.local("value", "float32")
    return [
        *products.add(cell.direction, 0, 1, 0, loops.pointer(h, at)),
        loops.loop("j", cell.hidden, lambda j: [
            *loops.declare(value),
            _set(value, cell.clipped(cell.gate(0, j))),
            loops.store(h, at + j, cell.function(0, _get(value))),
        ]),
    ]  # fmt: skip


def _gru(cell: Cell, products: GateProducts) -> list[Any]:
    """Gates 0 update, 1 reset, 2 new; 3 is r h of the new one, with reset_after."""
    (h, at), hidden, gates = cell.h, cell.hidden, cell.gates
    value, after = loops.local("value", "float32"), cell.call.attrs.reset_after
    state = loops.pointer(h, at)

    def gate(j: Any, number: int) -> list[Any]:
        return [
            *loops.declare(value),
            _set(value, cell.clipped(cell.gate(number, j))),
            loops.store(gates, number * hidden + j, cell.function(0, _get(value))),
        ]

    def reset(j: Any) -> Any:
        what = loops.load(gates, 3 * hidden + j) if after else loops.load(h, at + j)
        to = 3 * hidden if after else hidden
        return loops.store(gates, to + j, cell.gate(1, j) * what)

    def new(j: Any) -> list[Any]:
        sums = cell.gate(2, j) + cell.gate(3, j) if after else cell.gate(2, j)
        z, one = cell.gate(0, j), loops.const(1.0, "float32")
        return [
            *loops.declare(value),
            _set(value, cell.clipped(sums)),
            _set(value, cell.function(1, _get(value))),
            loops.store(h, at + j, (one - z) * _get(value) + z * loops.load(h, at + j)),
        ]

    d, lines = cell.direction, products.add(cell.direction, 0, 2, 0, state)
    if after:
        lines += products.add(d, 2, 1, 3, state)
    lines += [
        loops.loop("j", 2 * hidden, lambda j: gate(j, 0)),
        loops.loop("j", hidden, lambda j: [reset(j)]),
    ]
    if not after:
        lines += products.add(d, 2, 1, 2, loops.pointer(gates, hidden))
    return [*lines, loops.loop("j", hidden, new)]


def _lstm(cell: Cell, products: GateProducts) -> list[Any]:
    """Gates 0 input, 1 output, 2 forget, 3 new."""
    (h, h_at), (c, c_at) = cell.h, cell.c
    names = ("value", "input", "forget", "state")
    value, enter, forget, state = (loops.local(name, "float32") for name in names)

    def gate(to: Any, number: int, peephole: int, j: Any, function: int) -> list[Any]:
        sums = cell.gate(number, j)
        if peephole >= 0:
            sums = cell.with_peephole(peephole, j, sums, _get(state))
        return [
            _set(value, cell.clipped(sums)),
            _set(to, cell.function(function, _get(value))),
        ]

    def unit(j: Any) -> list[Any]:
        coupled = [_set(forget, loops.const(1.0, "float32") - _get(enter))]
        return [
            *loops.declare(value, enter, forget, state),
            _set(state, loops.load(c, c_at + j)),
            *gate(enter, 0, 0, j, 0),
            *(coupled if cell.call.attrs.coupled else gate(forget, 2, 2, j, 0)),
            _set(state, _get(forget) * _get(state)),
            *gate(value, 3, -1, j, 1),
            _set(state, _get(state) + _get(enter) * _get(value)),
            loops.store(c, c_at + j, _get(state)),
            *gate(forget, 1, 1, j, 0),
            loops.store(h, h_at + j, _get(forget) * cell.function(2, _get(state))),
        ]

    lines = products.add(cell.direction, 0, 4, 0, loops.pointer(h, h_at))
    return [*lines, loops.loop("j", cell.hidden, unit)]


CELLS: Mapping[str, Callable[[Cell, GateProducts], list[Any]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
}
