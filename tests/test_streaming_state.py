"""--stream: the calls, one after the other, give the rows that the whole model gives."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import HOST, onnx_model, optimized, random_values, read_model, run_planned
from tests.streaming_nets import (
    CHANNELS,
    NETS,
    RNG,
    ROWS,
    STEPS,
    Net,
    causal,
    floats,
    recurrent,
    residual,
    same,
    strided,
    valid,
)
from tinyc.compiler.api import compile as compile_api
from tinyc.compiler.api import run as run_api
from tinyc.compiler.cli import main
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.options import Options
from tinyc.compiler.planning import plan_program
from tinyc.compiler.verification import verify_model
from tinyc.passes.streaming_state import AUTO, stream_graph
from tinyc.targets import load_target


def calls_of(graph: Graph, x: Array, axis: int) -> list[dict[str, Array]]:
    """What the calls give, by the interpreter."""
    state = {s.before: s.initial for s in graph.states}
    rows, found = graph.tensors["x"].shape[axis], []
    for first in range(0, x.shape[axis] - rows + 1, rows):
        part = np.take(x, range(first, first + rows), axis)
        values = run(graph, {"x": part, **state})
        fresh = {s.before: values[s.after] for s in graph.states}
        call = first // rows
        writer = {s.before: graph.waits.get(graph.producers[s.after].name, 0) for s in graph.states}
        state = {name: v if call >= writer[name] else state[name] for name, v in fresh.items()}
        found.append(values)
    return found


def assert_rows(
    whole: Array, calls: Sequence[Array], wait: int, axis: int | None, exact: bool
) -> None:
    """The calls behind the first ones give the rows of the whole; axis None: the last its value."""
    got = calls[-1] if axis is None else np.concatenate(calls[wait:], axis)
    want = whole if axis is None else np.take(whole, range(got.shape[axis]), axis)
    if exact:
        np.testing.assert_array_equal(got, want)
    else:
        assert_near(got, want)


def assert_near(got: Array, want: Array) -> None:
    """Floats whose sums are taken in another order: relative to the largest value."""
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(want).max()))


def time_axis(whole: Array, call: Array) -> int | None:
    axes = [i for i, (n, m) in enumerate(zip(whole.shape, call.shape, strict=True)) if n != m]
    return axes[0] if axes else None


@pytest.mark.parametrize(
    ("net", "how", "rows", "wait"), ROWS, ids=lambda v: getattr(v, "__name__", None)
)
def test_calls_give_the_rows_of_the_whole_model(
    net: Any, how: str, rows: int, wait: int, tmp_path: Path
) -> None:
    built = Net()
    net(built)
    graph = optimized(read_model(built.model(), tmp_path))
    x = floats(1, CHANNELS, STEPS)
    (name,) = graph.outputs

    stream = stream_graph(graph, how)

    whole, calls = run(graph, {"x": x})[name], [c[name] for c in calls_of(stream, x, 2)]
    assert stream.tensors["x"].shape[2] == rows
    assert stream.waits.get(stream.producers[name].name, 0) == wait
    assert_rows(whole, calls, wait, time_axis(whole, calls[0]), exact=False)


def run_stream(graph: Graph, x: Array, axis: int, target: str) -> list[Array]:
    """What the calls give, by C."""
    rows = graph.tensors["x"].shape[axis]
    parts = [
        {"x": np.take(x, range(i, i + rows), axis)}
        for i in range(0, x.shape[axis] - rows + 1, rows)
    ]
    program = plan_program(graph, load_target(target))
    return [found[graph.outputs[0]] for found in run_planned(program, parts, target)]


@pytest.mark.parametrize(
    ("net", "target"),
    [(same, "host"), (strided, "host"), (residual, "cortex-m4"), (recurrent, "cortex-m4")],
)
def test_the_c_of_a_call_gives_the_rows(net: Any, target: str, tmp_path: Path) -> None:
    built = Net()
    net(built)
    graph = optimized(read_model(built.model(), tmp_path))
    x = floats(1, CHANNELS, STEPS)
    _, _, wait = NETS[net]

    calls = run_stream(stream_graph(graph, "x:2"), x, 2, target)

    whole = run(graph, {"x": x})[graph.outputs[0]]
    assert_rows(whole, calls, wait, time_axis(whole, calls[0]), exact=False)


def quantized_model() -> onnx.ModelProto:
    """Two convolutions with a pool between them, as QDQ, on int8."""
    nodes, constants = [], {"s": np.array(0.04, np.float32), "z": np.array(-3, np.int8)}
    constants |= {"ws": np.array(0.01, np.float32), "wz": np.array(0, np.int8)}

    def dequantized(name: str, scale: str, zero: str) -> str:
        nodes.append(make_node("DequantizeLinear", [name, scale, zero], [f"{name}f"]))
        return f"{name}f"

    def stored(name: str) -> str:
        nodes.append(make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"]))
        return dequantized(f"{name}q", "s", "z")

    def convolution(x: str, number: int, **attributes: Any) -> str:
        constants[f"w{number}"] = RNG.integers(-127, 128, (3, 3, 3)).astype(np.int8)
        constants[f"b{number}"] = floats(3)
        operands = [x, dequantized(f"w{number}", "ws", "wz"), f"b{number}"]
        nodes.append(make_node("Conv", operands, [f"y{number}"], **attributes))
        return stored(f"y{number}")

    constants["pads"] = np.array([0, 0, 2, 0, 0, 0], np.int64)
    nodes.append(make_node("Pad", [dequantized("x", "s", "z"), "pads"], ["padded"]))
    x = convolution(stored("padded"), 0)
    nodes.append(make_node("MaxPool", [x], ["p"], kernel_shape=[2], strides=[2]))
    x = stored("p")
    first = convolution(x, 1, pads=[1, 1])
    nodes.append(make_node("Add", [first, x], ["sum"]))
    stored("sum")
    shape = (1, 3, STEPS)
    outputs = {"sumq": ("int8", (1, 3, STEPS // 2))}
    return onnx_model(nodes, {"x": ("int8", shape)}, outputs, constants)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_stored_integers_are_exactly_those_of_the_whole_model(target: str, tmp_path: Path) -> None:
    graph = optimized(read_model(quantized_model(), tmp_path))
    x = random_values(graph.tensors["x"], np.random.default_rng(1))

    stream = stream_graph(graph, AUTO)

    whole = run(graph, {"x": x})["sumq"]
    assert not any(t.dtype.is_float for t in stream.tensors.values() if t.data is None)
    assert_rows(whole, run_stream(stream, x, 2, target), 1, 2, exact=True)


REFUSED = {
    "pools over all steps": lambda net: net.add("GlobalAveragePool"),
    "takes the mean of all steps": lambda net: net.add("ReduceMean", axes=[2], keepdims=0),
    "merges the steps": lambda net: net.add("Flatten"),
    "Softmax needs all steps at once": lambda net: net.add("Softmax", axis=2),
    "differs from step to step": lambda net: net.add("Add", floats(1, 1, STEPS)),
    "which padding behind the end reaches": lambda net: (
        net.conv(3, 3, pads=[1, 1]), net.add("Gather", np.array(-1, np.int64), axis=2),
    ),
    "runs from the last step to the first": lambda net: (
        net.add("Transpose", perm=[2, 0, 1]),
        net.add("LSTM", floats(1, 8, 3), floats(1, 8, 2), hidden_size=2, direction="reverse"),
    ),
    "pads with steps that come later": lambda net: net.add(
        "Pad", np.array([0, 0, 2, 0, 0, 0], np.int64), mode="reflect"),
    "reads padding before the first step": lambda net: (
        net.add("Pad", np.array([0, 0, 2, 0, 0, 0], np.int64)), net.add("Tanh"),
    ),
    "more padding than its window reaches": lambda net: net.conv(3, 3, pads=[3, 0]),
    "MatMul needs all steps at once": lambda net: net.add("MatMul", inputs=[
        net.add("Transpose", perm=[0, 2, 1], inputs=["x"]), "x"]),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_needs_the_whole_sequence_is_named(message: str, tmp_path: Path) -> None:
    net = Net()
    REFUSED[message](net)
    graph = optimized(read_model(net.model(), tmp_path))

    with pytest.raises(CompileError, match=message) as error:
        stream_graph(graph, "x:2")

    assert error.value.code == "cannot-stream"
    assert "node '" in str(error.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("y:1", "'y:1' names no input"),
        ("x", "'x' names no input"),
        ("x:3", "axis 3 has no steps"),
        ("x:0", "axis 0 has no steps"),
        ("x:2:3", "leaves out steps of a call of 3"),
        ("x:2:48", "the sequence has 24 steps, a call 48"),
    ],
)
def test_what_is_asked_must_fit_the_input(how: str, message: str, tmp_path: Path) -> None:
    net = Net()
    strided(net)

    with pytest.raises(CompileError, match=message):
        stream_graph(optimized(read_model(net.model(), tmp_path)), how)


def test_the_header_and_the_report_say_what_is_remembered(tmp_path: Path) -> None:
    net = Net()
    same(net)
    onnx.save(net.model(), str(tmp_path / "kws.onnx"))

    artifact = compile_api(tmp_path / "kws.onnx", HOST, stream="x:2")

    header = str(artifact.files["kws.h"])
    assert "bool kws_run(kws_arena *arena, kws_state *state, const float x[3]," in header
    assert "void kws_reset(kws_state *state);" in header
    assert "Returns false in the first 4 calls" in header
    assert f"#define KWS_STATE_BYTES {artifact.report.state_bytes}u" in header
    assert artifact.report.first_calls == 4


def test_the_command_says_what_is_remembered(tmp_path: Path, capsys: Any) -> None:
    net = Net()
    valid(net)
    onnx.save(net.model(), str(tmp_path / "kws.onnx"))
    model, out = str(tmp_path / "kws.onnx"), str(tmp_path / "out")

    status = main(["compile", model, "--target", "host", "--stream", "x:2", "-o", out])

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert status == 0 and report["first_calls"] == 5
    text = f"{report['state_bytes']:,} B from call to call (exact; the first 5 calls give nothing)"
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("option", ["rows", "verify"])
def test_what_does_not_go_with_stream_is_named(option: str, tmp_path: Path) -> None:
    net = Net()
    causal(net)
    onnx.save(net.model(), str(tmp_path / "kws.onnx"))

    with pytest.raises(CompileError, match="wrong-option"):
        if option == "rows":
            compile_api(tmp_path / "kws.onnx", HOST, io="rows", stream="x:2")
        else:
            verify_model(tmp_path / "kws.onnx", HOST, {}, options=Options(stream="x:2"))


def test_samples_are_the_calls_of_one_sequence(tmp_path: Path) -> None:
    net = Net()
    causal(net)
    onnx.save(net.model(), str(tmp_path / "kws.onnx"))
    x = floats(1, CHANNELS, STEPS)
    stream, whole = (compile_api(tmp_path / "kws.onnx", HOST, stream=s) for s in ("x:2", ""))

    calls = run_api(stream, {"x": np.moveaxis(x, 2, 0).reshape(STEPS, 1, CHANNELS, 1)})

    (found,), (wanted,) = calls.outputs.values(), run_api(whole, {"x": x}).outputs.values()
    assert_near(found[:, :, 0].T, wanted[0])
