"""LSTM, GRU and RNN -> Recurrent; weights that are dequantized constants stay stored integers."""

from typing import Any

import numpy as np

from tinyc.compiler.graph import EIGHT_BITS, Array, DType, QParams, Tensor
from tinyc.compiler.onnx_import.arguments import constant_values
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.element_types import REALS
from tinyc.compiler.ops.gate_activations import Activation
from tinyc.compiler.ops.recurrent import GATES, Kind, Operand, RecurrentAttrs, Result

# name -> the function, which parameters it takes, and their defaults
ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
    "elu": ("elu", {"alpha": 1.0}),
    "hardsigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "leakyrelu": ("leaky_relu", {"alpha": 0.01}),
    "relu": ("relu", {}),
    "scaledtanh": ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}),
    "sigmoid": ("sigmoid", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "tanh": ("tanh", {}),
    "thresholdedrelu": ("thresholded_relu", {"alpha": 1.0}),
}
DEFAULTS: dict[Kind, tuple[str, ...]] = {
    "lstm": ("Sigmoid", "Tanh", "Tanh"),
    "gru": ("Sigmoid", "Tanh"),
    "rnn": ("Tanh",),
}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
RESULTS: tuple[Result, ...] = ("sequence", "h", "c")
STORED = (*EIGHT_BITS, DType.INT16)  # weights that the kernel reads as they are stored


