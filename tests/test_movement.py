"""Moving elements, by shapes and by indices: many nodes as one model, its C against onnxruntime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c, run_onnxruntime
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run

RNG = np.random.default_rng(3)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def whole(dtype: str, *shape: int) -> Array:
    return RNG.integers(0, 100, shape).astype(dtype)


def ints(*values: Any, dtype: str = "int64") -> Array:
    return np.array(values, dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One node: values of the run, then constants; outputs are `count` values."""

    op: str
    inputs: Sequence[Array]
    constants: Sequence[Array | None] = ()
    count: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)


def case(op: str, *inputs: Array, constants: Sequence[Array | None] = (), count: int = 1,
         **attributes: Any) -> Case:  # fmt: skip
    return Case(op, inputs, constants, count, attributes)


SHAPES: Mapping[str, Case] = {
    "slice backwards": case("Slice", floats(5, 6), constants=[
        ints(-1, 4), ints(-(1 << 62), 0), ints(0, 1), ints(-2, -3)]),
    "slice of bytes": case("Slice", whole("uint8", 7), constants=[ints(1), ints(1 << 40)]),
    "pad, wrapped": case("Pad", floats(2, 3), constants=[ints(1, 2, 2, 1)], mode="wrap"),
    "pad, wrapped twice": case("Pad", floats(3), constants=[ints(4, 2)], mode="wrap"),
    "pad, reflected integers": case("Pad", whole("int32", 4, 3), constants=[ints(3, 0, 1, 2)],
                                    mode="reflect"),
    "pad, less": case("Pad", floats(4, 5), constants=[ints(-1, 2, 0, -2)]),
    "pad, less at the edge": case("Pad", floats(4, 5), constants=[ints(-2, 1, 1, -1)], mode="edge"),
    "pad, some axes": case("Pad", whole("int64", 2, 3, 2), constants=[
        ints(1, 0, 2, 1), ints(7)[0], ints(-1, 0)]),
    "pad with a value of the run": case("Pad", floats(2, 3), ints(1, 0, 0, 2), floats()),
    "tile": case("Tile", floats(2, 1, 3), constants=[ints(3, 2, 1)]),
    "tile of integers": case("Tile", whole("int8", 3), constants=[ints(100)]),
    "tile of nothing": case("Tile", floats(2, 3), constants=[ints(0, 2)]),
    "expand": case("Expand", whole("int16", 3, 1), constants=[ints(2, 1, 1, 4)]),
    "expand less": case("Expand", floats(2, 3), constants=[ints(1)]),
    "concat with nothing": case("Concat", floats(2, 0), floats(2, 3), floats(2, 1), axis=-1),
    "split unevenly": case("Split", floats(2, 7), count=3, axis=1, num_outputs=3),
    "split with an empty part": case("Split", floats(5), constants=[ints(2, 0, 3)], count=3),
    "transpose": case("Transpose", whole("int64", 2, 3, 1, 4), perm=[3, 0, 2, 1]),
    "depth to space": case("DepthToSpace", floats(2, 12, 2, 1), blocksize=2),
    "reshape nothing": case("Reshape", floats(0, 3), constants=[ints(3, 0, 2)], allowzero=1),
    "reshape to a scalar": case("Reshape", floats(1, 1), constants=[ints()]),
    "flatten a scalar": case("Flatten", floats(), axis=0),
    "range and expand": case("Expand", floats(1), constants=[ints(0, 2)]),
    "eye": case("EyeLike", floats(3, 4), k=-1, dtype=onnx.TensorProto.INT32),
    "shape": case("Shape", floats(2, 0, 3), start=-2),
    "dropout": case("Dropout", floats(2, 3), count=2),
    "compress": case("Compress", floats(4, 5), constants=[np.array([1, 0, 0, 1, 1], bool)], axis=-1),
    "compress all": case("Compress", floats(2, 2), constants=[np.array([0, 1, 1], bool)]),
}  # fmt: skip

