"""Chains of operators on one 8-bit tensor become one table, which changes no result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import HOST, onnx_model, optimized, read_model, run_c
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.passes import FLOAT_PASSES, INT8_PASSES, run_passes
from tinyc.passes.tables import tabulate_chains

SHAPE = (1, 4, 8, 8)
Kind = tuple[str, tuple[int, ...]]


def quantized(tensor: str, scale: str) -> list[onnx.NodeProto]:
    """`tensor` to 8 bits and back, as `tensor`_q and `tensor`_r."""
    grid = [f"{scale}_scale", f"{scale}_zero"]
    return [
        make_node("QuantizeLinear", [tensor, *grid], [f"{tensor}_q"]),
        make_node("DequantizeLinear", [f"{tensor}_q", *grid], [f"{tensor}_r"]),
    ]


def model(
    nodes: Sequence[onnx.NodeProto], output: str = "y_q", x: Kind = ("int8", SHAPE),
    constants: dict[str, Array] | None = None, **more: Kind,
) -> onnx.ModelProto:  # fmt: skip
    grids: dict[str, Array] = dict(constants or {})
    for name, scale, zero in (("x", 0.06, 9), ("s", 1 / 256, -128), ("y", 0.04, -100)):
        grids |= {f"{name}_scale": np.float32(scale), f"{name}_zero": np.int8(zero)}
    return onnx_model(list(nodes), {"x": x}, {output: ("int8", SHAPE), **more}, grids)


DEQUANTIZED = make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["v"])
SIGMOID = make_node("Sigmoid", ["v"], ["s"])
SWISH = [DEQUANTIZED, SIGMOID, *quantized("s", "s"), make_node("Mul", ["v", "s_r"], ["y"])]
GELU = [
    DEQUANTIZED,
    make_node("Div", ["v", "root"], ["d"]),
    make_node("Erf", ["d"], ["e"]),
    make_node("Add", ["e", "one"], ["a"]),
    make_node("Mul", ["v", "a"], ["m"]),
    make_node("Mul", ["m", "half"], ["y"]),
]
NUMBERS = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.full((1, 1, 1), 0.5, "f4")}
PIXELS = [
    make_node("Cast", ["x"], ["c"], to=onnx.TensorProto.FLOAT),
    make_node("Sub", ["c", "mean"], ["d"]),
    make_node("Mul", ["d", "one"], ["y"]),
]
END = quantized("y", "y")[:1]


def without_tables(graph: Graph) -> Graph:
    rest = tuple(p for p in INT8_PASSES if p is not tabulate_chains)
    return run_passes(run_passes(graph, HOST, FLOAT_PASSES), HOST, rest)


def every_byte(graph: Graph) -> dict[str, Array]:
    x = graph.tensors["x"]
    return {"x": np.arange(256, dtype=np.uint8).view(x.dtype.value).reshape(x.shape)}


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize(
    "proto",
    [
        model([*SWISH, *END]),
        model([DEQUANTIZED, SIGMOID, make_node("Mul", ["v", "s"], ["y"]), *END]),
        model([*GELU, *END], constants=NUMBERS),
        model([*PIXELS, *END], x=("uint8", SHAPE),
              constants={"mean": np.float32(127.5), "one": np.float32(0.03)}),
    ],
    ids=["swish, quantized inside", "swish of floats", "gelu in parts", "pixels"],
)  # fmt: skip
def test_a_chain_becomes_a_table(proto: onnx.ModelProto, target: str, tmp_path: Path) -> None:
    imported = read_model(proto, tmp_path)
    graph, plain = optimized(imported), without_tables(imported)
    inputs = every_byte(graph)

    assert [n.op for n in graph.nodes] == ["Table"] and len(plain.nodes) > 1
    wanted = run(plain, inputs)["y_q"]
    assert len(np.unique(wanted)) > 20
    np.testing.assert_array_equal(run(graph, inputs)["y_q"], wanted)
    np.testing.assert_array_equal(run_c(graph, [inputs], target)[0]["y_q"], wanted)


def test_results_between_are_kept_where_others_read_them(tmp_path: Path) -> None:
    nodes = [*SWISH, *END, make_node("Transpose", ["s_q"], ["t"], perm=[0, 2, 3, 1])]
    imported = read_model(model(nodes, t=("int8", (1, 8, 8, 4))), tmp_path)
    graph = optimized(imported)

    assert sorted(n.op for n in graph.nodes) == ["Table", "Transpose", "Unary"]
    inputs = every_byte(graph)
    for name, wanted in run(without_tables(imported), inputs).items():
        np.testing.assert_array_equal(run(graph, inputs)[name], wanted)


def test_an_output_in_the_middle_is_a_table_of_its_own(tmp_path: Path) -> None:
    nodes = [*SWISH, *quantized("y", "y"), make_node("Tanh", ["y_r"], ["z"]),
             *quantized("z", "s")[:1]]  # fmt: skip
    graph = optimized(read_model(model(nodes, z_q=("int8", SHAPE)), tmp_path))

    assert [n.op for n in graph.nodes] == ["Table", "Table"]
    assert all(n.inputs == ("x",) for n in graph.nodes)


@pytest.mark.parametrize("number", [np.linspace(0.1, 1, 4, dtype="f4").reshape(4, 1, 1)])
def test_what_differs_by_channel_is_no_chain(number: Array, tmp_path: Path) -> None:
    nodes = [DEQUANTIZED, SIGMOID, make_node("Mul", ["s", "k"], ["y"]), *END]
    graph = optimized(read_model(model(nodes, constants={"k": number}), tmp_path))
    assert "Table" not in {n.op for n in graph.nodes}


def test_one_operator_stays_what_it_is(tmp_path: Path) -> None:
    graph = optimized(read_model(model([DEQUANTIZED, SIGMOID, *quantized("s", "s")[:1]],
                                       output="s_q"), tmp_path))  # fmt: skip
    assert [n.op for n in graph.nodes] == ["Unary"]


def test_a_gate_of_another_shape_is_no_chain(tmp_path: Path) -> None:
    nodes = [
        DEQUANTIZED,
        make_node("GlobalAveragePool", ["v"], ["p"]),
        *quantized("p", "x"),
        make_node("Sigmoid", ["p_r"], ["s"]),
        *quantized("s", "s"),
        make_node("Mul", ["v", "s_r"], ["y"]),
        *END,
    ]
    graph = optimized(read_model(model(nodes), tmp_path))
    assert {"Mul", "Unary"} <= {n.op for n in graph.nodes}
