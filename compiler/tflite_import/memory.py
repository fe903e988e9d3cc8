"""SVDF: a layer of filters whose results of the last steps are weighed by filters of time."""

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.states import DOMAIN
from tinyc.compiler.tflite_import.building import OnnxGraph
from tinyc.compiler.tflite_import.lite_model import LiteOperator, LiteTensor


def read_svdf(graph: OnnxGraph, op: LiteOperator) -> str:
    """x [batch, n] by weights [filters, n] goes to the end of a state of `memory` steps."""
    x, feature, time, state = (op.input(i) for i in (0, 1, 2, 4))
    rank = op.integer("rank")
    for place in (1, 2):
        op.constant(place)
    if len(x.shape) != 2 or len(feature.shape) != 2 or len(time.shape) != 2 or rank < 1:
        op.malformed(f"the input is {list(x.shape)}, the rank {rank}")
    filters, memory = time.shape
    if feature.shape != (filters, x.shape[1]) or filters % rank or not filters or not memory:
        op.malformed(f"the weights are {list(feature.shape)} and {list(time.shape)}")
    if not state.variable:
        op.malformed(f"'{state.name}' is no variable tensor")
    first = _first(op, state, (x.shape[0], memory, filters))
    found = graph.add("MatMul", graph.real(x), graph.moved(feature, (1, 0)))
    past = graph.reshaped(graph.stored(found, state), (x.shape[0], 1, filters))
    if memory > 1:
        window = graph.state(state.name, first)
        past = graph.add("Shift", window, past, domain=DOMAIN)
        graph.remember(window, past)
    if state.quant is not None:
        past = graph.dequantized(past, state.dtype, state.quant)
    y = graph.add(
        "TimeFilter", past, graph.moved(time, (1, 0)), _bias(graph, op, filters // rank),
        domain=DOMAIN, units=[x.shape[0], filters // rank, rank],
    )  # fmt: skip
    return graph.activated(op, y)


def _first(op: LiteOperator, state: LiteTensor, shape: tuple[int, ...]) -> Array:
    """A past of zeros, as it is stored."""
    if state.dtype not in ("float32", "int8", "int16") or (
        state.quant is None and state.dtype != "float32"
    ):
        op.refuse(f"a state of {state.dtype} is not supported")
    zero = state.quant.zero_point[0] if state.quant else 0
    return np.full(shape, zero, state.dtype)


def _bias(graph: OnnxGraph, op: LiteOperator, units: int) -> str:
    if op.optional(3) is None:
        return graph.constant(np.zeros(units), "float32")
    if op.constant(3).shape != (units,):
        op.malformed(f"the bias is {list(op.input(3).shape)}, expected [{units}]")
    return graph.real(op.input(3))