INDICES: Mapping[str, Case] = {
    "gather": case("Gather", floats(5, 3, 2), ints(4, -5, 0, 2), axis=0),
    "gather a row": case("Gather", whole("int8", 2, 5, 3), ints(-1)[0], axis=1),
    "gather by a matrix": case("Gather", floats(4, 6), ints([5, -6], [0, 3], dtype="int32"), axis=1),
    "gather many": case("Gather", floats(50, 3), constants=[ints(*range(0, 50, 7), 3, 3, 2, 0)]),
    "gather by steps": case("Gather", floats(3, 9), constants=[ints(7, 5, 3, 1)], axis=1),
    "gather elements": case("GatherElements", floats(3, 4, 2), RNG.integers(-4, 4, (2, 5, 2)), axis=1),
    "gather elements, constant": case("GatherElements", floats(3, 4), constants=[
        RNG.integers(-4, 4, (3, 2))], axis=-1),
    "gather n-d": case("GatherND", floats(2, 3, 4), ints([[0, -1], [1, 2]], [[1, 0], [-2, 1]])),
    "gather n-d in batches": case("GatherND", floats(2, 3, 4, 2), ints([[2, 3]], [[-3, 0]]), batch_dims=1),
    "scatter elements": case("ScatterElements", floats(3, 5), ints([1, -1], [0, 2]), floats(2, 2), axis=1),
    "scatter elements, sum": case("ScatterElements", whole("int32", 4, 2), ints([1, 1], [1, 0], [-1, 1]),
                                  whole("int32", 3, 2), axis=0, reduction="add"),
    "scatter elements, product": case("ScatterElements", floats(6), ints(2, 2, -2), floats(3),
                                      reduction="mul"),
    "scatter elements, largest": case("ScatterElements", floats(6), ints(0, 0, 3), floats(3),
                                      reduction="max"),
    "scatter elements, least": case("ScatterElements", whole("int64", 6), ints(5, 0, 3),
                                    whole("int64", 3), reduction="min"),
    "scatter n-d": case("ScatterND", floats(4, 3, 2), ints([2], [-4]), floats(2, 3, 2)),
    "scatter n-d, elements": case("ScatterND", floats(4, 3), ints([2, 1], [0, -1], [2, 1]), floats(3),
                                  reduction="add"),
    "scatter n-d, constant": case("ScatterND", floats(5), constants=[ints([1], [4]), floats(2)]),
    "one hot": case("OneHot", ints(0, -1, 7, 3, -8), constants=[ints(4), floats(2)]),
    "one hot, inner axis": case("OneHot", ints([1, 2], [0, 5]), constants=[
        ints(3)[0], ints(5, 9)], axis=1),
    "upper triangle": case("Trilu", floats(2, 3, 4), ints(1)[0]),
    "lower triangle": case("Trilu", whole("int64", 3, 5), constants=[ints(-1)[0]], upper=0),
    "triangle far off": case("Trilu", floats(3, 3), ints(-(1 << 40))[0], upper=0),
    "reversed by batch": case("ReverseSequence", floats(3, 4, 2), ints(4, 1, 2), batch_axis=0,
                              time_axis=1),
    "reversed by time": case("ReverseSequence", floats(4, 2), ints(3, 1)),
}  # fmt: skip

OPEN_ENDED = ("NonZero", "Unique", "Compress", "NonMaxSuppression")


def model_of(
    cases: Mapping[str, Case], opset: int = 18
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """All nodes as one model, and the values of its inputs."""
    nodes, values, constants, outputs = [], dict[str, Array](), dict[str, Array](), []
    for number, c in enumerate(cases.values()):
        names = []
        for position, array in enumerate(c.inputs):
            fixed = c.op == "Pad" and position == 1
            names.append(f"x{number}_{position}")
            (constants if fixed else values)[names[-1]] = np.asarray(array)
        for position, given in enumerate(c.constants):
            names.append("" if given is None else f"c{number}_{position}")
            if given is not None:
                constants[names[-1]] = np.asarray(given)
        results = [f"y{number}_{i}" for i in range(c.count)]
        outputs += results
        nodes.append(make_node(c.op, names, results, name=f"node {number}", **c.attributes))
    inputs = {n: (a.dtype.name, a.shape) for n, a in values.items()}
    model = onnx_model(nodes, inputs, {}, constants, opset)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return onnx.shape_inference.infer_shapes(model, data_prop=True), values


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
@pytest.mark.parametrize("cases", [SHAPES, INDICES], ids=["shapes", "indices"])
def test_the_c_moves_as_onnxruntime_does(
    cases: Mapping[str, Case], target: str, tmp_path: Path
) -> None:
    model, values = model_of(cases)
    expected = run_onnxruntime(model, values)

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [values], target)

    for number, name in enumerate(cases):
        for key in (k for k in expected if k.startswith(f"y{number}_")):
            assert computed[key].shape == expected[key].shape, name
            np.testing.assert_allclose(computed[key], expected[key], 1e-6, err_msg=name)


def test_the_old_name_of_scatter_elements(tmp_path: Path) -> None:
    scattered = case("Scatter", ints(1, 2, 3), constants=[ints(2, 0), ints(7, 8)])
    model, values = model_of({"scatter": scattered}, opset=10)

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [values])

    assert computed["y0_0"].tolist() == [8, 2, 7]


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_a_cache_takes_new_entries(mode: str, tmp_path: Path) -> None:
    """Each of the batch at its own place; beyond the end in a ring, else not at all."""
    cache, update = floats(2, 1, 4, 3), floats(2, 1, 2, 3)
    scattered = case("TensorScatter", cache, update, ints(1, 3), mode=mode, axis=-2)
    model, values = model_of({"cache": scattered}, opset=24)
    expected = cache.copy()
    expected[0, :, 1:3] = update[0]
    expected[1, :, 3] = update[1, :, 0]
    if mode == "circular":
        expected[1, :, 0] = update[1, :, 1]

    (computed,) = run_c(optimized(read_model(model, tmp_path)), [values])

    np.testing.assert_array_equal(computed["y0_0"], expected)


