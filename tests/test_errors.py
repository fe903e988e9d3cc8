"""What a user's mistake prints: a code, what is wrong, where, what to do; never a traceback."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from tests.harness import onnx_model
from tinyc.compiler.cli import main

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL, DATA = EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", EXAMPLE / "digits.npz"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `tinyc` prints when it refuses, with exit status 1."""
    assert main([str(a) for a in arguments]) == 1
    output = capsys.readouterr()
    assert not output.out and "Traceback" not in output.err
    return output.err


def refused_model(
    capsys: pytest.CaptureFixture[str], model: onnx.ModelProto, folder: Path, *more: str
) -> str:
    path = folder / "m.onnx"
    onnx.save(model, str(path))
    text = refused(capsys, "compile", path, "--target", "host", "-o", folder / "out", *more)
    assert not (folder / "out").exists()
    return text.replace(str(folder), "FOLDER")


def test_unknown_target(capsys) -> None:
    assert refused(capsys, "compile", MODEL, "--target", "cortex-m44") == (
        "error[unknown-target]: no target is named 'cortex-m44'; the nearest is 'cortex-m4'\n"
        "  --> --target cortex-m44\n"
        "  help: use one of: cortex-m0plus, cortex-m3, cortex-m33, cortex-m4, cortex-m7, host, "
        "rv32imac, rv32imafc, rv32imc; or the path of a TOML file\n"
    )


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("io", "caller, arena, rows"),
        ("io_dtype", "model, int8, int16"),
        ("optimize", "latency, balanced, size, ram"),
        ("weights", "c, incbin, bin"),
        ("tree_features", "model, int16"),
    ],
)
def test_unknown_option_in_python(option: str, known: str) -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile(MODEL, "host", **{option: "int4"})

    assert str(error.value) == (
        "error[wrong-option]: there is no 'int4'\n"
        f"  --> option {option}\n"
        f"  help: use one of: {known}"
    )


def test_missing_file(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "compile", tmp_path / "no.onnx", "--target", "host")

    assert text.startswith("error[missing-file]: there is no such file")


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is no model\n", b"\x00" * 100, b"PK\x03\x04"]
)
def test_not_an_onnx_file(capsys, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    text = refused(capsys, "compile", path, "--target", "host", "-o", tmp_path / "out")

    assert text.startswith("error[not-onnx]")
    assert text.endswith(
        "  help: give a model in ONNX (.onnx) or TensorFlow Lite (.tflite) format\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_file(capsys, tmp_path: Path, part: float) -> None:
    data = MODEL.read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * part)])

    text = refused(capsys, "compile", path, "--target", "host", "-o", tmp_path / "out")

    assert text.startswith("error[not-onnx]")


def test_a_folder_is_no_model(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "compile", tmp_path, "--target", "host")

    assert text.startswith("error[not-onnx]: this is a folder, not an ONNX file")


def test_missing_side_file(capsys, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "digits_cnn.onnx", tmp_path / "m.onnx")

    text = refused(capsys, "compile", tmp_path / "m.onnx", "--target", "host")

    assert text.startswith(
        "error[missing-file]: the side file 'digits_cnn.onnx.data' is missing or cannot be read"
    )
    assert text.endswith("  help: put 'digits_cnn.onnx.data' into the folder of the model\n")


def test_truncated_side_file(capsys, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "digits_cnn.onnx", tmp_path / "m.onnx")
    data = (EXAMPLE / "digits_cnn.onnx.data").read_bytes()
    (tmp_path / "digits_cnn.onnx.data").write_bytes(data[:1000])

    text = refused(capsys, "compile", tmp_path / "m.onnx", "--target", "host")

    assert text.startswith(
        "error[truncated-file]: the side file 'digits_cnn.onnx.data' has 1000 bytes"
    )


