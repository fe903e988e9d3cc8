"""TensorFlow Lite operators that remember: many runs in a row against NumPy, on host and core."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tinyc
from tests.harness import onnx_model, optimized, run_planned
from tests.tflite_files import Operation, T, tflite_file
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Graph
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.options import Options
from tinyc.compiler.planning import plan_program
from tinyc.compiler.verification import verify_model
from tinyc.targets import load_target

RUNS = 25
RELU = 1


def generator() -> np.random.Generator:
    return np.random.default_rng(4)


@dataclass(frozen=True, slots=True)
class Svdf:
    """Sizes of a layer; state: of "float32", or of stored integers with int8 around it."""

    inputs: int
    units: int
    memory: int
    rank: int = 1
    batch: int = 1
    state: str = "float32"
    activation: int = 0
    has_bias: bool = True
    state_zero: int = 0


LAYERS = {
    "float": Svdf(7, 5, 4),
    "float, rank 2": Svdf(7, 3, 5, rank=2, batch=2, activation=RELU, has_bias=False),
    "a memory of one": Svdf(4, 3, 1),
    "int16": Svdf(11, 6, 8, state="int16", activation=RELU),
    "int16, rank 3": Svdf(9, 4, 10, rank=3, batch=2, state="int16", has_bias=False),
    "int8": Svdf(11, 6, 8, rank=2, state="int8", state_zero=-7),
}
X_SCALE, X_ZERO, Y_SCALE, Y_ZERO = 0.05, -3, 0.04, -11


def svdf_parts(layer: Svdf) -> tuple[list[T], Operation]:
    """The tensors of a model from `x` to `y`, and its only operation."""
    rng, filters = generator(), layer.units * layer.rank
    feature = rng.normal(size=(filters, layer.inputs)).astype(np.float32) / 2
    time = rng.normal(size=(filters, layer.memory)).astype(np.float32) / 2
    bias = rng.normal(size=layer.units).astype(np.float32) / 2
    shape = (layer.batch, filters * layer.memory)
    x, y = (layer.batch, layer.inputs), (layer.batch, layer.units)
    if layer.state == "float32":
        tensors = [
            T("x", x), T("feature", feature.shape, data=feature), T("time", time.shape, data=time),
            T("bias", bias.shape, data=bias), T("state", shape, variable=True), T("y", y),
        ]  # fmt: skip
    else:
        limit = np.iinfo(layer.state).max
        fs, ts = float(np.abs(feature).max() / 127), float(np.abs(time).max() / limit)
        ss = 8.0 / limit
        tensors = [
            T("x", x, "int8", scale=(X_SCALE,), zero=(X_ZERO,)),
            T("feature", feature.shape, "int8", np.rint(feature / fs).astype(np.int8), (fs,)),
            T("time", time.shape, layer.state, np.rint(time / ts).astype(layer.state), (ts,)),
            T("bias", bias.shape, "int32", np.rint(bias / ss / ts).astype(np.int32), (ss * ts,)),
            T("state", shape, layer.state, None, (ss,), (layer.state_zero,), variable=True),
            T("y", y, "int8", None, (Y_SCALE,), (Y_ZERO,)),
        ]  # fmt: skip
    names = ("x", "feature", "time", "bias" if layer.has_bias else "", "state")
    fields = {"Rank": layer.rank, "FusedActivationFunction": layer.activation}
    return tensors, Operation("SVDF", names, ("y",), "SVDFOptions", fields)


def float_svdf(layer: Svdf, tensors: Sequence[T], runs: Sequence[Array]) -> Iterator[Array]:
    """What TensorFlow Lite defines, with a list of the last results of the feature filters."""
    feature, time, bias = (t.data for t in tensors[1:4])
    past = [np.zeros((layer.batch, len(time)))] * layer.memory
    for x in runs:
        past = [*past[1:], x.astype(np.float64) @ feature.T]
        filtered = sum(step * time[:, age] for age, step in enumerate(past))
        y = filtered.reshape(layer.batch, layer.units, layer.rank).sum(-1)
        y = y + (bias if layer.has_bias else 0)
        yield np.maximum(y, 0) if layer.activation == RELU else y


def rounded(value: Array) -> Array:
    """Half up, as tinyc rounds, once."""
    return np.floor(value + 0.5)


def doubled(value: Array) -> Array:
    """By a 31-bit multiplier, then by a power of two, each to the nearest: as TensorFlow Lite may.

    The power stands for scales between 1/256 and 1/128.
    """
    return np.rint(rounded(value * 128) / 128)


def stored_svdf(
    layer: Svdf, tensors: Sequence[T], runs: Sequence[Array], to_step: Any
) -> Iterator[Array]:
    """The integers of the reference kernel; `to_step` rounds a rescaled sum."""
    x, feature, time, bias, state, _ = tensors
    assert feature.data is not None and time.data is not None and bias.data is not None
    limits = np.iinfo(layer.state)
    of_x, of_feature, of_time, of_state, of_y = (
        np.float64(np.float32(s))
        for s in (x.scale[0], feature.scale[0], time.scale[0], state.scale[0], Y_SCALE)
    )
    first, second = of_x * of_feature / of_state, of_state * of_time / of_y
    past = [np.zeros((layer.batch, len(time.data)), np.int64)] * layer.memory
    low = Y_ZERO if layer.activation == RELU else -128
    for values in runs:
        sums = (values.astype(np.int64) - X_ZERO) @ feature.data.T.astype(np.int64)
        step = np.clip(to_step(sums * first) + layer.state_zero, limits.min, limits.max)
        past = [*past[1:], step.astype(np.int64) - layer.state_zero]
        filtered = sum(s * time.data[:, age].astype(np.int64) for age, s in enumerate(past))
        total = filtered.reshape(layer.batch, layer.units, layer.rank).sum(-1)
        total = total + (bias.data if layer.has_bias else 0)
        yield np.clip(to_step(total * second) + Y_ZERO, low, 127).astype(np.int8)


def inputs_of(layer: Svdf) -> list[Array]:
    rng, shape = np.random.default_rng(6), (layer.batch, layer.inputs)
    if layer.state == "float32":
        return [rng.normal(size=shape).astype(np.float32) for _ in range(RUNS)]
    return [rng.integers(-128, 128, shape).astype(np.int8) for _ in range(RUNS)]


def written(folder: Path, tensors: Sequence[T], *operations: Operation, **more: Any) -> Path:
    path = folder / "m.tflite"
    inputs = [t.name for t in tensors if t.name.startswith("x")]
    outputs = [t.name for t in tensors if t.name.startswith("y")]
    path.write_bytes(tflite_file(tensors, operations, inputs, outputs, **more))
    return path


def run_in_a_row(graph: Graph, runs: Sequence[Array], target: str) -> list[Array]:
    """The output `y` of every run, by C."""
    program = plan_program(optimized(graph), load_target(target))
    return [found["y"] for found in run_planned(program, [{"x": x} for x in runs], target)]


TARGETS = pytest.mark.parametrize("target", ["host", "cortex-m4"])


@TARGETS
@pytest.mark.parametrize("case", LAYERS)
def test_svdf_remembers_what_tensorflow_lite_does(case: str, target: str, tmp_path: Path) -> None:
    layer = LAYERS[case]
    tensors, operation = svdf_parts(layer)
    runs = inputs_of(layer)

    found = run_in_a_row(read_onnx(written(tmp_path, tensors, operation)), runs, target)

    if layer.state == "float32":
        wanted = list(float_svdf(layer, tensors, runs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    else:
        once, twice = (
            np.array(list(stored_svdf(layer, tensors, runs, how))) for how in (rounded, doubled)
        )
        gap = np.abs(np.array(found, int) - once)
        assert gap.max() <= 1 and (gap > 0).mean() < 0.02
        assert np.abs(np.array(found, int) - twice).max() <= 1
        assert np.unique(found).size > 20, "the outputs are not all saturated"


HANDLE = "VarHandleOptions"
X, Y = T("x", (1, 3)), T("y", (1, 3))
FIRST = {"a": np.array([[1, 2, 3]], np.float32), "b": np.array([[-5, 0.5, 7]], np.float32)}


def handle(name: str) -> Operation:
    return Operation("VAR_HANDLE", (), (f"{name} handle",), HANDLE, {"SharedName": name})


def read(name: str, to: str) -> Operation:
    return Operation("READ_VARIABLE", (f"{name} handle",), (to,))


def assign(name: str, value: str) -> Operation:
    return Operation("ASSIGN_VARIABLE", (f"{name} handle", value), ())


def resource(name: str) -> T:
    return T(f"{name} handle", (), "resource")


def variable_model(
    folder: Path, names: Sequence[str], operations: Sequence[Operation], inner: Sequence[str] = ()
) -> Path:
    """A model of variables, whose first values a subgraph assigns."""
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    firsts = [T(f"first {n}", (1, 3), data=FIRST[n]) for n in names]
    body = [o for n in names for o in (handle(n), assign(n, f"first {n}"))]
    tensors = [X, Y, *(resource(n) for n in names), *(T(n, (1, 3)) for n in inner)]
    bodies = [([*firsts, *(resource(n) for n in names)], body)]
    handles = [handle(n) for n in names]
    return written(folder, tensors, once, *handles, *operations, bodies=bodies)


ADD = "AddOptions"
VARIABLES: dict[str, tuple[Sequence[str], Sequence[Operation], Sequence[str], Any]] = {
    "a sum of all inputs": (
        "a", [read("a", "old"), Operation("ADD", ("old", "x"), ("new",), ADD),
              assign("a", "new"), Operation("NEG", ("new",), ("y",))], ["old", "new"],
        lambda x, v: (-(v["a"] + x), {"a": v["a"] + x}),
    ),
    "the input before": (
        "a", [read("a", "y"), assign("a", "x")], [], lambda x, v: (v["a"], {"a": x}),
    ),
    "two that change places": (
        "ab", [read("a", "p"), read("b", "q"), assign("a", "q"), assign("b", "p"),
               Operation("ADD", ("p", "x"), ("y",), ADD)], ["p", "q"],
        lambda x, v: (v["a"] + x, {"a": v["b"], "b": v["a"]}),
    ),
    "read after it is assigned": (
        "a", [read("a", "p"), assign("a", "x"), read("a", "q"),
              Operation("MUL", ("p", "q"), ("y",), "MulOptions")], ["p", "q"],
        lambda x, v: (v["a"] * x, {"a": x}),
    ),
    "one that is never assigned": (
        "a", [read("a", "p"), Operation("ADD", ("p", "x"), ("y",), ADD)], ["p"],
        lambda x, v: (v["a"] + x, v),
    ),
}  # fmt: skip


@TARGETS
@pytest.mark.parametrize("case", VARIABLES)
def test_variables_keep_what_was_assigned(case: str, target: str, tmp_path: Path) -> None:
    names, operations, inner, step = VARIABLES[case]
    path = variable_model(tmp_path, names, operations, inner)
    runs = [generator().normal(size=(1, 3)).astype(np.float32) * i for i in range(6)]

    graph = read_onnx(path)
    found = run_in_a_row(graph, runs, target)

    values, wanted = {n: FIRST[n] for n in names}, []
    for x in runs:
        y, values = step(x, values)
        wanted.append(y)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert bool(graph.states) == ("never" not in case)


def test_an_lstm_of_one_step_goes_on(tmp_path: Path) -> None:
    hidden, inputs = 4, 3
    rng = generator()
    shapes = [(hidden, inputs)] * 4 + [(hidden, hidden)] * 4 + [(hidden,)] * 4
    parts = [rng.normal(size=s).astype(np.float32) for s in shapes]
    tensors = [
        T("x", (1, 1, inputs)), *(T(f"p{i}", p.shape, data=p) for i, p in enumerate(parts)),
        T("h", (1, hidden), variable=True), T("c", (1, hidden), variable=True),
        T("y", (1, 1, hidden)),
    ]  # fmt: skip
    names = ("x", *(f"p{i}" for i in range(8)), "", "", "", *(f"p{i}" for i in range(8, 12)),
             "", "", "h", "c")  # fmt: skip
    fields = {"FusedActivationFunction": 4, "CellClip": 10.0}
    operation = Operation(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", names, ("y",), "UnidirectionalSequenceLSTMOptions", fields
    )
    runs = [rng.normal(size=(1, 1, inputs)).astype(np.float32) for _ in range(9)]

    found = run_in_a_row(read_onnx(written(tmp_path, tensors, operation)), runs, "cortex-m4")

    h = c = np.zeros((1, hidden))
    for x, y in zip(runs, found, strict=True):
        i, f, g, o = (x[0] @ parts[k].T + h @ parts[4 + k].T + parts[8 + k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(y[0], h, rtol=1e-5, atol=1e-5)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def refusal(path: Path) -> str:
    with pytest.raises(CompileError) as error:
        read_onnx(path)
    return error.value.message


def test_what_has_no_first_value_is_refused(tmp_path: Path) -> None:
    tensors = [X, Y, resource("a")]

    message = refusal(written(tmp_path, tensors, handle("a"), read("a", "y"), assign("a", "x")))

    assert message == "a variable without initial values is not supported"


def test_first_values_that_are_computed_are_refused(tmp_path: Path) -> None:
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    body = ([T("p", (1, 3), data=FIRST["a"]), T("q", (1, 3)), resource("a")],
            [handle("a"), Operation("NEG", ("p",), ("q",)), assign("a", "q")])  # fmt: skip
    operations = (once, handle("a"), read("a", "y"), assign("a", "x"))

    message = refusal(written(tmp_path, [X, Y, resource("a")], *operations, bodies=[body]))

    assert message == "initial values that NEG computes are not supported"


def test_a_variable_that_changes_its_shape_is_refused(tmp_path: Path) -> None:
    once = Operation("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1})
    body = ([T("first", (1, 1), data=np.ones((1, 1), np.float32)), resource("a")],
            [handle("a"), assign("a", "first")])  # fmt: skip
    tensors = [X, T("y", (1, 1)), resource("a")]
    operations = (once, handle("a"), read("a", "y"), assign("a", "x"))

    message = refusal(written(tmp_path, tensors, *operations, bodies=[body]))

    assert message == (
        "a variable that is float32[1, 1] at first, then float32[1, 3], is not supported"
    )


def svdf_file(folder: Path, case: str = "int16") -> Path:
    tensors, operation = svdf_parts(LAYERS[case])
    return written(folder, tensors, operation)


def test_the_caller_owns_and_resets_what_is_remembered(tmp_path: Path) -> None:
    artifact = tinyc.compile(svdf_file(tmp_path), "cortex-m4")

    header = str(artifact.files["m.h"])
    assert "void m_reset(m_state *state);" in header
    assert "void m_run(m_arena *arena, m_state *state, const int8_t x[11], int8_t y[6]);" in header
    assert artifact.report.state_bytes == 6 * 8 * 2
    assert any("reset the state" in note for note in artifact.report.notes)


def test_verify_takes_samples_as_one_sequence(tmp_path: Path) -> None:
    x = np.stack(inputs_of(LAYERS["int16"]))

    found = verify_model(svdf_file(tmp_path), load_target("host"), {"x": x})

    assert found.samples == RUNS and found.outputs[0].largest <= 1


@pytest.mark.parametrize("options", [Options(stream="x:1"), Options(io="rows")])
def test_steps_and_rows_are_refused(options: Options, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="remembers tensors from run to run") as error:
        tinyc.compile(svdf_file(tmp_path), "host", stream=options.stream, io=options.io)

    assert error.value.code == "wrong-option"


def test_pruning_and_quantizing_are_refused(tmp_path: Path) -> None:
    from tinyc.quantization.float_model import read_float_model

    with pytest.raises(CompileError, match="remembers tensors from run to run"):
        read_float_model(svdf_file(tmp_path, "float"))


def test_int8_outside_leaves_the_state_alone(tmp_path: Path) -> None:
    """Floats around a quantized layer go; what is remembered stays as it is stored."""
    tensors, operation = svdf_parts(LAYERS["int16"])
    inner = [replace(t, name={"x": "s", "y": "t"}.get(t.name, t.name)) for t in tensors]
    operations = (
        Operation("QUANTIZE", ("x",), ("s",)),
        replace(operation, inputs=("s", *operation.inputs[1:]), outputs=("t",)),
        Operation("DEQUANTIZE", ("t",), ("y",)),
    )
    path = written(tmp_path, [T("x", (1, 11)), *inner, T("y", (1, 6))], *operations)

    artifact = tinyc.compile(path, "host", io_dtype="int8")

    assert [str(p.dtype) for p in artifact.report.inputs] == ["int8"]
    assert artifact.report.state_bytes == 6 * 8 * 2


def keyword_model(folder: Path, sizes: Sequence[tuple[int, int, int]], inputs: int = 40) -> Path:
    """SVDF layers (units, rank, memory) of int8 with states of int16 between 16-bit ends.

    As the example of keywords that TensorFlow Lite for microcontrollers measures itself by.
    """
    tensors = [T("x", (1, inputs), "int16", scale=(0.001,)),
               T("s0", (1, inputs), "int8", scale=(0.1,))]  # fmt: skip
    operations = [Operation("QUANTIZE", ("x",), ("s0",))]
    for number, (units, rank, memory) in enumerate(sizes):
        layer = Svdf(inputs, units, memory, rank, state="int16", activation=RELU)
        parts, svdf = svdf_parts(layer)
        names = {t.name: f"{t.name}{number}" for t in parts}
        names |= {"x": f"s{number}", "y": f"s{number + 1}"}
        tensors += [replace(t, name=names[t.name]) for t in parts if t.name != "x"]
        inner = tuple(names[n] for n in svdf.inputs)
        operations.append(replace(svdf, inputs=inner, outputs=(names["y"],)))
        inputs = units
    w = generator().integers(-127, 128, (12, inputs)).astype(np.int8)
    b = np.zeros(12, np.int32)
    tensors += [
        T("w", w.shape, "int8", w, (0.004,)),
        T("b", (12,), "int32", b, (0.00016,)),
        T("scores", (1, 12), "int8", None, (0.1,)),
        T("y", (1, 12), "int16", None, (1 / 65536,), (-32768,)),
    ]
    last = f"s{len(sizes)}"
    operations += [
        Operation("FULLY_CONNECTED", (last, "w", "b"), ("scores",), "FullyConnectedOptions"),
        Operation("SOFTMAX", ("scores",), ("y",), "SoftmaxOptions", {"Beta": 1.0}),
    ]
    return written(folder, tensors, *operations)


def test_a_model_of_keywords_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    graph = read_onnx(keyword_model(tmp_path, [(16, 1, 8), (12, 2, 10)]))
    assert not any(t.dtype.is_float for t in optimized(graph).tensors.values())
    x = np.random.default_rng(8).integers(-9000, 9000, (RUNS, 1, 40)).astype(np.int16)

    host, core = (run_in_a_row(graph, list(x), target) for target in ("host", "cortex-m4"))

    np.testing.assert_array_equal(host, core)
    assert np.unique(host).size > 20
    assert len(graph.states) == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"nothing": "y"}, "a state needs an input, its initializer, and an output"),
        ({"s": "nothing"}, "a state needs an input, its initializer, and an output"),
        ({"s": "z", "t": "z"}, "two states are the same"),
        ({"s": "y"}, "it is float32[2] before a call and float32[3] after it"),
        ({}, ""),
    ],
)
def test_states_of_an_onnx_file_are_checked(
    entries: dict[str, str], message: str, tmp_path: Path
) -> None:
    """The form that a file is read as is ONNX, which may come from anywhere."""
    nodes = [onnx.helper.make_node("Neg", ["x"], ["y"]),
             onnx.helper.make_node("Add", ["s", "t"], ["z"])]  # fmt: skip
    kinds = {"x": ("float32", (3,)), "s": ("float32", (2,)), "t": ("float32", (2,))}
    first = {name: np.zeros(2, np.float32) for name in "st"}
    model = onnx_model(
        nodes, kinds, {"y": ("float32", (3,)), "z": ("float32", (2,))}, first, opset=21
    )
    for before, after in entries.items():
        model.metadata_props.add(key=f"tinyc.state.{before}", value=after)
    model.metadata_props.add(key="other", value="text")
    content = model.SerializeToString().replace(b"other", b"\xff\xfe\xfd\xfc\xfb")
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    if message:
        assert refusal(path) == message
    else:
        assert not read_onnx(path).states
