"""Channel pruning: what is cut keeps its shapes, and what was redundant costs nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import tinyc
from tinyc.compiler.cli import main
from tinyc.compiler.graph import Array
from tinyc.pruning.channels import channels_of
from tinyc.pruning.compensation import compensated
from tinyc.pruning.derivatives import forwards
from tinyc.pruning.distillation import Course, distilled
from tinyc.pruning.selection import least_missed, readings_of
from tinyc.pruning.surgery import without_channels
from tinyc.quantization.layers import layers_of
from tinyc.quantization.options import Options as Reading
from tinyc.quantization.preparation import Prepared, prepare


def weights(*shape: int) -> Array:
    """Always the same of a shape."""
    scale = np.sqrt(2 / max(np.prod(shape[1:]), 1))
    return (np.random.default_rng(shape).standard_normal(shape) * scale).astype(np.float32)


def residual_net(redundant: bool = False) -> onnx.ModelProto:
    """Conv, a residual block, depthwise and pointwise convolution, pooling, Gemm.

    redundant  channel 0 of the block's inner layer is dead, channel 1 a multiple of channel 2
    """
    constants = {
        "w0": weights(8, 2, 3, 3), "b0": weights(8), "w1": weights(8, 8, 3, 3), "b1": weights(8),
        "w2": weights(8, 8, 3, 3), "b2": weights(8), "w3": weights(8, 1, 3, 3), "b3": weights(8),
        "w4": weights(12, 8, 1, 1), "b4": weights(12), "w5": weights(5, 12 * 9), "b5": weights(5),
    }  # fmt: skip
    if redundant:
        constants["w1"][0], constants["b1"][0] = 0, -1
        constants["w1"][1], constants["b1"][1] = (2 * constants[n][2] for n in ("w1", "b1"))
        constants["w1"][3], constants["b1"][3] = 0, -2
        constants["w1"][5], constants["b1"][5] = (3 * constants[n][4] for n in ("w1", "b1"))
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", **same),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "conv1", **same),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", **same),
        helper.make_node("Add", ["c2", "r0"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "depthwise", group=8, **same),
        helper.make_node("Relu", ["c3"], ["r3"], "relu3"),
        helper.make_node("Conv", ["r3", "w4", "b4"], ["c4"], "pointwise", kernel_shape=[1, 1]),
        helper.make_node("MaxPool", ["c4"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w5", "b5"], ["y"], "dense", transB=1),
    ]
    return model_of(nodes, constants, {"x": (1, 2, 6, 6)}, {"y": (1, 5)})


def model_of(
    nodes: list[onnx.NodeProto], constants: Mapping[str, Array],
    inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]],
) -> onnx.ModelProto:  # fmt: skip
    ports = (
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in part.items()]
        for part in (inputs, outputs)
    )
    tensors = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "net", *ports, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def prepared_of(proto: onnx.ModelProto, folder: Path, count: int = 64) -> Prepared:
    path = folder / "net.onnx"
    onnx.save(proto, str(path))
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    samples = np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)
    return prepare(path, {proto.graph.input[0].name: samples}, Reading())


def shapes_of(prepared: Prepared) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in prepared.values.items()}


def test_coupled_channels_are_one_group(tmp_path: Path) -> None:
    prepared = prepared_of(residual_net(), tmp_path)
    groups = channels_of(prepared.model, shapes_of(prepared)).groups
    found = {group.producers: (len(group.classes), group.consumers) for group in groups}
    assert found == {
        ("conv0", "conv2"): (8, ("conv1", "pointwise")),
        ("conv1",): (8, ("conv2",)),
        ("pointwise",): (12, ("dense",)),
    }


def test_cut_model_is_what_zeroed_channels_give(tmp_path: Path) -> None:
    """Cutting equals making the weights that read the channels zero."""
    prepared = prepared_of(residual_net(), tmp_path)
    channels = channels_of(prepared.model, shapes_of(prepared))
    removed = frozenset(c for group in channels.groups for c in group.classes[1:4])
    cut = without_channels(prepared.model, channels, removed)
    zeroed: dict[str, Array] = {}
    for name in ("conv1", "conv2", "pointwise", "dense"):
        layer = next(x for x in layers_of(prepared.model) if x.name == name)
        _, numbers = channels.along(layer.input)
        array = prepared.model.constants[layer.weights[0]].copy()
        array[:, np.isin(numbers, list(removed))] = 0
        zeroed[layer.weights[0]] = array
    expected = replace(prepared.execution, model=prepared.model.with_constants(zeroed))
    found = replace(prepared.execution, model=cut)
    inputs = prepared.samples.inputs
    y, z = (e.run(inputs, ["y"])["y"] for e in (found, expected))
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)
    onnx.checker.check_model(cut.to_proto(), full_check=True)
    assert sum(c.size for c in cut.constants.values()) < sum(
        c.size for c in prepared.model.constants.values()
    )


def test_redundant_channels_cost_nothing(tmp_path: Path) -> None:
    """Two dead channels and two that are multiples of others go first, and nothing is lost."""
    prepared = prepared_of(residual_net(redundant=True), tmp_path)
    channels = channels_of(prepared.model, shapes_of(prepared))
    group = next(g for g in channels.groups if g.producers == ("conv1",))
    layers = {layer.name: layer for layer in layers_of(prepared.model)}
    readings = readings_of(prepared.model, layers, channels, group, frozenset(), prepared.values)
    gone = least_missed(readings, group.classes, 4)
    places = {group.classes.index(c) for c in gone}
    assert {0, 3} < places and places & {1, 2} and places & {4, 5}
    removed = frozenset(gone)
    cut = without_channels(prepared.model, channels, removed)
    execution = replace(prepared.execution, model=cut)
    fitted = compensated(execution, channels, removed, prepared.values)
    y = replace(execution, model=fitted).run(prepared.samples.inputs, ["y"])["y"]
    error = np.abs(y - prepared.values["y"]).max() / prepared.values["y"].std()
    assert error < 0.02
    plain = execution.run(prepared.samples.inputs, ["y"])["y"]
    assert np.abs(plain - prepared.values["y"]).max() / prepared.values["y"].std() > 10 * error


def test_constants_and_shapes_beside_channels_are_cut(tmp_path: Path) -> None:
    """PRelu's slopes, a factor a channel, a Concat, and a Reshape that names the channels."""
    constants = {
        "w0": weights(8, 3, 1, 1), "b0": weights(8), "w1": weights(4, 3, 1, 1), "b1": weights(4),
        "slope": np.abs(weights(8, 1, 1)), "factor": weights(1, 12, 1, 1),
        "shape": np.array([1, 12 * 16], np.int64), "w2": weights(3, 12 * 16), "b2": weights(3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "left"),
        helper.make_node("PRelu", ["c0", "slope"], ["p0"], "prelu"),
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "right"),
        helper.make_node("Sigmoid", ["c1"], ["s1"], "sigmoid"),
        helper.make_node("Concat", ["p0", "s1"], ["both"], "concat", axis=1),
        helper.make_node("Mul", ["both", "factor"], ["m"], "scale"),
        helper.make_node("Reshape", ["m", "shape"], ["flat"], "reshape"),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["y"], "dense", transB=1),
    ]
    proto = model_of(nodes, constants, {"x": (1, 3, 4, 4)}, {"y": (1, 3)})
    prepared = prepared_of(proto, tmp_path)
    channels = channels_of(prepared.model, shapes_of(prepared))
    assert sorted(len(g.classes) for g in channels.groups) == [4, 8]
    removed = frozenset(c for group in channels.groups for c in group.classes[::2])
    cut = without_channels(prepared.model, channels, removed)
    found = replace(prepared.execution, model=cut).run(prepared.samples.inputs, ["m", "y"])
    kept = ~np.isin(channels.along("m")[1], list(removed))
    np.testing.assert_allclose(found["m"], prepared.values["m"][:, :, kept], rtol=1e-4, atol=1e-5)
    assert found["y"].shape == prepared.values["y"].shape


