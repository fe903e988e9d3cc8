"""onnxruntime on the user's file: its answers, and the first node where ours part from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tinyc.compiler.artifact import Port
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph, Node
from tinyc.compiler.interface_data import stored_samples
from tinyc.compiler.interpreter import trace
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.loading import load_model
from tinyc.compiler.onnx_import.states import remembered

TOLERANCE = 1e-5  # relative, for a float tensor to count as the same
HALF_STEPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True, slots=True)
class Parting:
    """The first node, in execution order, whose result differs from onnxruntime's."""

    node: str
    op: str
    largest: float
    sample: int


def tolerance(array: Array) -> float:
    """The relative difference for elements to count as the same; halves round to a step."""
    return 0.0 if array.dtype.kind in "iub" else HALF_STEPS.get(array.dtype.name, TOLERANCE)


def reference_session(model: onnx.ModelProto) -> Any:
    """onnxruntime's session for `model`, graph optimisations off: what the nodes mean.

    Raises CompileError("onnxruntime-missing").
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise CompileError(
            "onnxruntime-missing",
            "verify compares with onnxruntime, which is not installed",
            help="pip install 'tinyc[verify]'",
        ) from error
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    unnamed = onnx.ModelProto()
    unnamed.CopyFrom(model)
    for node in unnamed.graph.node:  # several may bear one name, which onnxruntime refuses
        node.ClearField("name")
    content, providers = unnamed.SerializeToString(), ["CPUExecutionProvider"]
    return _by_reference(
        lambda: onnxruntime.InferenceSession(content, settings, providers=providers), model
    )


def _by_reference(call: Callable[[], Any], model: onnx.ModelProto) -> Any:
    return guarded(
        call, "reference-failed", "onnxruntime does not run the model",
        f"graph '{model.graph.name}'",
    )  # fmt: skip


def _answered(
    session: Any, model: onnx.ModelProto, names: list[str] | None, feed: Mapping[str, Array]
) -> list[Array]:
    """The outputs `names`, or all of them."""
    answers: list[Array] = _by_reference(lambda: session.run(names, dict(feed)), model)
    return answers


class Reference:
    """onnxruntime on the user's file, one sample at a time."""

    def __init__(self, model: Path) -> None:
        self.proto = load_model(model)
        values = (*self.proto.graph.input, *self.proto.graph.output)
        types = {v.name: v.type.tensor_type.elem_type for v in values}
        self.dtypes = {n: onnx.helper.tensor_dtype_to_np_dtype(t) for n, t in types.items() if t}

    def outputs(
        self,
        inputs: tuple[Port, ...],
        arrays: Mapping[str, Array],
        count: int,
        outputs: tuple[Port, ...],
    ) -> dict[str, Array]:
        """Every output for every sample, stored and shaped like RunResult.outputs.

        The samples of a model that remembers are the runs of one sequence.
        """
        session = reference_session(self.proto)
        states = remembered(self.proto)
        kept = [s.after for s in states]
        all_names = dict.fromkeys(o.name for o in self.proto.graph.output)
        names = [name for name in all_names if name not in kept]  # as the ports stand
        rows, past = [], {s.before: s.initial for s in states}
        for sample in range(count):
            feed = {**self._feed(inputs, arrays, sample), **past}
            row = _answered(session, self.proto, [*names, *kept], feed)
            rows.append(row[: len(names)])
            past = dict(zip(past, row[len(names) :], strict=True))
        found = (np.stack([np.asarray(row[i]) for row in rows]) for i in range(len(outputs)))
        return {
            p.name: stored_samples(array, p, array.dtype).reshape(count, *_own_shape(p))
            for p, array in zip(outputs, found, strict=True)
        }

    def parting(
        self, graph: Graph, inputs: Mapping[str, Array], given: Mapping[str, Array], sample: int
    ) -> Parting | None:
        """The first node of our graph whose result is not onnxruntime's, on one sample.

        inputs, given  as the compiled model and as onnxruntime take them
        """
        feed, reference_feed = (
            {n: np.asarray(a).reshape(-1, *graph.tensors[n].shape)[sample] for n, a in own.items()}
            for own in (inputs, given)
        )
        ours, theirs = trace(graph, feed), self._every_tensor(reference_feed)
        producers = {n.name or f"{n.op_type}_{i}": n for i, n in enumerate(self.proto.graph.node)}
        for node in graph.nodes:
            found = _reference_value(node, ours[node.outputs[0]], producers, theirs)
            if found is None:
                continue
            largest = _largest(ours[node.outputs[0]], found)
            allowed = tolerance(found) * max(1.0, float(np.abs(found).max(initial=0)))
            if largest > allowed:
                return Parting(" + ".join(node.origin) or node.name, node.op, largest, sample)
        return None

    def _every_tensor(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        exposed = onnx.ModelProto()
        exposed.CopyFrom(self.proto)
        known = {o.name for o in exposed.graph.output}
        names = [o for n in exposed.graph.node for o in n.output if o and o not in known]
        exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = reference_session(exposed)
        whole = {name: np.asarray(array) for name, array in feed.items()}
        values = _answered(session, exposed, None, whole)
        return {o.name: np.asarray(v) for o, v in zip(session.get_outputs(), values, strict=True)}

    def _feed(
        self, ports: tuple[Port, ...], arrays: Mapping[str, Array], sample: int
    ) -> dict[str, Array]:
        columns = {p.name: np.asarray(arrays[p.name]).reshape(-1, *p.shape) for p in ports}
        return {name: np.asarray(column[sample]) for name, column in columns.items()}


def _own_shape(port: Port) -> tuple[int, ...]:
    return port.shape[1:] if len(port.shape) > 1 and port.shape[0] == 1 else port.shape


def _reference_value(
    node: Node, ours: Array, producers: Mapping[str, Any], theirs: Mapping[str, Array]
) -> Array | None:
    """onnxruntime's value of the last model node that became `node`, in our layout."""
    for origin in reversed(node.origin):
        for name in producers[origin].output if origin in producers else ():
            value = theirs.get(name)
            if value is None or value.size != ours.size or value.dtype != ours.dtype:
                continue
            turned = value.transpose(0, *range(2, value.ndim), 1) if value.ndim in (3, 4) else value
            layouts = (value.reshape(ours.shape), turned.reshape(ours.shape))
            return min(layouts, key=lambda found: _largest(ours, found))
    return None


def _largest(a: Array, b: Array) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
