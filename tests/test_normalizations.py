"""Normalizations, losses and determinants against onnxruntime and the evaluator of onnx."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, random_inputs, read_model, run_c, run_onnxruntime
from tests.node_cases import Case, case, check, values
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array

X = values("float32", 2, 6, 3, 4)
FAR = values("float32", 2, 5, 7) + np.float32(20)  # means that would cost the digits of squares
FLAT = np.full((2, 3, 4), 0.1, np.float32)


def floats(*shape: int) -> Array:
    return values("float32", *shape) + np.float32(0.5)


def classes(*shape: int) -> Array:
    return np.random.default_rng(3).integers(0, 5, shape)


LOSSES = {
    f"{op}, {reduction}, {len(shape)} axes, {ignored}": case(
        op, values("float32", *shape), classes(shape[0], *shape[2:]), *weights,
        reduction=reduction, **({} if ignored is None else {"ignore_index": ignored}),
    )
    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
    for reduction in ("none", "sum", "mean")
    for shape, weights, ignored in (
        ((4, 5), (), None), ((4, 5), (abs(floats(5)),), 2), ((2, 5, 3, 1), (abs(floats(5)),), -1),
    )
}  # fmt: skip
BY_ONNXRUNTIME: dict[str, Case] = {
    **{f"layer, axis {axis}": case("LayerNormalization", X, floats(*X.shape[axis:]),
                                   floats(*X.shape[axis:]), axis=axis, epsilon=0.01)
       for axis in (-1, 1, 2)},
    "layer, no shift": case("LayerNormalization", X, floats(4)),
    "layer, far from zero": case("LayerNormalization", FAR, floats(7), floats(7)),
    "layer, all the same": case("LayerNormalization", FLAT, floats(4), floats(4)),
    "layer of doubles": case("LayerNormalization", values("float64", 3, 5), values("float64", 5)),
    "instance": case("InstanceNormalization", X, floats(6), floats(6)),
    "instance of sequences": case("InstanceNormalization", FAR, floats(5), floats(5), epsilon=0.1),
    "mean and variance": case("MeanVarianceNormalization", X),
    "mean and variance of columns": case("MeanVarianceNormalization", X, axes=[-1, 0]),
    **{f"norm {p}, axis {axis}": case("LpNormalization", X, p=p, axis=axis)
       for p in (1, 2) for axis in (0, 1, -1)},
    "norm of zeros": case("LpNormalization", FLAT * np.float32(0)),
    **{f"neighbours {size}, beta {beta}": case("LRN", X, size=size, beta=beta, alpha=0.3, bias=1.5)
       for size, beta in ((3, 0.75), (1, 0.6), (9, 1.0))},
    **{f"determinant of {n}": case("Det", values("float32", 3, n, n)) for n in (1, 2, 3, 6)},
    "determinant, first pivot 0": case("Det", np.array([[0, 2], [3, 1]], np.float32)),
    "determinant of a singular matrix": case("Det", np.ones((2, 2), np.float32)),
    **LOSSES,
}  # fmt: skip
BY_ONNX: dict[str, Case] = {
    "layer with statistics": case("LayerNormalization", X, floats(3, 4), axis=2, outputs=3),
    "groups": case("GroupNormalization", X, floats(6), floats(6), num_groups=3),
    "groups of one channel": case("GroupNormalization", X, floats(6), floats(6), num_groups=6),
    "four neighbours": case("LRN", values("float32", 6, 6, 2, 1), size=4, beta=0.5, alpha=0.3),
    "root mean square": case("RMSNormalization", X, floats(4)),
    "root mean square, axis 1": case("RMSNormalization", X, floats(6, 3, 4), axis=1, epsilon=0.1),
    **{f"product, {exclusive}, {reverse}": case(
        "CumProd", values(t, 3, 4), 1, exclusive=exclusive, reverse=reverse)
       for t in ("float32", "int64") for exclusive in (0, 1) for reverse in (0, 1)},
}  # fmt: skip
TABLES = (BY_ONNXRUNTIME, BY_ONNX)


@pytest.mark.parametrize(
    ("cases", "opset", "by_onnxruntime"),
    [(BY_ONNXRUNTIME, 17, True), (BY_ONNX, 26, False)],
    ids=["onnxruntime", "onnx"],
)
def test_the_c_computes_what_others_do(
    cases: dict[str, Case], opset: int, by_onnxruntime: bool, tmp_path: Path
) -> None:
    check(cases, opset, by_onnxruntime, tmp_path, "host")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
def test_a_core_computes_the_same(target: str, tmp_path: Path) -> None:
    check(BY_ONNX, 26, False, tmp_path, target)


def batch_model(training: bool) -> onnx.ModelProto:
    names = ["x", "scale", "shift", "mean", "variance"]
    outputs = ["y", "new_mean", "new_variance"] if training else ["y"]
    attributes = {"training_mode": 1, "momentum": 0.7} if training else {}
    node = make_node("BatchNormalization", names, outputs, epsilon=0.01, **attributes)
    inputs = {n: ("float32", (4,)) for n in names[1:]}
    given = {n: ("float32", (4,)) for n in outputs[1:]}
    shape = ("float32", (3, 4, 5))
    return onnx_model([node], {"x": shape, **inputs}, {"y": shape, **given})


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_is_normalized_by_inputs_or_by_itself(training: bool, tmp_path: Path) -> None:
    model = batch_model(training)
    graph = optimized(read_model(model, tmp_path))
    inputs = {n: np.abs(x) for n, x in random_inputs(graph).items()}

    (computed,) = run_c(graph, [inputs])

    for name, expected in run_onnxruntime(model, inputs).items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "names"),
    [
        ("SkipLayerNormalization", ["scale", "shift", "bias"]),
        ("SkipLayerNormalization", ["scale", "shift"]),
        ("SkipSimplifiedLayerNormalization", ["scale", "bias"]),
    ],
)
def test_a_layer_is_normalized_with_what_is_added(
    op: str, names: list[str], tmp_path: Path
) -> None:
    domain, shape = "com.microsoft", ("float32", (2, 3, 8))
    outputs = ["y", "", "", "total"]
    node = make_node(op, ["a", "b", *names], outputs, domain=domain, epsilon=0.01)
    model = onnx_model(
        [node], {"a": shape, "b": shape}, {"y": shape, "total": shape},
        {n: floats(8) * np.float32(1 + i) for i, n in enumerate(names)}, domains=[domain],
    )  # fmt: skip
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs])

    for name, expected in run_onnxruntime(model, inputs).items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-5, atol=1e-5)


def test_an_instance_behind_a_convolution_needs_no_transpose(tmp_path: Path) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["a"], name="conv"),
        make_node("InstanceNormalization", ["a", "scale", "shift"], ["b"], name="norm"),
        make_node("Relu", ["b"], ["c"], name="relu"),
        make_node("ReduceMean", ["c"], ["y"], axes=[2, 3], keepdims=0, name="mean"),
    ]
    constants = {"w": floats(4, 3, 3, 3), "scale": floats(4), "shift": floats(4)}
    model = onnx_model(
        nodes, {"x": ("float32", (1, 3, 6, 7))}, {"y": ("float32", (1, 4))}, constants, 13
    )
    graph = optimized(read_model(model, tmp_path))
    inputs = random_inputs(graph)

    (computed,) = run_c(graph, [inputs])

    ops = [n.op for n in graph.nodes if n.op != "Reshape"]
    assert ops == ["Transpose", "Conv2D", "Normalize", "AveragePool2D"]
    np.testing.assert_allclose(computed["y"], run_onnxruntime(model, inputs)["y"], rtol=1e-5)


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (case("LayerNormalization", X, floats(3)), "[3] does not fit the input [2, 6, 3, 4]"),
        (case("InstanceNormalization", X, floats(5), floats(6)),
         "scale and shift do not have one value for each channel"),
        (case("GroupNormalization", X, floats(6), floats(6), num_groups=4),
         "4 groups for an input [2, 6, 3, 4]"),
        (case("Det", X), "[2, 6, 3, 4] are no square matrices"),
        (case("LpNormalization", X, p=3), "p is 3, it must be 1 or 2"),
    ],
    ids=lambda v: v.op if isinstance(v, Case) else "",
)  # fmt: skip
def test_what_is_refused(c: Case, message: str, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(len(c.constants))]
    node = make_node(c.op, ["x", *names], ["y"], **c.attributes)
    given = dict(zip(names, c.constants, strict=True))
    model = onnx_model([node], {"x": ("float32", X.shape)}, {"y": ("float32", X.shape)}, given, 21)

    with pytest.raises(CompileError) as error:
        read_model(model, tmp_path)

    assert error.value.message == message