def test_what_no_rule_follows_stays(tmp_path: Path) -> None:
    """A Softmax over channels, and channels that are the model's output, are not cut."""
    constants = {
        "w0": weights(8, 3, 1, 1),
        "b0": weights(8),
        "w1": weights(8, 8, 1, 1),
        "b1": weights(8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "first"),
        helper.make_node("Softmax", ["c0"], ["s"], "softmax", axis=1),
        helper.make_node("Conv", ["s", "w1", "b1"], ["y"], "second"),
    ]
    proto = model_of(nodes, constants, {"x": (1, 3, 4, 4)}, {"y": (1, 8, 4, 4)})
    prepared = prepared_of(proto, tmp_path)
    assert channels_of(prepared.model, shapes_of(prepared)).groups == ()
    with pytest.raises(tinyc.CompileError) as caught:
        tinyc.prune(tmp_path / "net.onnx", dict(prepared.samples.inputs), "cortex-m4")
    assert caught.value.code == "nothing-to-prune"


def test_slopes_are_those_of_differences(tmp_path: Path) -> None:
    prepared = prepared_of(residual_net(), tmp_path, 4)
    model = prepared.model
    x = prepared.samples.inputs["x"].reshape(4, 2, 6, 6)
    tape = forwards(model.nodes, model.constants, {"x": x})
    np.testing.assert_allclose(tape.values["y"], prepared.values["y"][:, 0], rtol=1e-3, atol=1e-4)
    names = [n for n, c in model.constants.items() if c.dtype == np.float32]
    slopes = tape.slopes({"y": np.ones((4, 5), np.float32)}, frozenset(names))
    assert set(slopes) == set(names)
    for name, slope in slopes.items():
        direction = np.random.default_rng(2).standard_normal(slope.shape)
        ends = []
        for step in (-1e-4, 1e-4):
            constants = {n: c.astype(np.float64) for n, c in model.constants.items()}
            constants[name] = constants[name] + step * direction
            moved = forwards(model.nodes, constants, {"x": x.astype(np.float64)})
            ends.append(float(moved.values["y"].sum()))
        expected = (ends[1] - ends[0]) / 2e-4
        assert float((slope * direction).sum()) == pytest.approx(expected, rel=0.02, abs=0.02), name