def test_a_side_file_outside_the_folder_is_not_read(capsys, tmp_path: Path) -> None:
    model = onnx.load(str(EXAMPLE / "digits_cnn.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())

    text = refused(capsys, "compile", path, "--target", "host")

    assert text.startswith("error[bad-path]: the side file '../../etc/passwd' lies outside")


def test_all_unknown_operators_are_listed(capsys, tmp_path: Path) -> None:
    nodes = [
        make_node("Bar", ["x"], ["a"], name="first", domain="my.domain"),
        make_node("Relu", ["a"], ["b"]),
        make_node("Baz", ["b"], ["c"], name="second", domain="my.domain"),
        make_node("Foo", ["c"], ["y"], domain="my.domain"),
    ]
    model = onnx_model(nodes, {"x": ("float32", (1, 4, 4))}, {"y": ("float32", (1,))},
                       domains=["my.domain"])  # fmt: skip

    assert refused_model(capsys, model, tmp_path) == (
        "error[unsupported-op]: 3 nodes have operators that are not supported\n"
        "  --> node 'first' (Bar, domain my.domain), node 'second' (Baz, domain my.domain), "
        "node 'Foo_3' (Foo, domain my.domain)\n"
        "  help: express them by other operators; `tinyc ops` lists those that are supported\n"
    )


def relu(shape: tuple[object, ...]) -> onnx.ModelProto:
    return onnx_model([make_node("Relu", ["x"], ["y"])], {"x": ("float32", shape)},
                      {"y": ("float32", shape)})  # fmt: skip


def test_a_dynamic_dimension_needs_a_shape(capsys, tmp_path: Path) -> None:
    assert refused_model(capsys, relu(("batch", 3, "height", 8)), tmp_path) == (
        "error[dynamic-shape]: dimension 2 of the input, 'height', is not known\n"
        "  --> input 'x' [batch, 3, height, 8]\n"
        "  help: give its shape, as in `--input-shape x=1,3,96,96`, or the size, as in "
        "`--dim height=96`\n"
    )


def test_an_unknown_dimension_is_answered_by_those_there_are(capsys, tmp_path: Path) -> None:
    model = relu(("batch", 3, "height", 8))

    assert refused_model(capsys, model, tmp_path, "--dim", "batch=1", "--dim", "depth=2") == (
        "error[unknown-dimension]: the model has no open dimension 'depth'\n"
        "  --> --dim depth=2\n"
        "  help: its open dimensions are: 'batch', 'height'\n"
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("x=1,3,4", "error[wrong-shape]: the shape [1, 3, 4] does not fit [batch, 3, h, 8]"),
        ("x=1,4,5,8", "error[wrong-shape]: the shape [1, 4, 5, 8] does not fit [batch, 3, h, 8]"),
        ("z=1", "error[unknown-input]: the model has no input 'z'"),
    ],
)
def test_wrong_input_shape(capsys, tmp_path: Path, shape: str, message: str) -> None:
    text = refused_model(capsys, relu(("batch", 3, "h", 8)), tmp_path, "--input-shape", shape)

    assert text.startswith(message)


def test_quantization_axis_out_of_range(capsys, tmp_path: Path) -> None:
    constants = {"s": np.ones(3, np.float32), "z": np.zeros(3, np.int8)}
    nodes = [make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="q", axis=7)]
    model = onnx_model(nodes, {"x": ("float32", (1, 3))}, {"y": ("int8", (1, 3))}, constants)

    text = refused_model(capsys, model, tmp_path)

    assert text == (
        "error[bad-model]: the axis 7 is out of range for 2 dimensions\n"
        "  --> node 'q' (QuantizeLinear)\n"
    )


@pytest.mark.parametrize("op", ["Concat", "QLinearConcat"])
def test_concatenated_inputs_of_different_ranks(capsys, tmp_path: Path, op: str) -> None:
    stored = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    names = ["x", "short"] if op == "Concat" else ["s", "z", "x", "s", "z", "short", "s", "z"]
    domains = [] if op == "Concat" else ["com.microsoft"]
    nodes = [make_node(op, names, ["y"], name="cat", axis=1, domain="".join(domains))]
    given = {"x": ("int8", (2, 3)), "short": ("int8", (2,))}
    model = onnx_model(nodes, given, {"y": ("int8", (2, 6))}, stored, domains=domains)

    text = refused_model(capsys, model, tmp_path)

    assert text == (
        f"error[bad-model]: the inputs [[2, 3], [2]] do not fit together\n  --> node 'cat' ({op})\n"
    )


