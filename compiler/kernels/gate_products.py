"""The products of recurrent kernels: gates = biases + w x, gates += r h.

Three ways: plain C on floats, blocks in assembly where the core has them (`arm_vfp.py`), and
stored integers that are dequantized as they are read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.kernels import added_products, dynamic_products, float_block
from tinyc.compiler.kernels.float_block import Reads
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.clamp import NO_CLAMP
from tinyc.compiler.ops.kernel import Constant, Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets import Target

CHANNELS = 8  # of a block


@dataclass(frozen=True, slots=True, eq=False)
class GateProducts:
    """How the kernel gets its gates.

    begin  (direction, address of x): gates = biases + w x
    add    (direction, first gate, gates, to, address of h): gates[to ...] += r[first ...] h
    inputs buffers of w, r and the bias where they are computed at run time
    range_of_x   what comes before the first step, with the address of x of all steps
    constants, buffers  of the tables that both read
    """

    begin: Callable[[int, Any], list[Any]]
    add: Callable[[int, int, int, int, Any], list[Any]]
    constants: tuple[Constant, ...]
    buffers: tuple[Any, ...]
    microkernels: tuple[Microkernel, ...]
    note: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    range_of_x: Callable[[Any], list[Any]] = lambda x: []


def more_floats(call: Call) -> int:
    """Of scratch behind the gates and the state."""
    if not call.attrs.dynamic:
        return 0
    return dynamic_products.scratch_floats(max(t.shape[1] for t in call.inputs[1:3]))


def gate_products(call: Call, target: Target, gates: Any) -> GateProducts:
    """gates  the scratch with the gates at its beginning, [gates, hidden]"""
    _, w, r, *_ = call.inputs
    bias = _operand(call, "bias")
    constant = all(t is None or t.data is not None for t in (w, r, bias))
    floats = w.dtype == r.dtype == DType.FLOAT32
    if call.attrs.dynamic:
        return _dynamic(call, gates)
    if constant and floats and float_block.suits([w], [], target):
        return _blocks(call, target, gates)
    return _plain(call, gates)


def _operand(call: Call, name: str) -> Tensor | None:
    tensors = dict(zip(call.attrs.operands, call.inputs[3:], strict=True))
    return tensors.get(name)


def _sizes(call: Call) -> tuple[int, int, int]:
    """Gates, hidden units, directions."""
    hidden, directions = call.inputs[2].shape[1], len(call.attrs.reverse)
    return call.inputs[2].shape[0] // hidden // directions, hidden, directions


def _biases(call: Call, bias: Array | None) -> Array:
    """What each direction's gates begin with, [directions, vectors * hidden]."""
    gates, hidden, directions = _sizes(call)
    zeros = np.zeros(directions * 2 * gates * hidden, np.float32)
    both = (zeros if bias is None else bias).reshape(directions, 2, gates, hidden)
    own = both.sum(axis=1, dtype=np.float32)
    if call.attrs.reset_after:  # the biases of the new gate stay apart
        own = np.concatenate([own[:, :2], both[:, 0, 2:], both[:, 1, 2:]], axis=1)
    return np.ascontiguousarray(own.reshape(directions, -1))


@dataclass(frozen=True, slots=True, eq=False)
class _Matrix:
    """w or r of the plain products: a buffer, and the tables of its scales where it is stored."""

    tensor: Tensor
    buffer: Any
    tables: tuple[Constant, ...] = ()
    buffers: tuple[Any, ...] = ()

    def add(self, row: int, rows: int, source: Any, gates: Any, to: int) -> Any:
        """gates[to ...] += matrix[row ...] source"""
        columns = self.tensor.shape[1]
        matrix = loops.pointer(self.buffer, row * columns)
        sizes = (loops.const(rows), loops.const(columns))
        target = loops.pointer(gates, to)
        if not self.tables:
            return loops.run(added_products.FLOATS.name, matrix, source, target, *sizes)
        scales, zeros = self.buffers
        step = int(scales.shape[0] > 1)
        return loops.run(
            added_products.stored(self.tensor.dtype).name, matrix,
            loops.pointer(scales, row * step), loops.pointer(zeros, row * step),
            loops.const(step), source, target, *sizes,
        )  # fmt: skip


