"""UNIDIRECTIONAL_SEQUENCE_LSTM -> LSTM; one of a single step goes on from where the last run ended.

Of several steps it takes a whole sequence in a run, which begins with zeros.
"""

import numpy as np

from tinyc.compiler.graph import Array, QParams
from tinyc.compiler.tflite_import.building import OnnxGraph
from tinyc.compiler.tflite_import.lite_model import LiteOperator, LiteTensor

# Places among the inputs, by gate in the order of ONNX: input, output, forget, cell.
OF_INPUT, OF_STATE, BIAS = (1, 4, 2, 3), (5, 8, 6, 7), (12, 15, 13, 14)
PEEPHOLES = (9, 11, 10)  # input, output, forget
PROJECTION, NORMALIZATION = (16, 17), (20, 21, 22, 23)
STATES = (18, 19)  # output and cell
TANH = 4
# What the converter from Keras writes, whose layer has no clip: a cell of 10 is far in saturation.
USUAL_CLIP = 10.0


def read_lstm(graph: OnnxGraph, op: LiteOperator) -> str:
    x = op.input(0)
    if any(op.optional(i) is not None for i in (*PROJECTION, *NORMALIZATION)):
        op.refuse("projections and layer normalization inside of an LSTM are not supported")
    if any(op.optional(i) is None for i in (*OF_INPUT, *OF_STATE, *BIAS)):
        op.refuse("an LSTM without an input gate is not supported")
    if op.integer("fused_activation_function") != TANH:
        op.refuse("an LSTM with another activation than tanh is not supported")
    clip = op.real("cell_clip")
    time_major = bool(op.integer("time_major"))
    if len(x.shape) != 3:
        op.malformed(f"the input {list(x.shape)} has no 3 dimensions")
    if 0 < clip < min(USUAL_CLIP, x.shape[0 if time_major else 1]):
        op.refuse(f"an LSTM that clips its cell at {clip} is not supported")
    bias = _real_gates(op, BIAS)
    states = _states(graph, op, x.shape[1 if time_major else 0], bias.size // 4)
    y, *after = graph.add_several(
        "LSTM", 3, _steps_first(graph, graph.real(x), time_major),
        _weights(graph, op, OF_INPUT), _weights(graph, op, OF_STATE),
        graph.constant([[*bias, *np.zeros_like(bias)]], "float32"), "", *(states or ("", "")),
        *_peepholes(graph, op), hidden_size=bias.size // 4,
    )  # fmt: skip
    for before, now in zip(states, after, strict=False):
        graph.remember(before, now)
    y = graph.add("Squeeze", y, graph.constant([1]))
    return _steps_first(graph, y, time_major)


def _states(graph: OnnxGraph, op: LiteOperator, batch: int, hidden: int) -> tuple[str, ...]:
    """The states of an LSTM of one step before the run, output and cell; none of several steps."""
    x, tensors = op.input(0), [op.optional(place) for place in STATES]
    if x.shape[0 if op.integer("time_major") else 1] > 1:
        return ()
    if any(t is None or not t.variable for t in tensors):
        op.refuse("an LSTM of one step without variable tensors is not supported")
    zeros = np.zeros((1, batch, hidden), np.float32)
    return tuple(graph.state(t.name, zeros) for t in tensors if t is not None)


def _steps_first(graph: OnnxGraph, value: str, time_major: bool) -> str:
    """[batch, steps, n] <-> [steps, batch, n]."""
    return value if time_major else graph.add("Transpose", value, perm=[1, 0, 2])


def _weights(graph: OnnxGraph, op: LiteOperator, places: tuple[int, ...]) -> str:
    """The constant weights [hidden, n] of the gates as one [1, 4 * hidden, n], stored as they are.

    Each gate has one scale: of their rows together, each row has one.
    """
    gates = [_constant(op, i) for i in places]
    if len({g.shape for g in gates}) != 1 or len(gates[0].shape) != 2:
        op.malformed(f"the gates have weights {[list(g.shape) for g in gates]}")
    if any(g.quant is None or g.quant.axis is not None or g.dtype != "int8" for g in gates):
        rows = np.concatenate([_real(g) for g in gates])
        return graph.constant(rows[None], "float32")
    hidden = gates[0].shape[0]
    quants = [g.quant for g in gates if g.quant is not None]
    quant = QParams(
        tuple(q.scale[0] for q in quants for _ in range(hidden)),
        tuple(q.zero_point[0] for q in quants for _ in range(hidden)),
        1,
    )
    stored = np.concatenate([op.constant(i) for i in places])
    return graph.dequantized(graph.constant(stored[None], "int8"), "int8", quant)


def _peepholes(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    if all(op.optional(i) is None for i in PEEPHOLES):
        return ()
    return (graph.constant(_real_gates(op, PEEPHOLES)[None], "float32"),)


def _real_gates(op: LiteOperator, places: tuple[int, ...]) -> Array:
    gates = [_constant(op, i) for i in places]
    if len({g.shape for g in gates}) != 1 or len(gates[0].shape) != 1:
        op.malformed(f"the gates have vectors {[list(g.shape) for g in gates]}")
    return np.concatenate([_real(g) for g in gates])


def _constant(op: LiteOperator, place: int) -> LiteTensor:
    op.constant(place)  # refuses what is computed
    return op.input(place)


def _real(tensor: LiteTensor) -> Array:
    assert tensor.data is not None, f"'{tensor.name}' is a constant"
    if tensor.quant is None:
        return tensor.data.astype(np.float64)
    if tensor.quant.axis is not None:
        tensor_scale: Array = np.array(tensor.quant.scale)
        shape = [-1 if i == tensor.quant.axis else 1 for i in range(tensor.data.ndim)]
        return tensor.data.astype(np.float64) * tensor_scale.reshape(shape)
    return (tensor.data.astype(np.float64) - tensor.quant.zero_point[0]) * tensor.quant.scale[0]