def dense(n: int) -> onnx.ModelProto:
    constants = {"w": np.ones((n, n), np.float32)}
    nodes = [make_node("MatMul", ["x", "w"], ["y"], name="big")]
    return onnx_model(nodes, {"x": ("float32", (1, n))}, {"y": ("float32", (1, n))}, constants)


TARGET = """\
isa = "host"
features = []
alignment = 4
emulator = ""
timing = ""
cycles_per_mac_limit = 0.0
cflags = []

[[regions]]
name = "flash"
kind = "flash"
origin = 0
bytes = 10000

[[regions]]
name = "sram"
kind = "ram"
origin = 0x20000000
bytes = 1000

[[compilers]]
name = "gcc"
flags = []
"""


def test_weights_larger_than_the_flash(capsys, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TARGET)
    path = tmp_path / "m.onnx"
    onnx.save(dense(64), str(path))

    text = refused(capsys, "compile", path, "--target", tmp_path / "tiny.toml")

    assert text == (
        "error[out-of-flash]: the weights need 16384 bytes of flash, "
        "6384 more than the 10000 of tiny\n"
        "  --> model 'm'\n"
        "  help: allow more with --max-flash, choose a target with more flash, quantize the model "
        "to int8, or keep the weights in external flash with --weights bin\n"
    )


