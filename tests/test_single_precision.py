"""Models of half and double floats are quantized, and pruned, as ones of float32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinyc
from tests.quantization_models import run
from tinyc.compiler.graph import Array
from tinyc.quantization.float_model import read_float_model
from tinyc.quantization.single_precision import in_single_precision

pytest.importorskip("onnxruntime")

KINDS = [TensorProto.FLOAT16, TensorProto.DOUBLE]


def model_of(kind: int, inner: int) -> onnx.ModelProto:
    """Two layers that compute in the type `inner`, from and to the type `kind`."""
    dtype = helper.tensor_dtype_to_np_dtype(inner)
    random = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array((random.normal(size=shape) / 3).astype(dtype), name)
        for name, shape in (("w", (8, 12)), ("v", (12, 3)))
    ]
    half = numpy_helper.from_array(np.array(0.5, dtype))
    nodes = [
        helper.make_node("Cast", ["x"], ["inside"], to=inner),
        helper.make_node("MatMul", ["inside", "w"], ["hidden"]),
        helper.make_node("Constant", [], ["half"], value=half),
        helper.make_node("Mul", ["hidden", "half"], ["less"]),
        helper.make_node("Relu", ["less"], ["positive"]),
        helper.make_node("MatMul", ["positive", "v"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["y"], to=kind),
    ]
    ports = [helper.make_tensor_value_info(name, kind, [1, n]) for name, n in (("x", 8), ("y", 3))]
    graph = helper.make_graph(nodes, "m", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples() -> Array:
    return np.random.default_rng(1).normal(size=(40, 1, 8)).astype(np.float32)


@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("is_outside", [True, False])
def test_other_floats_are_quantized(inner: int, is_outside: bool, tmp_path: Path) -> None:
    kind = inner if is_outside else TensorProto.FLOAT
    path, x = tmp_path / "m.onnx", samples()
    onnx.save(model_of(kind, inner), str(path))

    made = tinyc.quantize(path, {"x": x})

    given = x.astype(helper.tensor_dtype_to_np_dtype(kind))
    real = run(onnx.load(str(path)), given).astype(np.float32)
    assert np.sqrt(np.mean((run(made.model, x) - real) ** 2) / real.var()) < 0.02
    assert {v.dtype for v in read_float_model(path).inputs} == {np.dtype(np.float32)}
    assert all(row.dtype == "int8" for row in made.report.rows)
    onnx.checker.check_model(made.model, full_check=True)


def test_inner_graphs_are_converted_too() -> None:
    kind = TensorProto.FLOAT16
    one = numpy_helper.from_array(np.ones(2, np.float16), "one")
    port = helper.make_tensor_value_info("z", kind, [2])
    same = helper.make_node("Identity", ["one"], ["z"])
    branch = helper.make_graph([same], "branch", [], [port], [one])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    result = helper.make_tensor_value_info("y", kind, [2])
    graph = helper.make_graph([node], "m", [condition], [result])

    changed = in_single_precision(helper.make_model(graph))

    onnx.checker.check_model(changed, full_check=True)
    assert changed.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    for attribute in changed.graph.node[0].attribute:
        assert attribute.g.initializer[0].data_type == TensorProto.FLOAT
