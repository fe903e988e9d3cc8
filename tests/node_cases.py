"""Single nodes of ONNX, many in one program, against onnxruntime or the evaluator of onnx."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_node
from onnx.reference import ReferenceEvaluator

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One node: its input, further constant inputs, attributes."""

    op: str
    x: Array
    constants: Sequence[Array] = ()
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)


def case(op: str, x: Array, *constants: Any, outputs: int = 1, **attributes: Any) -> Case:
    """Constants that are no arrays are integers."""
    arrays = [c if isinstance(c, np.ndarray) else np.array(c, np.int64) for c in constants]
    return Case(op, x, arrays, outputs, attributes)


def values(dtype: str, *shape: int) -> Array:
    rng = np.random.default_rng(7)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0 if dtype[0] == "u" else -90, 100, shape).astype(dtype)


def model_of(cases: dict[str, Case], opset: int) -> onnx.ModelProto:
    nodes, inputs, constants = [], {}, {}
    for i, c in enumerate(cases.values()):
        inputs[f"x{i}"] = (str(c.x.dtype), c.x.shape)
        given = {f"c{i}_{j}": array for j, array in enumerate(c.constants)}
        constants.update(given)
        outputs = [f"y{i}_{j}" for j in range(c.outputs)]
        nodes.append(make_node(c.op, [f"x{i}", *given], outputs, name=f"node{i}", **c.attributes))
    model = onnx_model(nodes, inputs, {}, constants, opset)
    model.graph.output.extend(onnx.ValueInfoProto(name=o) for n in nodes for o in n.output)
    inferred = onnx.shape_inference.infer_shapes(model)
    for c, node in zip(cases.values(), nodes, strict=True):
        for output in inferred.graph.output:
            if output.name in node.output and not output.type.tensor_type.HasField("shape"):
                kind = onnx.helper.np_dtype_to_tensor_dtype(c.x.dtype)  # like the input
                output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, c.x.shape))
    return inferred


def check(
    cases: dict[str, Case], opset: int, by_onnxruntime: bool, folder: Path, target: str
) -> None:
    model = model_of(cases, opset)
    inputs = {f"x{i}": c.x for i, c in enumerate(cases.values())}
    graph = optimized(read_model(model, folder))

    (computed,) = run_c(graph, [inputs], target)

    names = [o.name for o in model.graph.output]
    expected = (
        run_onnxruntime(model, inputs)
        if by_onnxruntime
        else dict(zip(names, ReferenceEvaluator(model).run(None, inputs), strict=True))
    )
    meaning = run(graph, inputs)
    for i, name in enumerate(cases):
        for output in (n for n in names if n.startswith(f"y{i}_")):
            got, want = computed[output], np.asarray(expected[output])
            assert got.shape == want.shape, name
            if by_onnxruntime:  # the evaluator of onnx widens sums
                assert got.dtype == want.dtype, name
            want = want.astype(got.dtype)
            close = {"rtol": 1e-5, "atol": 1e-5} if got.dtype.kind == "f" else {"rtol": 0}
            np.testing.assert_allclose(got, want, **close, err_msg=name)
            np.testing.assert_allclose(got, meaning[output], **close, err_msg=name)
