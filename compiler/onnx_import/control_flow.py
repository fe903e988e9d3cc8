"""If, Loop and Scan: with static shapes a branch is chosen, a body repeated, at compile time."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from tinyc.compiler.graph import DType, Shape, Tensor
from tinyc.compiler.onnx_import.axes import positive_axis
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.element_types import onnx_element_type
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import joined
from tinyc.compiler.onnx_import.values import TensorList, Value
from tinyc.compiler.ops.reshape import ReshapeAttrs
from tinyc.compiler.ops.slice import SliceAttrs

MOST_STEPS = 1024  # of a loop: each is code of its own
Tensors = tuple[Tensor, ...]
Values = tuple[Value, ...]
ReadBody = Callable[[onnx.GraphProto, str, Sequence[Value]], Values]
"""Reads a body whose nodes are called `prefix...`, for its inputs; gives its outputs."""


def read_if(build: Builder, node: ModelNode, read_body: ReadBody) -> Values:
    """The branch that a constant condition chooses; else both, of which a Where takes one."""
    condition = _flag(build, node, build.operand(node, 0))
    if condition.data is not None:
        name = "then" if condition.data else "else"
        return read_body(_body(node, f"{name}_branch"), f"{node.name}/{name}/", ())
    sides = [
        read_body(_body(node, f"{s}_branch"), f"{node.name}/{s}/", ()) for s in ("then", "else")
    ]
    return tuple(
        _chosen(build, node, condition, a, b, "its branches give")
        for a, b in zip(*sides, strict=True)
    )


def _chosen(
    build: Builder, node: ModelNode, condition: Tensor, a: Value, b: Value, what: str
) -> Value:
    """`condition ? a : b`, for tensors of one type."""
    if a is b:
        return a
    if _described(a) != _described(b):
        node.refuse(
            f"{what} {_described(a)} and {_described(b)}, by a condition that is known at run "
            "time only",
            "make the condition constant, or both results alike",
        )
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return build.add(node, "Where", (condition, a, b))
    pairs = zip(_items(a), _items(b), strict=True)
    return TensorList(tuple(build.add(node, "Where", (condition, *pair)) for pair in pairs))


def _items(value: Value) -> tuple[Tensor, ...]:
    return value.items if isinstance(value, TensorList) else (value,)


def _described(value: Value) -> str:
    """`float32[2, 3]`; a sequence in parentheses."""
    texts = ", ".join(f"{t.dtype}{list(t.shape)}" for t in _items(value))
    return f"({texts})" if isinstance(value, TensorList) else texts


def _tensor(node: ModelNode, value: Value) -> Tensor:
    if isinstance(value, TensorList):
        node.refuse("a sequence is not supported here")
    return value


def _flag(build: Builder, node: ModelNode, value: Value) -> Tensor:
    """A condition as a scalar."""
    condition = _tensor(node, value)
    if condition.elements != 1 or condition.dtype != DType.BOOL:
        node.malformed(f"a condition is {condition.dtype}{list(condition.shape)}")
    return build.reshaped(node, condition, ())


def _body(node: ModelNode, name: str) -> onnx.GraphProto:
    graph = node.attributes.get(name)
    if not isinstance(graph, onnx.GraphProto):
        node.malformed(f"the attribute '{name}' is missing")
    return graph


def read_loop(build: Builder, node: ModelNode, read_body: ReadBody) -> Values:
    """The body once for each step; after a condition of the run has failed, nothing changes.

    Where the model says how many parts a scan output has, the body is repeated as often.
    """
    body, given = _body(node, "body"), build.optional(node, 1)
    true = build.constant(f"{node.name}/true", True, DType.BOOL)
    goes_on = true if given is None else _flag(build, node, given)
    carried = tuple(
        build.value(name) if name in build.beside.sequences else build.operand(node, i)
        for i, name in enumerate(node.inputs[2:], 2)
    )
    scans: list[list[Tensor]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    declared = _declared_steps(build, node, len(carried))
    steps = _steps(build, node, declared)
    if declared is not None and goes_on.data is None:
        goes_on = true
    step = 0
    while steps is None or step < steps:
        if goes_on.data is not None and not goes_on.data:
            break
        if step == MOST_STEPS or (steps is None and goes_on.data is None):
            node.refuse(
                f"its body is repeated more than {MOST_STEPS} times"
                if goes_on.data is not None
                else "how often its body is repeated is known at run time only",
                "export the model with a constant trip count, or without the loop",
            )
        number = build.constant(f"{node.name}/step", step, DType.INT64)
        results = read_body(body, f"{node.name}/{step}/", (number, goes_on, *carried))
        if len(results) != len(body.output) or len(results) < 1 + len(carried):
            node.malformed(f"its body has {len(results)} outputs")
        again, new = _flag(build, node, results[0]), results[1 : 1 + len(carried)]
        if declared is not None and again.data is None:
            again = true
        if goes_on.data is None:
            if scans:
                node.refuse(
                    "how many parts its scan outputs have is known at run time only",
                    "export the model with a constant condition",
                )
            pairs = zip((again, *new), (goes_on, *carried), strict=True)
            chosen = [
                _chosen(build, node, goes_on, a, b, "a step turns a value into") for a, b in pairs
            ]
            again, new = _flag(build, node, chosen[0]), tuple(chosen[1:])
        for parts, part in zip(scans, results[1 + len(carried) :], strict=True):
            parts.append(_tensor(node, part))
        goes_on, carried, step = again, new, step + 1
    stacks = (
        _stacked(build, node, parts, 0, info)
        for parts, info in zip(scans, body.output[1 + len(carried) :], strict=True)
    )
    return (*carried, *stacks)


def _declared_steps(build: Builder, node: ModelNode, carried: int) -> int | None:
    """How many parts the scan outputs have, by the shapes that the model declares."""
    shapes = (build.declared.get(name, ()) for name in node.outputs[carried:])
    return next((shape[0] for shape in shapes if shape), None)


def _steps(build: Builder, node: ModelNode, declared: int | None) -> int | None:
    """The trip count; None: there is none."""
    count = build.optional(node, 0)
    if count is None:
        return None
    if count.elements != 1 or count.dtype not in (DType.INT64, DType.INT32):
        node.malformed(f"the trip count is {count.dtype}{list(count.shape)}")
    if count.data is not None:
        return int(count.data.reshape(-1)[0])
    if declared is not None:
        build.notes.append(f"{node.where} repeats its body {declared} times, as its output says")
        return declared
    node.refuse(
        "how often its body is repeated (input 0) is known at run time only",
        "export the model with a constant trip count, or without the loop",
    )


def _stacked(
    build: Builder, node: ModelNode, parts: list[Tensor], axis: int, info: onnx.ValueInfoProto
) -> Tensor:
    """`parts` behind each other along a new axis; `info` says what none of them look like."""
    if not parts:
        kind = info.type.tensor_type
        if not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim):
            node.refuse(f"it never runs, and the shape of '{info.name}' is not known")
        sizes = [d.dim_value for d in kind.shape.dim]
        nothing = np.zeros((*sizes[:axis], 0, *sizes[axis:]))
        dtype = onnx_element_type(kind.elem_type, node.where)
        return build.constant(f"{node.name}/{info.name}", nothing, dtype)
    shapes = {p.shape for p in parts}
    if len(shapes) != 1:
        node.malformed(f"its scan output has parts of the shapes {sorted(shapes)}")
    shape = (*parts[0].shape[:axis], 1, *parts[0].shape[axis:])
    pieces = tuple(build.reshaped(node, part, shape) for part in parts)
    quants = {p.quant for p in parts}
    return joined(build, node, pieces, axis, quants.pop() if len(quants) == 1 else None)


def read_scan(build: Builder, node: ModelNode, read_body: ReadBody) -> Values:
    """The body once for each slice of the scan inputs; before opset 9 for each of a batch too."""
    if node.opset >= 9:
        inputs = tuple(build.operand(node, i) for i in range(len(node.inputs)))
        return _scan(build, node, read_body, inputs, f"{node.name}/")
    if build.optional(node, 0) is not None:
        node.refuse("sequences of several lengths are not supported")
    inputs = tuple(build.operand(node, i) for i in range(1, len(node.inputs)))
    results = [
        _scan(
            build, node, read_body, tuple(_part(build, node, x, 0, item) for x in inputs),
            f"{node.name}/{item}/",
        )
        for item in range(inputs[0].shape[0] if inputs and inputs[0].shape else 0)
    ]  # fmt: skip
    infos = _body(node, "body").output
    return tuple(
        _stacked(build, node, list(parts), 0, info)
        for parts, info in zip(zip(*results, strict=True), infos, strict=True)
    )


def _scan(
    build: Builder, node: ModelNode, read_body: ReadBody, inputs: Tensors, prefix: str
) -> Tensors:
    body, scanned = _body(node, "body"), node.integer("num_scan_inputs", 0)
    count = len(inputs) - scanned
    if not 0 < scanned <= len(inputs) or len(body.output) < count:
        node.malformed(f"{scanned} of its {len(inputs)} inputs are scanned")
    state, sources = inputs[:count], inputs[count:]
    made = len(body.output) - count
    backward = node.integers("directions") or node.integers("scan_input_directions")
    from_end = (*(backward or ()), *(0,) * scanned)[:scanned]
    to_front = (*(node.integers("scan_output_directions") or ()), *(0,) * made)[:made]
    given = node.integers("scan_input_axes") or (0,) * scanned
    axes = [positive_axis(node, a, len(x.shape)) for a, x in zip(given, sources, strict=True)]
    lengths = {x.shape[axis] for x, axis in zip(sources, axes, strict=True)}
    if len(lengths) != 1:
        node.malformed(f"its scan inputs have {sorted(lengths)} steps")
    (steps,) = lengths
    if steps > MOST_STEPS:
        node.refuse(f"more than {MOST_STEPS} steps are not supported")
    scans: list[list[Tensor]] = [[] for _ in range(made)]
    for step in range(steps):
        slices = tuple(
            _part(build, node, x, axis, steps - 1 - step if reverse else step)
            for x, axis, reverse in zip(sources, axes, from_end, strict=True)
        )
        results = [_tensor(node, v) for v in read_body(body, f"{prefix}{step}/", (*state, *slices))]
        state = tuple(results[:count])
        for parts, part in zip(scans, results[count:], strict=True):
            parts.append(part)
    wanted = node.integers("scan_output_axes") or (0,) * made
    stacks = []
    for parts, axis, reverse, info in zip(
        scans, wanted, to_front, body.output[count:], strict=True
    ):
        rank = len(parts[0].shape if parts else info.type.tensor_type.shape.dim) + 1
        ordered = parts[::-1] if reverse else parts
        stacks.append(_stacked(build, node, ordered, positive_axis(node, axis, rank), info))
    return (*state, *stacks)


def _part(build: Builder, node: ModelNode, x: Tensor, axis: int, index: int) -> Tensor:
    """Slice `index` along `axis`, without that axis."""
    shape: Shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    starts = tuple(index if i == axis else 0 for i in range(len(x.shape)))
    sizes = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    part = build.layout(node, "Slice", x, SliceAttrs(starts, (1,) * len(sizes), sizes))
    return build.layout(node, "Reshape", part, ReshapeAttrs(shape))


CONTROL_FLOW = {"If": read_if, "Loop": read_loop, "Scan": read_scan}
