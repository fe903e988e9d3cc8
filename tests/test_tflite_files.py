"""TensorFlow Lite files as converters write them, and whole models against their ONNX twins."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import tinyc
from bench.models import BY_NAME, SHARED
from tests.conftest import NEEDS_MODELS
from tests.harness import HOST, optimized, run_c
from tests.tflite_cases import CASES
from tests.tflite_files import Operation, T, constant, graph_of, tflite_file
from tests.tflite_written import assert_close, written
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Graph, Node
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pipeline import read_graph

RNG = np.random.default_rng(0)


def test_old_files_are_of_uint8(tmp_path: Path) -> None:
    """Weights and activations with a zero point, as converters before 2020 wrote them."""
    w = RNG.integers(0, 256, (4, 7)).astype(np.uint8)
    b = RNG.integers(-900, 900, 4).astype(np.int32)
    tensors = (
        T("x", (1, 7), "uint8", None, (0.05,), (131,)),
        T("w", (4, 7), "uint8", w, (0.02,), (120,)),
        T("b", (4,), "int32", b, (0.05 * 0.02,)),
        T("y", (1, 4), "uint8", None, (0.1,), (101,)),
    )
    dense = Operation("FULLY_CONNECTED", ("x", "w", "b"), ("y",), "FullyConnectedOptions")
    x = RNG.integers(0, 256, (1, 7)).astype(np.uint8)

    (found,) = run_c(optimized(graph_of(tmp_path, tensors, dense)), [{"x": x}])

    real = ((x.astype(int) - 131) @ (w.astype(int) - 120).T + b) * 0.05 * 0.02
    wanted = np.clip(np.rint(real / 0.1) + 101, 0, 255)
    assert np.abs(found["y"].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(("dtype", "scale"), [("int8", 0.02), ("int4", 0.1), ("float16", 0)])
def test_weights_alone_may_be_small(dtype: str, scale: float, tmp_path: Path) -> None:
    """Dynamic range and float16 quantization: the weights are dequantized at compile time."""
    values = RNG.integers(-7, 8, (3, 5)).astype(np.int8)
    real, stored = values * (scale or 1), values.astype("float16" if dtype == "float16" else "i1")
    if dtype == "int4":
        nibbles = np.append(values.reshape(-1) & 15, 0).astype(np.uint8)
        stored = nibbles[::2] | nibbles[1::2] << 4
    tensors = [
        T("x", (1, 5)), T("w", (3, 5), dtype, stored, (scale,) if scale else ()),
        T("wide", (3, 5)), T("y", (1, 3)),
    ]  # fmt: skip
    widen = Operation("DEQUANTIZE", ("w",), ("wide",))
    dense = Operation("FULLY_CONNECTED", ("x", "wide", ""), ("y",), "FullyConnectedOptions")
    if dtype != "float16":
        dense = replace(dense, inputs=("x", "w", ""))
    x = RNG.normal(size=(1, 5)).astype(np.float32)

    graph = optimized(graph_of(tmp_path, tensors, widen, dense))

    (found,) = run_c(graph, [{"x": x}])
    assert_close(dtype, found["y"], (x @ real.T.astype(np.float32)))
    assert [n.op for n in graph.nodes] == ["Dense"]


def test_an_open_batch_is_taken_as_one_and_shapes_are_computed(tmp_path: Path) -> None:
    """What Keras writes for Flatten: RESHAPE to [SHAPE(x)[0], 12]."""
    tensors = [
        T("x", (1, 3, 4), open=(0,)), T("shape", (3,), "int32"), T("batch", (), "int32"),
        constant("b", [0]), constant("e", [1]), constant("s", [1]), constant("rest", 12),
        T("wanted", (2,), "int32"), T("y", (1, 12), open=(0,)),
    ]  # fmt: skip
    operations = (
        Operation("SHAPE", ("x",), ("shape",), "ShapeOptions", {"OutType": 2}),
        Operation("STRIDED_SLICE", ("shape", "b", "e", "s"), ("batch",), "StridedSliceOptions",
                  {"ShrinkAxisMask": 1}),
        Operation("PACK", ("batch", "rest"), ("wanted",), "PackOptions", {"ValuesCount": 2}),
        Operation("RESHAPE", ("x", "wanted"), ("y",)),
    )  # fmt: skip

    graph = graph_of(tmp_path, tensors, *operations)

    assert graph.tensors["y"].shape == (1, 12)
    assert [n.op for n in graph.nodes] == ["Reshape"]
    assert graph.notes == ("dimension '?' of input 'x' is taken as 1",)
    larger = read_onnx(tmp_path / "m.tflite", {"x": (5, 3, 4)})
    assert larger.tensors["y"].shape == (5, 12)


def test_names_need_not_be_unique(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("inner_1", (1, 3)), T("inner_2", (1, 3)), T("y", (1, 3))]
    operations = [
        Operation("NEG", ("x",), ("inner_1",)), Operation("EXP", ("inner_1",), ("inner_2",)),
        Operation("NEG", ("inner_2",), ("y",)),
    ]  # fmt: skip
    path = tmp_path / "m.tflite"
    content = tflite_file(tensors, operations, ["x"], ["y"])
    path.write_bytes(content.replace(b"inner_2", b"inner_1"))
    x = RNG.normal(size=(1, 3)).astype(np.float32)

    (found,) = run_c(read_onnx(path), [{"x": x}])

    assert_close("names", found["y"], -np.exp(-x))


TUNE = pytest.param("tune --records FOLDER/r.jsonl --trials 1 --jobs 1", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "verb",
    [
        "compile -o FOLDER/out", "run --input FOLDER/d.npz", "verify --data FOLDER/d.npz", "plan",
        "profile --input FOLDER/d.npz", TUNE,
    ],
    ids=lambda verb: verb.split()[0],
)  # fmt: skip
def test_every_verb_takes_a_file(verb: str, capsys: Any, tmp_path: Path) -> None:
    case = next(c for c in CASES if c.kind == "FULLY_CONNECTED")
    file, path = written([case], "int8"), tmp_path / "m.tflite"
    path.write_bytes(file.content)
    np.savez(tmp_path / "d.npz", **{n: x[None] for n, x in file.sample.items()})
    name, *options = verb.replace("FOLDER", str(tmp_path)).split()

    assert main([name, str(path), "--target", "cortex-m4", *options]) == 0

    shows_layers = name in ("compile", "plan", "profile")
    assert not shows_layers or "FULLY_CONNECTED_0" in capsys.readouterr().out


TWINS = ("dscnn_kws_int8", "fcae_toycar_int8", "hello_world_int8", "mobilenetv1_vww_int8",
         "resnet8_cifar10_int8")  # fmt: skip


def paths_of(model: str) -> tuple[Path, Path]:
    return SHARED / "reference_tflite" / f"{model}.tflite", BY_NAME[f"{model}_qdq"].path


def described(graph: Graph, node: Node) -> str:
    """A node without names: what it does to which constants."""
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    kinds = [(t.shape, t.dtype, t.quant) for t in tensors]
    held = [crc32(t.data.tobytes()) for t in tensors if t.data is not None]
    return f"{node.op} {node.attrs} {kinds} {held}"


@pytest.mark.parametrize("model", TWINS[:4])  # the branches of ResNet8 are in another order
@NEEDS_MODELS
def test_a_file_becomes_the_graph_of_its_onnx_twin(model: str) -> None:
    """The same operators with the same attributes and constants, but for names."""
    lite, twin = (read_graph(path, HOST) for path in paths_of(model))

    assert [described(lite, n) for n in lite.nodes] == [described(twin, n) for n in twin.nodes]


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[pytest.mark.slow] * (m != "hello_world_int8")) for m in TWINS]
)
@NEEDS_MODELS
def test_a_file_answers_the_bytes_of_its_onnx_twin(model: str) -> None:
    folder, count = BY_NAME[f"{model}_qdq"], 8
    answers = []
    for path in paths_of(model):
        artifact = tinyc.compile(path, "host")
        (port,) = artifact.report.inputs
        samples = folder.samples(count).reshape(count, *port.shape)
        (values,) = tinyc.run(artifact, {port.name: samples}).outputs.values()
        answers.append(values.reshape(count, -1))

    np.testing.assert_array_equal(*answers)