def read_lstm(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _read(build, node, "lstm")


def read_gru(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _read(build, node, "gru")


def read_rnn(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    return _read(build, node, "rnn")


def read_dynamic_lstm(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    """onnxruntime's LSTM of stored weights, which quantizes x and the state at run time."""
    w, r = (_turned_weights(build, node, *at) for at in ((1, 8, 9), (2, 10, 11)))
    return _read_layer(build, node, "lstm", w, r, dynamic=True)


def _read(build: Builder, node: ModelNode, kind: Kind) -> tuple[Tensor, ...]:
    w, r = (_weights(build, node, i) for i in (1, 2))
    return _read_layer(build, node, kind, w, r)


def _read_layer(
    build: Builder, node: ModelNode, kind: Kind, w: Tensor, r: Tensor, dynamic: bool = False
) -> tuple[Tensor, ...]:
    given = build.operand(node, 0)
    x, w, r = (_single(build, node, t) for t in (given, w, r))
    direction = node.text("direction", "forward")
    if direction not in DIRECTIONS:
        node.malformed(f"there is no direction '{direction}'")
    reverse = DIRECTIONS[direction]
    hidden = _hidden(node, kind, x, w, r, len(reverse))
    batch_first = bool(node.integer("layout", 0))
    steps, batch = x.shape[:2][::-1] if batch_first else x.shape[:2]
    state = (batch, len(reverse), hidden) if batch_first else (len(reverse), batch, hidden)
    expected: dict[Operand, tuple[int, tuple[int, ...]]] = {
        "bias": (3, (len(reverse), 2 * GATES[kind] * hidden)),
        "lengths": (4, (batch,)),
        "h": (5, state),
        "c": (6, state),
        "peepholes": (7, (len(reverse), 3 * hidden)),
    }
    operands: dict[Operand, Tensor] = {}
    for name, (index, shape) in expected.items():
        tensor = build.optional(node, index)
        if tensor is not None and tensor.shape != shape:
            node.malformed(f"input {index} is {list(tensor.shape)}, expected {list(shape)}")
        if name == "lengths" and tensor is not None and tensor.dtype != DType.INT32:
            node.malformed(f"lengths of sequences are {tensor.dtype}, they must be int32")
        if tensor is not None and not _is_default(tensor, name, steps):
            real = _real(build, tensor)
            operands[name] = real if name == "lengths" else _single(build, node, real)
    written = _written(node, kind)
    attrs = RecurrentAttrs(
        kind,
        reverse,
        _activations(node, kind, len(reverse)),
        tuple(operands),
        tuple(written),
        _clip(node),
        batch_first,
        kind == "lstm" and bool(node.integer("input_forget", 0)),
        kind == "gru" and bool(node.integer("linear_before_reset", 0)),
        dynamic,
    )
    tensors = build.add_all(node, "Recurrent", (x, w, r, *operands.values()), attrs)
    if given.dtype != x.dtype:
        tensors = tuple(build.add(node, "Cast", (t,), CastAttrs(given.dtype)) for t in tensors)
    by_result = dict(zip(written, tensors, strict=True))
    return tuple(by_result.get(name, tensors[0]) for name in RESULTS[: len(node.outputs)])


def _written(node: ModelNode, kind: Kind) -> list[Result]:
    """The results that the node names."""
    known = RESULTS if kind == "lstm" else RESULTS[:2]
    if len(node.outputs) > len(known):
        node.malformed(f"it has {len(node.outputs)} outputs")
    return [name for name, value in zip(known, node.outputs, strict=False) if value]


def _hidden(node: ModelNode, kind: Kind, x: Tensor, w: Tensor, r: Tensor, directions: int) -> int:
    """The hidden units; the shapes of the operands fit each other."""
    hidden = r.shape[-1]
    rows = directions * GATES[kind] * hidden
    if len(x.shape) != 3 or w.shape != (rows, x.shape[-1]) or r.shape != (rows, hidden):
        node.malformed(
            f"input {list(x.shape)} and weights {list(w.shape)}, {list(r.shape)} "
            f"(directions and gates in one axis) do not fit together"
        )
    if node.integer("hidden_size", hidden) != hidden:
        node.malformed(f"hidden_size is not that of the weights, {hidden}")
    return hidden


def _weights(build: Builder, node: ModelNode, index: int) -> Tensor:
    """[D, G * H, n] -> [D * G * H, n]; a dequantized constant as the integers that are stored."""
    tensor = build.operand(node, index)
    if len(tensor.shape) != 3:
        node.malformed(f"input {index} is {list(tensor.shape)}, it needs three axes")
    shape = (tensor.shape[0] * tensor.shape[1], tensor.shape[2])
    stored = build.dequantized_constant(tensor)
    if stored is not None and stored.dtype in STORED and stored.data is not None:
        quant = _by_row(stored.quant, tensor.shape)
        if quant is not None:
            data = stored.data.reshape(shape)
            return build.constant(f"{stored.name}/rows", data, stored.dtype, quant)
    real = build.real_constant(tensor)
    if real is not None:
        return build.constant(f"{tensor.name}/rows", real.reshape(shape), DType(real.dtype.name))
    return build.reshaped(node, tensor, shape)


def _turned_weights(build: Builder, node: ModelNode, at: int, scale: int, zero: int) -> Tensor:
    """[D, n, G * H] of integers -> [D * G * H, n]; scales of [D], or of [D, G * H]."""
    tensor = build.operand(node, at)
    scales, zeros = (constant_values(build, node, i) for i in (scale, zero))
    if tensor.data is None or tensor.dtype not in EIGHT_BITS or len(tensor.shape) != 3:
        node.refuse(f"input {at} must be a constant of three axes, int8 or uint8")
    if scales is None or not np.all(np.isfinite(scales) & (scales > 0)):
        node.malformed(f"input {scale} has no positive scales")
    directions, columns, rows = tensor.shape
    zeros = np.zeros(scales.shape, np.int32) if zeros is None else zeros
    if scales.shape not in ((directions,), (directions, rows)) or zeros.shape != scales.shape:
        node.malformed(f"scales {list(scales.shape)} for weights {list(tensor.shape)}")
    data = tensor.data.transpose(0, 2, 1).reshape(directions * rows, columns)
    if scales.size == 1:
        quant = QParams((float(scales.item()),), (int(zeros.item()),))
    else:
        wide = (np.broadcast_to(v.reshape(directions, -1), (directions, rows)).reshape(-1)
                for v in (scales, zeros))  # fmt: skip
        scale_values, zero_values = (v.tolist() for v in wide)
        quant = QParams(tuple(map(float, scale_values)), tuple(map(int, zero_values)), 0)
    return build.constant(f"{tensor.name}/rows", data, tensor.dtype, quant)


def _by_row(quant: QParams | None, shape: tuple[int, ...]) -> QParams | None:
    """Scales along directions or rows as scales of all rows; None: along the columns."""
    if quant is None or quant.axis == 2:
        return None
    if quant.axis is None:
        return quant
    along = [1, 1]
    along[quant.axis] = -1
    scale, zero = (
        np.broadcast_to(np.reshape(v, along), shape[:2]).reshape(-1).tolist()
        for v in (np.array(quant.scale), np.array(quant.zero_point))
    )
    return QParams(tuple(map(float, scale)), tuple(map(int, zero)), 0)


def _real(build: Builder, tensor: Tensor) -> Tensor:
    """A dequantized constant as floats: what it is too small to keep stored."""
    stored = build.dequantized_constant(tensor)
    if stored is None:
        return tensor
    data = build.real_constant(tensor)
    assert data is not None, f"'{tensor.name}' is a constant"
    return build.constant(f"{tensor.name}/real", data, DType.FLOAT32)


def _single(build: Builder, node: ModelNode, tensor: Tensor) -> Tensor:
    """Reals of other types as float32, in which all is computed; stored integers as they are."""
    if tensor.dtype == DType.FLOAT32 or tensor.quant is not None:
        return tensor
    if tensor.dtype not in REALS:
        node.malformed(f"'{tensor.name}' is {tensor.dtype}, it must be of floats")
    if tensor.data is not None:
        return build.constant(f"{tensor.name}/single", tensor.data, DType.FLOAT32)
    return build.add(node, "Cast", (tensor,), CastAttrs(DType.FLOAT32))


def _is_default(tensor: Tensor, name: Operand, steps: int) -> bool:
    """Whether a constant says what is meant without it, as exporters write it."""
    data: Array | None = tensor.data
    if data is None:
        return False
    return bool(np.all(data >= steps)) if name == "lengths" else not np.any(data)


def _clip(node: ModelNode) -> float:
    clip = node.real("clip", 0.0)
    if not clip >= 0:
        node.malformed(f"clip is {clip}")
    return clip or float("inf")


def _activations(
    node: ModelNode, kind: Kind, directions: int
) -> tuple[tuple[Activation, ...], ...]:
    """Of each direction; alphas and betas go to the functions that take one, in order."""
    names = node.attributes.get("activations") or [
        name.encode() for name in DEFAULTS[kind] * directions
    ]
    count = len(DEFAULTS[kind])
    if not isinstance(names, list) or len(names) != count * directions:
        node.malformed(f"it needs {count * directions} activations")
    given: dict[str, list[float]] = {
        key: list(_reals(node, f"activation_{key}")) for key in ("alpha", "beta")
    }
    found = []
    for name in (bytes(n).decode("utf-8", "replace") for n in names):
        if name.lower() not in ACTIVATIONS:
            node.refuse(f"the activation '{name}' is unknown")
        function, defaults = ACTIVATIONS[name.lower()]
        values = [given[k].pop(0) if given[k] else value for k, value in defaults.items()]
        found.append(Activation(function, tuple(values)))
    return tuple(tuple(found[i : i + count]) for i in range(0, len(found), count))


def _reals(node: ModelNode, name: str) -> tuple[float, ...]:
    values: Any = node.attributes.get(name, [])
    if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
        node.malformed(f"the attribute '{name}' is no list of numbers")
    return tuple(map(float, values))
