"""Recurrent: LSTM, GRU and RNN over a sequence, as ONNX defines them; sums and state are float32.

x    [T, B, I]; [B, T, I] with batch_first
     x and the sequence may be stored integers
w    [D * G * H, I], r [D * G * H, H]: D directions, G gates (LSTM i o f c, GRU z r h, RNN i);
     weights that are stored integers stay so, and are dequantized as they are read
then by `operands`:
  bias       [D * 2 * G * H]: of w, then of r, for each direction
  lengths    int32 [B]: steps of each sequence; a sequence of none has the state 0, as
             onnxruntime has it
  h, c       the state before the first step: [D, B, H]; [B, D, H] with batch_first
  peepholes  [D * 3 * H]: i o f
results
  sequence   h after every step: [T, D, B, H]; [B, T, D, H] with batch_first
  h, c       the state after the last step, shaped as that before the first
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinyc.compiler.graph import Array, DType, Shape, Tensor
from tinyc.compiler.kernels import recurrence
from tinyc.compiler.ops.element_types import check_type
from tinyc.compiler.ops.gate_activations import Activation, activated
from tinyc.compiler.ops.op import Call, Op, Type, dequantized
from tinyc.compiler.ops.quantize import quantized

Kind = Literal["lstm", "gru", "rnn"]
Operand = Literal["bias", "lengths", "h", "c", "peepholes"]
Result = Literal["sequence", "h", "c"]
GATES: dict[Kind, int] = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True, slots=True)
class RecurrentAttrs:
    """reverse      for each direction: whether it runs from the last step to the first

    activations  for each direction: LSTM f g h, GRU f g, RNN f
    clip         bound of the sums that go into the activations; not of h's, as onnxruntime has it
    coupled      LSTM: the forget gate is 1 - the input gate
    reset_after  GRU: the reset gate is applied to the product with r, not before it
    dynamic      LSTM with stored weights: x of all steps and sequences, and the state of each
                 sequence at each step, are quantized to uint8 before they are multiplied
    """

    kind: Kind
    reverse: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    operands: tuple[Operand, ...] = ()
    results: tuple[Result, ...] = ("sequence",)
    clip: float = math.inf
    batch_first: bool = False
    coupled: bool = False
    reset_after: bool = False
    dynamic: bool = False


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    x, r = inputs[0], inputs[2]
    check_type(attrs.kind.upper(), x, (DType.FLOAT32,))
    return tuple(
        (_shape(x.shape, r.shape[1], attrs, name), DType.FLOAT32) for name in attrs.results
    )


def _shape(x: Shape, hidden: int, attrs: RecurrentAttrs, result: Result) -> Shape:
    directions = len(attrs.reverse)
    if attrs.batch_first:
        batch, steps, _ = x
        steps_of = (steps,) if result == "sequence" else ()
        return (batch, *steps_of, directions, hidden)
    steps, batch, _ = x
    return (*((steps,) if result == "sequence" else ()), directions, batch, hidden)


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a = call.attrs
    names = ("x", "w", "r", *a.operands)
    given = {n: dequantized(v, t) for n, v, t in zip(names, arrays, call.inputs, strict=True)}
    x = given["x"].swapaxes(0, 1) if a.batch_first else given["x"]
    x = _to_eight_bits(x) if a.dynamic else x
    steps, batch, _ = x.shape
    hidden, directions = given["r"].shape[1], len(a.reverse)
    shapes = {"sequence": (steps, directions, batch, hidden), "h": (directions, batch, hidden)}
    found = {n: np.zeros(shapes.get(n, shapes["h"])) for n in ("sequence", "h", "c")}
    lengths = given.get("lengths", np.full(batch, steps)).astype(np.int64).clip(0, steps)
    for d in range(directions):
        cell = _direction(a, given, d, hidden)
        for b in range(batch):
            h, c = (
                _initial(given if lengths[b] else {}, name, a.batch_first, d, b, hidden)
                for name in ("h", "c")
            )
            order = range(lengths[b])
            for t in reversed(order) if a.reverse[d] else order:
                h, c = cell(x[t, b], _to_eight_bits(h) if a.dynamic else h, c)
                found["sequence"][t, d, b] = h
            found["h"][d, b], found["c"][d, b] = h, c
    if a.batch_first:
        found = {
            n: v.transpose(2, 0, 1, 3) if n == "sequence" else v.swapaxes(0, 1)
            for n, v in found.items()
        }
    results = (np.ascontiguousarray(found[n], np.float32) for n in a.results)
    return tuple(
        v if t.quant is None else quantized(v, t.dtype, t.quant)
        for v, t in zip(results, call.outputs, strict=True)
    )


def _to_eight_bits(values: Array) -> Array:
    """The reals that are nearest in uint8, with one scale for all of them."""
    x = values.astype(np.float32)
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    scale = (high - low) / np.float32(255) if high > low else np.float32(1)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    stored = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.float64)
    return np.asarray((stored - zero) * float(scale))


def _initial(
    given: dict[str, Array], name: str, batch_first: bool, d: int, b: int, hidden: int
) -> Array:
    state = given.get(name)
    if state is None:
        return np.zeros(hidden)
    return np.asarray(state[b, d] if batch_first else state[d, b])


def _direction(a: RecurrentAttrs, given: dict[str, Array], d: int, hidden: int) -> Any:
    """(x, h, c) -> the next h and c of one direction."""
    gates, functions = GATES[a.kind], a.activations[d]
    w = given["w"].reshape(len(a.reverse), gates, hidden, -1)[d]
    r = given["r"].reshape(len(a.reverse), gates, hidden, hidden)[d]
    zeros = np.zeros(len(a.reverse) * 2 * gates * hidden)
    bw, br = given.get("bias", zeros).reshape(len(a.reverse), 2, gates, hidden)[d]
    no_peepholes = np.zeros(len(a.reverse) * 3 * hidden)
    pi, po, pf = given.get("peepholes", no_peepholes).reshape(-1, 3, hidden)[d]

    def f(number: int, value: Array) -> Array:
        return activated(functions[number], np.clip(value, -a.clip, a.clip))

    def rnn(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        return f(0, w[0] @ x + bw[0] + r[0] @ h + br[0]), c

    def gru(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        z, reset = (f(0, w[g] @ x + bw[g] + r[g] @ h + br[g]) for g in (0, 1))
        if a.reset_after:
            new = f(1, w[2] @ x + bw[2] + reset * (r[2] @ h + br[2]))
        else:
            new = f(1, w[2] @ x + bw[2] + r[2] @ (reset * h) + br[2])
        return (1 - z) * new + z * h, c

    def lstm(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, o, forget, new = (w[g] @ x + bw[g] + r[g] @ h + br[g] for g in range(4))
        i = f(0, i + pi * c)
        forget = 1 - i if a.coupled else f(0, forget + pf * c)
        after = forget * c + i * f(1, new)
        return f(0, o + po * after) * activated(functions[2], after), after

    return {"lstm": lstm, "gru": gru, "rnn": rnn}[a.kind]


def macs(call: Call) -> int:
    x, w, r = call.inputs[:3]
    return (w.elements + r.elements) * x.shape[0] * x.shape[1]


RECURRENT = Op("Recurrent", infer, reference, recurrence.kernel, macs=macs)
