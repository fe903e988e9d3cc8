"""Running nodes of the model on all samples at once, where the model allows it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.quantization.float_model import FloatModel, names_read
from tinyc.quantization.runtime import session_of

Values = Mapping[str, Array]  # by tensor: [samples, *shape of the tensor]
CHUNK = 32  # samples that run together: their tensors still fit in the cache
TRIED = 3  # samples on which running together is compared with running alone
SAME = 1e-3  # relative to the largest value


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """How a model's nodes are run.

    together  samples are one batch; else they run one by one
    """

    model: FloatModel
    together: bool = False

    def run(self, feeds: Values, wanted: Iterable[str]) -> dict[str, Array]:
        """The wanted tensors; only the nodes between them and the feeds are run."""
        names = tuple(dict.fromkeys(wanted))
        result = {n: feeds[n] for n in names if n in feeds}
        missing = [n for n in names if n not in feeds]
        if missing:
            result |= self._computed(feeds, missing)
        return {n: result[n] for n in names}

    def _computed(self, feeds: Values, wanted: Sequence[str]) -> dict[str, Array]:
        nodes = nodes_between(self.model, feeds, wanted)
        read = {name for node in nodes for name in names_read(node)}
        given = {n: np.asarray(a) for n, a in feeds.items() if n in read}
        session = session_of(self._part(nodes, given, wanted), exact=True)
        count = len(next(iter(given.values())))
        step = CHUNK if self.together else 1
        chunks = (slice(at, at + step) for at in range(0, count, step))
        parts = [
            session.run(list(wanted), {n: self._merged(a[chunk]) for n, a in given.items()})
            for chunk in chunks
        ]
        columns = zip(wanted, zip(*parts, strict=True), strict=True)
        return {name: self._stacked(arrays) for name, arrays in columns}

    def _merged(self, samples: Array) -> Array:
        """Samples as the model's nodes take them."""
        return samples.reshape(-1, *samples.shape[2:]) if self.together else samples[0]

    def _stacked(self, arrays: Sequence[Any]) -> Array:
        if self.together:
            whole: Array = np.concatenate(arrays)
            return whole.reshape(len(whole), 1, *whole.shape[1:])
        return np.stack(arrays)

    def _part(
        self, nodes: Sequence[onnx.NodeProto], given: Values, wanted: Sequence[str]
    ) -> onnx.ModelProto:
        """The model of some nodes; shapes are left open."""
        part = replace(self.model, inputs=(), outputs=()).with_nodes(nodes)
        if self.together:
            part = _for_batches(part)
        proto = part.to_proto()
        for name, array in given.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            proto.graph.input.append(helper.make_tensor_value_info(name, kind, None))
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return proto


def execution_of(model: FloatModel, samples: Values) -> Execution:
    """How `model` runs: together where a few samples give the same as alone."""
    some = {name: array[:TRIED] for name, array in samples.items()}
    alone, together = Execution(model), Execution(model, together=True)
    if any(v.shape[:1] != (1,) for v in (*model.inputs, *model.outputs)):
        return alone
    tensors = real_tensors(model)
    expected = alone.run(some, tensors)
    if any(array.shape[1:2] != (1,) for array in expected.values()):
        return alone
    try:
        found = guarded(lambda: together.run(some, tensors), "no-batch", "no batches", "")
    except CompileError:
        return alone
    same = all(_agree(found[name], expected[name]) for name in tensors)
    return together if same else alone


def nodes_between(
    model: FloatModel, feeds: Iterable[str], wanted: Iterable[str]
) -> list[onnx.NodeProto]:
    """The nodes that compute `wanted` from `feeds`, in execution order."""
    known = set(feeds) | set(model.constants)
    needed = {n for n in wanted if n not in known}
    chosen: list[onnx.NodeProto] = []
    for node in reversed(model.nodes):
        if needed.intersection(node.output):
            chosen.append(node)
            needed.update(n for n in names_read(node) if n not in known)
    return chosen[::-1]


def real_tensors(model: FloatModel) -> list[str]:
    """Every input and result of a node that is a float, in execution order."""
    proto = onnx.shape_inference.infer_shapes(model.to_proto())
    kinds = {v.name: v.type.tensor_type.elem_type for v in proto.graph.value_info}
    kinds |= {v.name: helper.np_dtype_to_tensor_dtype(v.dtype) for v in model.outputs}
    inputs = [v.name for v in model.inputs if v.dtype == np.float32]
    results = [name for node in model.nodes for name in node.output if name]
    real = onnx.TensorProto.FLOAT
    return inputs + [name for name in results if kinds.get(name, real) == real]


def _for_batches(part: FloatModel) -> FloatModel:
    """Reshapes to one sample become reshapes to as many as there are."""
    constants: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []
    for node in part.nodes:
        target = part.constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or not target.size or target[0] != 1 or (target == 0).any():
            nodes.append(node)
            continue
        changed = helper.make_node(
            "Reshape", [node.input[0], f"{node.name}/batches"], node.output, node.name
        )
        constants[f"{node.name}/batches"] = np.array([0, *target[1:]], np.int64)
        nodes.append(changed)
    return part.with_constants(constants).with_nodes(nodes)


def _agree(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=0, atol=SAME * max(float(np.abs(b).max(initial=0)), 1e-30)))
