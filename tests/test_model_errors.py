"""Models that are refused, letter by letter: files, operators, shapes."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model
from tests.refusals import EXAMPLE, MODEL, refused, refused_model
from tinyc.compiler.cli import main


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


def test_an_opset_that_nobody_knows_yet(capsys, tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    ends = {"x": ("float32", (4,))}, {"y": ("float32", (4,))}
    model = onnx_model([make_node("Relu", ["x"], ["y"])], *ends, opset=newest + 1)

    assert refused_model(capsys, model, tmp_path) == (
        f"error[new-opset]: opset {newest + 1} is newer than {newest}, the last that is known\n"
        "  --> file 'FOLDER/m.onnx'\n"
        f"  help: export the model with opset {newest}, or install a newer onnx\n"
    )


def test_a_zero_point_of_another_type(capsys, tmp_path: Path) -> None:
    nodes = [make_node("DequantizeLinear", ["x", "s", "z"], ["y"], name="d")]
    constants = {"s": np.float32(0.5), "z": np.uint8(3)}
    ends = {"x": ("int8", (4,))}, {"y": ("float32", (4,))}

    assert refused_model(capsys, onnx_model(nodes, *ends, constants), tmp_path) == (
        "error[bad-model]: its zero point is uint8, and what it dequantizes int8\n"
        "  --> node 'd' (DequantizeLinear)\n"
    )