OUTSIDE: Mapping[str, tuple[Case, Array]] = {
    "gather reads the nearest": (
        case("Gather", ints(1, 2, 3), ints(3, -4, 1 << 40, -(1 << 62), -3)), ints(3, 1, 3, 1, 1)
    ),
    "gather elements too": (case("GatherElements", ints(1, 2, 3), ints(9, -9)), ints(3, 1)),
    "gather n-d too": (case("GatherND", ints([1, 2], [3, 4]), ints([5, -5])), ints(3)[0]),
    "a scatter is dropped": (
        case("ScatterElements", ints(1, 2, 3), ints(3, -4, 1, 1 << 33), ints(7, 8, 9, 6)), ints(1, 9, 3)
    ),
    "a scatter of rows too": (
        case("ScatterND", ints([1, 2], [3, 4]), ints([2], [-3]), ints([5, 6], [7, 8])),
        ints([1, 2], [3, 4]),
    ),
}  # fmt: skip


def test_indices_out_of_range_touch_nothing_else(tmp_path: Path) -> None:
    model, values = model_of({name: c for name, (c, _) in OUTSIDE.items()})
    graph = optimized(read_model(model, tmp_path))

    (computed,) = run_c(graph, [values])

    meant = run(graph, values)
    for number, (name, (_, expected)) in enumerate(OUTSIDE.items()):
        np.testing.assert_array_equal(computed[f"y{number}_0"], expected, name)
        np.testing.assert_array_equal(meant[f"y{number}_0"], expected, name)


@pytest.mark.parametrize("op", OPEN_ENDED)
def test_a_shape_that_depends_on_values_is_refused(op: str, tmp_path: Path) -> None:
    inputs = {"NonMaxSuppression": [floats(1, 2, 4), floats(1, 1, 2)],
              "Compress": [floats(3), np.array([1, 0, 1], bool)]}.get(op, [floats(3)])  # fmt: skip
    names = [f"x{i}" for i in range(len(inputs))]
    model = onnx_model(
        [make_node(op, names, ["y"], name="node")],
        {n: (a.dtype.name, a.shape) for n, a in zip(names, inputs, strict=True)},
        {"y": ("bool", ())},
    )

    with pytest.raises(CompileError) as refused:
        read_model(onnx.shape_inference.infer_shapes(with_open_output(model)), tmp_path)

    assert refused.value.code == "unsupported-op"
    assert "depends on values" in refused.value.message
    assert "node 'node'" in refused.value.where


def with_open_output(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name="y"))
    return model


def test_stored_integers_are_moved_as_they_are(tmp_path: Path) -> None:
    """A table of int8 by indices of the run, repeated, cut off, wrapped, masked: no float."""
    table = RNG.integers(-128, 128, (20, 3)).astype(np.int8)
    steps = [
        ("DequantizeLinear", ["table", "scale", "zero"], {}),
        ("Gather", ["ids"], {}),
        ("Expand", ["shape"], {}),
        ("Trilu", [], {"upper": 0}),
        ("Pad", ["pads"], {"mode": "wrap"}),
        ("Gather", ["columns"], {"axis": 2}),
        ("QuantizeLinear", ["scale", "zero"], {}),
    ]
    nodes, last = [], ""
    for number, (op, others, attributes) in enumerate(steps):
        name = "y" if op == "QuantizeLinear" else f"v{number}"
        nodes.append(make_node(op, [last, *others] if last else others, [name], **attributes))
        last = name
    constants = {
        "table": table, "scale": np.float32(0.1) * np.ones((), np.float32),
        "zero": np.array(3, np.int8), "shape": ints(2, 4, 3), "pads": ints(0, 1, 2, 0, 0, 1),
        "columns": ints(5, 0, 3, 1, 4, 4, 2),
    }  # fmt: skip
    model = onnx_model(nodes, {"ids": ("int64", (4,))}, {"y": ("int8", (2, 5, 7))}, constants)
    values = {"ids": ints(19, 0, -1, 7)}

    graph = optimized(read_model(model, tmp_path))

    ops = {node.op for node in graph.nodes}
    assert not {"Quantize", "Dequantize"} & ops
    for target in ("host", "cortex-m4"):
        (computed,) = run_c(graph, [values], target)
        np.testing.assert_array_equal(computed["y"], run_onnxruntime(model, values)["y"])
