"""The C that we generate: clean for gcc and clang with every warning, the header for C++ too."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from bench.models import SHARED
from tests.harness import WARNINGS, onnx_model, read_model
from tests.test_streaming_state import Net, floats
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.names import c_name, unique_names
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target
from tinyc.targets.firmware import Io
from tinyc.targets.toolchain import command_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODELS = [EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", EXAMPLE / "digits_cnn.onnx"]
if SHARED.exists():
    MODELS += [SHARED / "models" / f"{n}.onnx" for n in ("dscnn_kws_int8_qdq", "motions_conv1d")]


def compiled(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("io", ["caller", "arena", "rows"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
@pytest.mark.parametrize("model", MODELS, ids=lambda p: p.stem)
def test_the_c_is_clean(model: Path, compiler: str, io: str, tmp_path: Path) -> None:
    command = command_of(compiler)
    if command is None:
        pytest.skip(f"{compiler} is not installed")
    if io == "rows" and model.stem == "motions_conv1d":
        pytest.skip("its first layer needs the whole input")
    dtype = "int8" if io == "rows" else "model"  # a Quantize would need the whole input
    artifact = tinyc.compile(model, "cortex-m4", io=io, io_dtype=dtype)  # here: the portable twins
    artifact.write(tmp_path / "c")

    for name in (f"{artifact.name}.c", f"{artifact.name}_weights.c"):
        flags = ["-std=c11", "-O1", *WARNINGS, "-c", name, "-o", str(tmp_path / f"{name}.o")]
        done = compiled([*command, *flags], tmp_path / "c")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("io", ["caller", "arena"])
def test_the_c_of_a_call_is_clean(compiler: str, io: Io, tmp_path: Path) -> None:
    command = command_of(compiler)
    if command is None:
        pytest.skip(f"{compiler} is not installed")
    onnx.save(two_convolutions_and_a_layer(), str(tmp_path / "kws.onnx"))

    artifact = tinyc.compile(tmp_path / "kws.onnx", "cortex-m4", io=io, stream="x:2")

    artifact.write(tmp_path / "c")
    for name in ("kws.c", "kws_weights.c"):
        flags = ["-std=c11", "-O1", *WARNINGS, "-c", name, "-o", str(tmp_path / f"{name}.o")]
        done = compiled([*command, *flags], tmp_path / "c")
        assert done.returncode == 0, done.stderr


def two_convolutions_and_a_layer() -> onnx.ModelProto:
    """Windows, calls without an output, and a state that begins with different numbers."""
    net = Net()
    net.conv(4, 3)
    net.conv(4, 3, inputs=4, pads=[2, 0])
    net.add("Transpose", perm=[2, 0, 1])
    net.nodes.append(make_node("RNN", [net.last, "w", "r", "", "", "h"], ["y"], hidden_size=5))
    net.constants |= {"w": floats(1, 5, 4), "r": floats(1, 5, 5), "h": floats(1, 1, 5)}
    net.last = "y"
    return net.model()


def test_the_header_is_cpp11(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    artifact = tinyc.compile(MODELS[0], "cortex-m4", name="digits")
    artifact.write(tmp_path / "c")
    use = '#include "digits.h"\nstatic digits_arena a;\nvoid f(const float *x, float *y);\n'
    (tmp_path / "c" / "use.cpp").write_text(
        use + "void f(const float *x, float *y) { digits_run(&a, x, y); }\n"
    )

    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "use.cpp"]
    done = compiled([compiler, *flags], tmp_path / "c")

    assert done.returncode == 0, done.stderr


def test_nothing_forbidden_is_in_the_c() -> None:
    for model in MODELS:
        files = tinyc.compile(model, "cortex-m4").files
        text = "".join(files[n] for n in files if n.endswith((".c", ".h")))
        assert not re.search(r"\b(malloc|calloc|free|goto|setjmp|printf|alloca)\b", text)
        assert not re.search(r"^(static )?(?!const|inline)\w+ \w+(\[\d+\])? = ", text, re.MULTILINE)
        assert "0BSD" in files["tinyc.h"] and all(
            "SPDX-License-Identifier: 0BSD" in files[n] for n in files if n.endswith((".c", ".h"))
        )


def artifact_of(
    folder: Path, inputs: dict[str, tuple[str, tuple[int, ...]]], output: str
) -> Artifact:
    names = list(inputs)
    shape = inputs[names[0]][1]
    model = onnx_model([make_node("Add", names, [output])], inputs, {output: ("float32", shape)})
    return emit_artifact(plan_program(read_model(model, folder), load_target("host")))


def test_names_of_the_model_become_names_of_c(tmp_path: Path) -> None:
    inputs = {"serving:0": ("float32", (1, 2)), "a/b;c": ("float32", (1, 2))}

    header = artifact_of(tmp_path, inputs, "double").files["model.h"]

    assert "const float serving_0[2], const float a_b_c[2], float double_[2]" in header


def test_an_input_may_be_named_like_a_kernel(tmp_path: Path) -> None:
    inputs = {"add": ("float32", (1, 2)), "arena": ("float32", (1, 2))}
    artifact = artifact_of(tmp_path, inputs, "memcpy")

    values = np.array([[1, 2]], np.float32)
    result = tinyc.run(artifact, {"add": values, "arena": values})

    np.testing.assert_array_equal(result.outputs["memcpy"], 2 * values)


def test_c_names_are_valid_and_unique() -> None:
    assert [c_name(n) for n in ("3d", "", "int", "ünï", "_x", "a__b")] == [
        "x_3d", "x", "int_", "x_n_", "x_x", "a_b",
    ]  # fmt: skip
    assert unique_names(["a:0", "a;0", "a 0"], ["a_0_2"]) == {
        "a:0": "a_0", "a;0": "a_0_3", "a 0": "a_0_4",
    }  # fmt: skip


@pytest.mark.parametrize(("op", "calls"), [("Softmax", ["expf"]), ("LogSoftmax", ["expf", "logf"])])
def test_an_exponential_is_computed_once(op: str, calls: list[str], tmp_path: Path) -> None:
    shape = ("float32", (2, 9))
    node = make_node(op, ["x"], ["y"], axis=1)
    onnx.save(onnx_model([node], {"x": shape}, {"y": shape}), str(tmp_path / "m.onnx"))

    text = str(tinyc.compile(tmp_path / "m.onnx", "cortex-m4").files["m.c"])

    assert re.findall(r"\b(?:exp|log)f(?=\()", text) == calls