def test_fitting_all_layers_brings_outputs_nearer(tmp_path: Path) -> None:
    prepared = prepared_of(residual_net(), tmp_path)
    channels = channels_of(prepared.model, shapes_of(prepared))
    removed = frozenset(c for group in channels.groups for c in group.classes[1:3])
    cut = without_channels(prepared.model, channels, removed)
    execution = replace(prepared.execution, model=cut)
    first = compensated(execution, channels, removed, prepared.values)
    inputs = {"x": prepared.samples.inputs["x"]}
    then = distilled(prepared.execution, first, channels, removed, inputs, Course(epochs=20))
    errors = [
        float(
            (
                (replace(execution, model=m).run(inputs, ["y"])["y"] - prepared.values["y"]) ** 2
            ).mean()
        )
        for m in (cut, first, then)
    ]
    assert errors[2] < 0.9 * errors[1] < 0.9 * errors[0]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose classes are those of another one: wide, so that much of it can go."""
    folder = tmp_path_factory.mktemp("pruning")
    proto = residual_net(redundant=True)
    onnx.save(proto, str(folder / "net.onnx"))
    prepared = prepared_of(proto, folder, 80)
    np.savez(
        folder / "calib.npz", x=prepared.samples.inputs["x"],
        y=prepared.values["y"].reshape(80, 5).argmax(axis=1),
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_command(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = digits / "small.onnx"
    command = ["prune", str(digits / "net.onnx"), "--data", str(digits / "calib.npz"), "--target",
               "cortex-m4", "--max-loss", "8", "--epochs", "1", "-o", str(out)]  # fmt: skip
    assert main([*command, "--json"]) == 0
    first = out.read_bytes()
    text = capsys.readouterr().out
    assert '"cycles_after"' in text and '"channels"' not in text
    small = onnx.load(str(out))
    onnx.checker.check_model(small, full_check=True)
    assert main(command) == 0 and out.read_bytes() == first
    assert "fewer (estimated, as int8)" in capsys.readouterr().out
    quantized = digits / "small_int8.onnx"
    assert (
        main(["quantize", str(out), "--data", str(digits / "calib.npz"), "-o", str(quantized)]) == 0
    )
    artifact = tinyc.compile(quantized, "cortex-m4")
    assert artifact.report.macs < tinyc.compile(digits / "net.onnx", "host").report.macs


def test_nothing_may_be_lost(digits: Path) -> None:
    """Redundant channels go even where no loss is allowed to speak of; the report says what did."""
    pruning = tinyc.prune(
        digits / "net.onnx", digits / "calib.npz", "cortex-m4", max_loss=2.0, epochs=0
    )
    report = pruning.report
    assert report.loss <= 2.0
    assert report.cycles_after < report.cycles_before and 0 < report.saved < 1
    assert {x.name: x.after for x in report.layers}["conv1"] == 4
    assert report.judged_samples == 40 and report.fitted_samples == 40


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"augment": ["rotate"]}, "wrong-option"),
        ({"max_loss": -1.0}, "wrong-option"),
        ({"epochs": -1}, "wrong-option"),
        ({"data": {"x": np.zeros((4, 1, 2, 6, 6), np.float32)}}, "bad-data"),
        ({"target": "cortex-m99"}, "unknown-target"),
    ],
)
def test_refusals(digits: Path, options: dict[str, object], code: str) -> None:
    given = {"data": digits / "calib.npz", "target": "cortex-m4", **options}
    with pytest.raises(tinyc.CompileError) as caught:
        tinyc.prune(digits / "net.onnx", **given)  # type: ignore[arg-type]
    assert caught.value.code == code


def shared_net() -> onnx.ModelProto:
    """Two convolutions of the same weights, and two Gemms of the same."""
    constants = {
        "w0": weights(8, 2, 1, 1), "w": weights(8, 8, 3, 3), "w1": weights(8, 8),
        "w2": weights(8, 3),
    }  # fmt: skip
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "first", kernel_shape=[1, 1]),
        helper.make_node("Conv", ["c0", "w"], ["c1"], "second", **same),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w"], ["c2"], "third", **same),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w1"], ["d1"], "dense"),
        helper.make_node("Gemm", ["d1", "w1"], ["d2"], "denser"),
        helper.make_node("Gemm", ["d2", "w2"], ["y"], "last"),
    ]
    return model_of(nodes, constants, {"x": (1, 2, 6, 6)}, {"y": (1, 3)})


def test_layers_that_share_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(shared_net(), str(path))
    x = np.random.default_rng(0).standard_normal((32, 1, 2, 6, 6)).astype(np.float32)

    made = tinyc.prune(path, {"x": x}, "cortex-m4", max_loss=1000, epochs=0)
    prepared = prepare(path, {"x": x}, Reading())

    assert made.report.constants_after < made.report.constants_before
    assert all(layer.after <= layer.before for layer in made.report.layers)
    onnx.checker.check_model(made.model, full_check=True)
    dense = [layer.weights for layer in layers_of(prepared.model) if "dense" in layer.name]
    assert dense[0] == dense[1]