def _matrix(name: str, tensor: Tensor) -> _Matrix:
    buffer = loops.buffer(name, tensor.elements, tensor.dtype)
    if tensor.quant is None:
        return _Matrix(tensor, buffer)
    tables = (
        Constant(f"{name}_scales", read_only(tensor.quant.scale, "float32")),
        Constant(f"{name}_zeros", read_only(tensor.quant.zero_point, "int32")),
    )
    buffers = tuple(loops.buffer(t.role, t.array.size, str(t.array.dtype)) for t in tables)
    return _Matrix(tensor, buffer, tables, buffers)


def _plain(call: Call, gates: Any) -> GateProducts:
    (count, hidden, _), bias = _sizes(call), _operand(call, "bias")
    w, r = _matrix("w", call.inputs[1]), _matrix("r", call.inputs[2])
    constants = [Constant(m.buffer.name, m.tensor.data.reshape(-1)) for m in (w, r)
                 if m.tensor.data is not None]  # fmt: skip
    inputs = {m.buffer.name: m.buffer for m in (w, r) if m.tensor.data is None}
    buffers = [m.buffer for m in (w, r) if m.tensor.data is not None]
    starts = loops.buffer("bias", bias.elements if bias else 1, "float32")
    if bias is not None and bias.data is None:
        inputs["bias"] = starts
    else:
        table = _biases(call, None if bias is None else bias.data)
        starts = loops.buffer("bias", table.size, "float32")
        constants.append(Constant("bias", read_only(table.reshape(-1))))
        buffers.append(starts)
    begin_bias = _starts(call, gates, starts, bias is not None and bias.data is None)

    def begin(d: int, x: Any) -> list[Any]:
        rows = count * hidden
        return [*begin_bias(d), w.add(d * rows, rows, x, gates, 0)]

    def add(d: int, first: int, some: int, to: int, h: Any) -> list[Any]:
        return [r.add((d * count + first) * hidden, some * hidden, h, gates, to * hidden)]

    stored = {m.tensor.dtype for m in (w, r) if m.tables}
    blocks = [added_products.stored(dtype) for dtype in sorted(stored)]
    if len(stored) < 2 and not (w.tables and r.tables):
        blocks.append(added_products.FLOATS)
    return GateProducts(
        begin,
        add,
        (*constants, *w.tables, *r.tables),
        (*buffers, *w.buffers, *r.buffers),
        tuple(blocks),
        f"plain C, {' and '.join(sorted(stored))} weights" if stored else "plain C",
        inputs,
    )


def _dynamic(call: Call, scratch: Any) -> GateProducts:
    """What is multiplied is quantized before, one row at a time."""
    plain, (count, hidden, _) = _plain(call, scratch), _sizes(call)
    x, w, r = call.inputs[0], _matrix("w", call.inputs[1]), _matrix("r", call.inputs[2])
    bias = _operand(call, "bias")
    ranges = int(scratch.shape[0]) - more_floats(call)
    stored = ranges + dynamic_products.RANGES
    buffers = {str(b.name): b for b in plain.buffers}
    starts = _starts(call, scratch, {**buffers, **plain.inputs}["bias"],
                     bias is not None and bias.data is None)  # fmt: skip

    def add(matrix: _Matrix, row: int, rows: int, source: Any, of: int, to: int) -> list[Any]:
        name, columns = str(matrix.buffer.name), matrix.tensor.shape[1]
        scales, zeros = buffers[f"{name}_scales"], buffers[f"{name}_zeros"]
        step = int(scales.shape[0] > 1)
        return [
            dynamic_products.quantized_row(source, columns, scratch, of, stored),
            loops.run(
                dynamic_products.products(matrix.tensor.dtype).name,
                loops.pointer(buffers[name], row * columns), loops.pointer(scales, row * step),
                loops.pointer(zeros, row * step), loops.const(step),
                loops.pointer(scratch, stored), loops.pointer(scratch, of),
                loops.pointer(scratch, to), loops.const(rows), loops.const(columns),
            ),
        ]  # fmt: skip

    def begin(d: int, source: Any) -> list[Any]:
        rows = count * hidden
        return [*starts(d), *add(w, d * rows, rows, source, ranges, 0)]

    def add_state(d: int, first: int, some: int, to: int, h: Any) -> list[Any]:
        row = (d * count + first) * hidden
        found = dynamic_products.find_range(h, hidden, scratch, ranges + 2)
        return [found, *add(r, row, some * hidden, h, ranges + 2, to * hidden)]

    types = sorted({w.tensor.dtype, r.tensor.dtype})
    return replace(
        plain,
        begin=begin,
        add=add_state,
        microkernels=(
            dynamic_products.RANGE, dynamic_products.QUANTIZE,
            *map(dynamic_products.products, types),
        ),
        note=f"plain C, {' and '.join(types)} weights, values quantized as they come",
        range_of_x=lambda x_at: [
            dynamic_products.find_range(x_at, x.elements, scratch, ranges)
        ],
    )  # fmt: skip


