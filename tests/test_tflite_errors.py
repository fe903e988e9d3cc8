"""TensorFlow Lite files that are refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tflite_cases import CASES
from tests.tflite_files import Operation, T, graph_of
from tests.tflite_written import written
from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.reading import read_onnx


def refusal(folder: Path, tensors: Sequence[T], *operations: Operation) -> CompileError:
    with pytest.raises(CompileError) as error:
        graph_of(folder, tensors, *operations)
    return error.value


def test_unknown_operators_are_named_all_at_once(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("a", (1, 3)), T("y", (1, 3))]
    operations = Operation("RFFT2D", ("x",), ("a",)), Operation("MyOwn", ("a",), ("y",))

    error = refusal(tmp_path, tensors, *operations)

    assert str(error) == (
        "error[unsupported-op]: 2 nodes have operators that are not supported\n"
        "  --> node 'RFFT2D_0' (RFFT2D), node 'CUSTOM MyOwn_1' (CUSTOM MyOwn)\n"
        "  help: express them by other operators; `tinyc ops` lists those that are supported"
    )


def test_strings_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, [T("x", (3,), "string"), T("y", (3,))],
                    Operation("CAST", ("x",), ("y",)))  # fmt: skip

    assert "the element type string is not supported" in str(error)


def test_parameters_that_are_computed_are_refused(tmp_path: Path) -> None:
    tensors = [T("x", (1, 3)), T("axes", (1,), "int32"), T("y", (1,))]
    operations = (
        Operation("CAST", ("x",), ("axes",)), Operation("MEAN", ("x", "axes"), ("y",)),
    )  # fmt: skip

    error = refusal(tmp_path, tensors, *operations)

    assert error.message == "input 1 is computed at run time, it must be a constant"


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, [T("x", (1, 3)), T("y", (1, 4))], Operation("TANH", ("x",), ("y",)))

    assert error.code == "bad-model"
    assert error.message.startswith("the operators do not give what the file says")


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    path, content = tmp_path / "m.tflite", written(CASES[:4]).content
    path.write_bytes(content[: int(part * len(content))])

    with pytest.raises(CompileError) as error:
        read_onnx(path)

    assert error.value.code in ("bad-model", "not-onnx")