def test_arena_larger_than_the_ram(capsys, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TARGET)
    nodes = [make_node("Relu", ["x"], ["a"], name="one"), make_node("Softmax", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": ("float32", (1, 400))}, {"y": ("float32", (1, 400))})
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    text = refused(
        capsys, "compile", path, "--target", tmp_path / "tiny.toml", "-o", tmp_path / "o"
    )

    assert text == (
        "error[out-of-ram]: the smallest arena that was found needs 1600 bytes of RAM, "
        "600 more than the 1000 of tiny\n"
        "  --> the peak is at one, Softmax_1\n"
        "  help: allow more with --max-ram, choose a target with more RAM, or make the input "
        "smaller\n"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": np.zeros((2, 1, 8, 8))}, "the model needs float32, the data is float64"),
        ({"x": np.zeros((2, 1, 7, 8), np.float32)}, "the data has the shape [2, 1, 7, 8]"),
        ({"z": np.zeros((2, 3), np.float32)}, "the data has no arrays for the model's inputs"),
        ({"x": np.zeros((0, 1, 8, 8), np.float32)}, "the data has the shape [0, 1, 8, 8]"),
    ],
)
def test_wrong_data(capsys, tmp_path: Path, arrays: dict[str, np.ndarray], expected: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)

    text = refused(capsys, "run", MODEL, "--target", "host", "--input", tmp_path / "d.npz")

    assert text.startswith("error[wrong-input]") and expected in text


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_data_that_is_no_npz(capsys, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "d.npz"
    if content is not None:
        path.write_bytes(content)

    text = refused(capsys, "run", MODEL, "--target", "host", "--input", path)

    assert text.startswith("error[bad-data]: the data cannot be read")


def test_output_folder_that_is_a_file(capsys, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    text = refused(capsys, "compile", MODEL, "--target", "host", "-o", tmp_path / "out")

    assert text.startswith("error[cannot-write]: the output folder cannot be written")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_leaves_nothing(capsys, tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    text = refused(capsys, "compile", MODEL, "--target", "host", "-o", tmp_path / "out")

    assert "No space left on device" in text
    assert not list(tmp_path.iterdir())


def test_a_missing_compiler_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")

    text = refused(
        capsys, "run", MODEL, "--target", "cortex-m4", "--input", DATA, "--limit", "1",
        "--compiler", "arm-none-eabi-gcc",
    )  # fmt: skip

    assert text.startswith("error[compiler-missing]") and "gcc-arm-none-eabi" in text


def test_the_readme_lists_every_code() -> None:
    root = Path(__file__).parent.parent
    sources = [p for f in ("compiler", "passes", "targets") for p in (root / f).rglob("*.py")]
    calls = (
        r"(?:CompileError|guarded|raise_error)\(\s*(?:lambda.*?,\s*)?\"([a-z0-9]+(?:-[a-z0-9]+)+)\""
    )
    raised = {c for p in sources for c in re.findall(calls, p.read_text(), re.DOTALL)}

    listed = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", (root / "README.md").read_text()))

    assert raised and raised <= listed


def test_json_errors_are_json(capsys) -> None:
    assert main(["compile", str(MODEL), "--target", "nothing", "--json"]) == 1

    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unknown-target"


def test_tuning_for_a_machine_without_cycles(capsys) -> None:
    assert refused(capsys, "tune", MODEL, "--target", "host") == (
        "error[not-emulated]: 'host' runs on this machine, where no cycles are counted\n"
        "  --> --target host\n"
        "  help: tune for an emulated core: see `tinyc targets`\n"
    )


def test_tuning_without_xgboost(capsys, monkeypatch) -> None:
    monkeypatch.setattr("tinyc.autotune.cost_model.find_spec", lambda name: None)

    assert refused(capsys, "tune", MODEL, "--target", "cortex-m4") == (
        "error[tuner-missing]: tuning needs the package xgboost\n"
        "  --> not installed: xgboost\n"
        "  help: run: pip install 'tinyc[tune]' (or xgboost-cpu, which is smaller)\n"
    )


def test_tuning_on_a_cluster_that_is_not_there(capsys) -> None:
    arguments = ("tune", MODEL, "--target", "cortex-m4", "--cluster", "tcp://127.0.0.1:9")

    text = refused(capsys, *arguments)

    assert text.startswith("error[cluster-missing]: no Dask scheduler answers: ")
    assert "--> --cluster tcp://127.0.0.1:9" in text and "help: start `dask scheduler`" in text


def test_records_that_are_no_records(capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "tinyc-records.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)

    text = refused(capsys, "compile", MODEL, "--target", "cortex-m4", "-o", tmp_path / "out")

    assert text == (
        "error[bad-records]: the line is not a record of `tinyc tune`: 'schedule'\n"
        "  --> tinyc-records.jsonl, line 1\n"
        "  help: remove the line, or the file, and tune again\n"
    )


FLOAT = EXAMPLE / "digits_cnn.onnx"


def test_quantizing_a_quantized_model(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "quantize", MODEL, "--data", DATA, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[already-quantized]: the model is quantized already: it has a DequantizeLinear\n"
        f"  --> file '{MODEL}'\n"
        "  help: give the float model it was made from\n"
    )


def test_quantizing_by_an_empty_folder(capsys, tmp_path: Path) -> None:
    text = refused(capsys, "quantize", FLOAT, "--data", tmp_path, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[bad-data]: the folder has neither .npy files nor images for the model's one input\n"
        f"  --> folder '{tmp_path}'\n"
        "  help: give a folder of .npy, .png, .jpg, .bmp, .ppm or .pgm files, or an .npz file\n"
    )


def test_quantizing_by_images_without_a_preprocessing(capsys, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    text = refused(capsys, "quantize", FLOAT, "--data", tmp_path, "-o", tmp_path / "q.onnx")

    assert text == (
        "error[no-preprocessing]: what happens to pixels is not stated\n"
        "  help: state it as in --images scale=1/255,mean=0.485:0.456:0.406,"
        "std=0.229:0.224:0.225\n"
    )


def test_preprocessing_that_is_not_understood(capsys, tmp_path: Path) -> None:
    arguments = "quantize", FLOAT, "--data", DATA, "-o", tmp_path / "q.onnx", "--images", "gain=2"

    assert refused(capsys, *arguments) == (
        "error[bad-preprocessing]: the pre-processing is not understood: 'gain' is none of "
        "scale, mean, std\n"
        "  --> 'gain=2'\n"
        "  help: state it as in scale=1/255,mean=0.5,std=0.5\n"
    )


def test_quantizing_several_models_at_once(capsys, tmp_path: Path) -> None:
    arguments = "compile", FLOAT, MODEL, "--target", "host", "--quantize", DATA, "-o", tmp_path

    assert refused(capsys, *arguments) == (
        "error[wrong-option]: several models are not quantized at once\n"
        "  --> --quantize\n"
        "  help: quantize each with `tinyc quantize`, and compile the results\n"
    )


def test_range_method_that_is_not_known() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.quantize(FLOAT, {"x": np.zeros((4, 1, 8, 8))}, ranges=["max"])

    assert str(error.value) == (
        "error[unknown-method]: no method of ranges is named 'max'\n"
        "  help: use one of: minmax, percentile 99.9, percentile 99.99, percentile 99.999, mse, "
        "entropy"
    )


def test_quantizing_by_samples_that_do_not_fit() -> None:
    with pytest.raises(tinyc.CompileError) as error:
        tinyc.quantize(FLOAT, {"x": np.zeros((4, 3))})
    with pytest.raises(tinyc.CompileError) as endless:
        tinyc.quantize(FLOAT, {"x": np.full((4, 1, 8, 8), np.nan)})

    assert str(error.value) == (
        "error[wrong-input]: samples of [1, 1, 8, 8] are needed, the data has [4, 3]\n"
        "  --> input 'x'"
    )
    assert str(endless.value) == (
        "error[bad-data]: the samples hold values that are not finite\n  --> input 'x'"
    )


def test_all_operators_of_nobody_are_named(capsys, tmp_path: Path) -> None:
    """Also those in ONNX's own domain, where its checker would stop at the first."""
    nodes = [
        make_node("Foo", ["x"], ["a"], name="first"),
        make_node("Bar", ["a"], ["b"], name="second", domain="my.own"),
        make_node("Relu", ["b"], ["c"], name="fine"),
        make_node("Baz", ["c"], ["y"], name="third"),
    ]
    shape = ("float32", (1, 3))
    model = onnx_model(nodes, {"x": shape}, {"y": shape}, domains=["my.own"])

    text = refused_model(capsys, model, tmp_path)

    assert text.startswith("error[unsupported-op]: 3 nodes have operators that are not supported")
    assert "'first' (Foo), node 'second' (Bar, domain my.own), node 'third' (Baz)" in text


def test_circles_and_values_of_nobody_name_their_nodes(capsys, tmp_path: Path) -> None:
    shape = ("float32", (1, 3))
    circle = [
        make_node("Add", ["x", "b"], ["a"], name="n1"),
        make_node("Relu", ["a"], ["b"], name="n2"),
    ]
    text = refused_model(capsys, onnx_model(circle, {"x": shape}, {"b": shape}), tmp_path)
    assert text.startswith(
        "error[bad-model]: nodes read their own results, in a circle\n"
        "  --> node 'n1' (Add), node 'n2' (Relu)\n"
    )

    lost = [
        make_node("Add", ["x", "p"], ["a"], name="n1"),
        make_node("Add", ["a", "q"], ["b"], name="n2"),
    ]
    text = refused_model(capsys, onnx_model(lost, {"x": shape}, {"b": shape}), tmp_path)
    assert text == (
        "error[bad-model]: nodes read values that nothing writes\n"
        "  --> 'p' of node 'n1' (Add), 'q' of node 'n2' (Add)\n"
    )


def test_a_model_without_outputs(capsys, tmp_path: Path) -> None:
    nodes = [make_node("Relu", ["x"], ["y"])]

    text = refused_model(capsys, onnx_model(nodes, {"x": ("float32", (3,))}, {}), tmp_path)

    assert text.startswith("error[bad-model]: the model has no outputs")


def test_an_input_whose_shape_is_not_said(capsys, tmp_path: Path) -> None:
    some = ("float32", (1,))
    model = onnx_model([make_node("Relu", ["x"], ["y"])], {"x": some}, {"y": some})
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.ClearField("shape")

    text = refused_model(capsys, model, tmp_path)
    assert text.startswith("error[dynamic-shape]: the input has no shape\n  --> input 'x'")

    path, out = tmp_path / "m.onnx", tmp_path / "out"
    given = ["--input-shape", "x=2,3", "--target", "host", "-o", str(out)]
    assert main(["compile", str(path), *given]) == 0