def _starts(call: Call, gates: Any, bias: Any, given: bool) -> Callable[[int], list[Any]]:
    """The gates begin with the biases; given: as the operand has them, w's and r's apart."""
    count, hidden, _ = _sizes(call)
    own = count * hidden

    def from_table(d: int) -> list[Any]:
        size = int(bias.shape[0]) // len(call.attrs.reverse)
        return [
            loops.loop("j", size, lambda j: [
                loops.store(gates, j, loops.load(bias, d * size + j))
            ])
        ]  # fmt: skip

    def copied(to: int, at: int) -> Any:
        return loops.loop("j", hidden, lambda j: [
            loops.store(gates, to + j, loops.load(bias, at + j))
        ])  # fmt: skip

    def from_operand(d: int) -> list[Any]:
        of_w, of_r = 2 * d * own, (2 * d + 1) * own
        together = own - hidden if call.attrs.reset_after else own
        sums = loops.loop("j", together, lambda j: [
            loops.store(gates, j, loops.load(bias, of_w + j) + loops.load(bias, of_r + j))
        ])  # fmt: skip
        if not call.attrs.reset_after:
            return [sums]
        return [sums, copied(own - hidden, of_w + together), copied(own, of_r + together)]

    return from_operand if given else from_table


def _blocks(call: Call, target: Target, gates: Any) -> GateProducts:
    """The blocks of `arm_vfp.py`: the biases begin the sums of w x, which begin those of r h."""
    (count, hidden, directions), bias = _sizes(call), _operand(call, "bias")
    w, r = (t.data for t in call.inputs[1:3])
    assert w is not None and r is not None, "the weights are constant"
    starts = _biases(call, None if bias is None else bias.data)
    streams: list[Array] = []
    microkernels: dict[str, Microkernel] = {}
    parts: dict[tuple[str, int, int], tuple[int, tuple[float_block.Part, ...]]] = {}

    def hold(name: str, d: int, first: int, matrix: Array, values: Array, onto: bool) -> None:
        stream, own = float_block.parts_of(
            float_block.floats(matrix), values, [1], min(CHANNELS, len(matrix)),
            float_block.UNROLLS[0], NO_CLAMP, target, onto,
        )  # fmt: skip
        parts[name, d, first] = sum(s.size for s in streams), own
        streams.append(stream)
        microkernels.update({p.blocks[1].name: p.blocks[1] for p in own})

    apart = [(0, count)] if call.attrs.kind != "gru" else [(0, 2), (2, 1)]
    for d in range(directions):
        rows = slice(d * count * hidden, (d + 1) * count * hidden)
        hold("w", d, 0, w[rows], starts[d, : count * hidden], False)
        for first, some in apart:
            own = r[rows][first * hidden : (first + some) * hidden]
            alone = call.attrs.reset_after and first == 2  # its gates hold nothing before
            values = starts[d, 3 * hidden :] if alone else np.zeros(len(own), np.float32)
            hold("r", d, first, own, values, not alone)
    table = np.concatenate(streams)
    stream = loops.buffer("stream", table.size, "float32")

    def run(key: tuple[str, int, int], source: Any, columns: int, to: int) -> list[Any]:
        begin, own = parts[key]
        alone = key[0] == "w" or (call.attrs.reset_after and key[2] == 2)
        placed = [float_block.Part(p.first, begin + p.begin, begin + p.end, p.blocks) for p in own]
        return [
            float_block.run_part(
                p, 1, stream, source, Reads(columns, 0, 1, columns), (gates, to), 0,
                loops.const(1), None if alone else gates,
            )
            for p in placed
        ]  # fmt: skip

    return GateProducts(
        lambda d, x: run(("w", d, 0), x, w.shape[1], 0),
        lambda d, first, some, to, h: run(("r", d, first), h, hidden, to * hidden),
        (Constant("stream", read_only(table)),),
        (stream,),
        tuple(microkernels.values()),
        f"float 1x{min(CHANNELS, hidden)}, assembly",
    )
