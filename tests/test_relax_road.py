"""Nodes as TVM's Relax computes them: right in C, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.onnx_import import node_reading, relax_road

RNG = np.random.default_rng(11)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


Node = tuple[str, dict[str, Array], dict[str, Array], dict[str, Any], int]


def node(
    op: str, x: dict[str, Array], constants: dict[str, Array] | None = None, outputs: int = 1,
    **attributes: Any,
) -> Node:  # fmt: skip
    return op, x, constants or {}, attributes, outputs


BYTES = RNG.integers(-128, 128, 9).astype(np.int8)
INDICES = np.array([[1, 2, 0]], np.int64)
NODES = {
    "hardmax": node("Hardmax", {"x": floats(3, 4)}, axis=1),
    "with temporaries": node(
        "InstanceNormalization", {"x": floats(1, 4, 50), "s": floats(4), "b": floats(4)}
    ),
    "with constants": node(
        "ScatterElements", {"x": floats(3, 4)}, {"i": INDICES, "u": floats(1, 3)}
    ),
    "with if_then_else": node(
        "AveragePool", {"x": floats(1, 2, 5, 4)}, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    ),
    "with weights": node(
        "ConvTranspose", {"x": floats(1, 2, 4, 5)}, {"w": floats(2, 3, 3, 3)}, strides=[2, 1]
    ),
    "of integers": node("BitwiseAnd", {"a": BYTES, "b": BYTES[::-1]}),
    "of booleans": node("Not", {"x": RNG.integers(0, 2, (2, 3)).astype(bool)}),
    "with math": node("Einsum", {"a": floats(3, 4), "b": floats(4, 2)}, equation="ij,jk->ik"),
}  # fmt: skip


def by_relax(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[onnx.ModelProto, Graph, dict[str, Array]]:
    """The model of a node whose reader is taken away."""
    op, inputs, constants, attributes, outputs = NODES[name]
    readers = {key: reader for key, reader in node_reading.READERS.items() if key != ("", op)}
    monkeypatch.setattr(node_reading, "READERS", readers)
    results = [f"y{i}" for i in range(outputs)]
    proto = make_node(op, [*inputs, *constants], results, name="node", **attributes)
    types = {n: (str(a.dtype), a.shape) for n, a in inputs.items()}
    model = onnx_model([proto], types, {}, constants, opset=18)
    model.graph.output.extend(onnx.ValueInfoProto(name=r) for r in results)
    model = onnx.shape_inference.infer_shapes(model)
    return model, optimized(read_model(model, folder)), inputs


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("name", NODES)
def test_it_computes_what_onnx_defines(
    name: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, graph, inputs = by_relax(name, tmp_path, monkeypatch)
    assert [n.op for n in graph.nodes] == ["TensorProgram"]
    (computed,) = run_c(graph, [inputs], target)
    expected, meaning = run_onnxruntime(model, inputs), run(graph, inputs)
    for output, array in expected.items():
        np.testing.assert_allclose(computed[output], array, 1e-5, 1e-6)
        np.testing.assert_allclose(meaning[output], array, 1e-5, 1e-6)


def test_what_relax_computes_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relax divides by another power than ONNX does."""
    wide = node("LRN", {"x": floats(1, 5, 3, 3)}, size=3, alpha=0.5)
    monkeypatch.setitem(NODES, "wide", wide)
    with pytest.raises(CompileError, match="otherwise than ONNX") as error:
        by_relax("wide", tmp_path, monkeypatch)
    assert error.value.code == "unsupported-op"


def test_what_relax_does_not_know_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NODES, "sum", node("CumSum", {"x": floats(4)}, {"axis": np.array(0)}))
    with pytest.raises(CompileError) as error:
        by_relax("sum", tmp_path, monkeypatch)
    assert error.value.code == "unsupported-op"


def test_what_onnx_has_no_evaluator_of_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lowered that could not be held against anything."""
    inputs = {"x": floats(1, 2, 5, 5), "rois": floats(2, 5)}
    monkeypatch.setitem(NODES, "roi", node("MaxRoiPool", inputs, pooled_shape=[2, 2]))
    monkeypatch.setattr(relax_road, "lowered_program", lambda model: pytest.fail("it was lowered"))

    with pytest.raises(CompileError) as error:
        by_relax("roi", tmp_path, monkeypatch)

    assert error.value.code == "unsupported-op"
