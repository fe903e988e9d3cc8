"""The test cases that come with ONNX, compiled to C and run: `python -m bench.conformance`.

`data/node_tests.csv` says of each node test which inputs are shapes, axes or counts: their values
are in the model when it is compiled, as they are in a model that an exporter writes. set: "C" for
those that matter to TinyML, "B" for the others that a compiler for microcontrollers can be asked,
"" for the rest (strings, sequences, float8, training, ...).
"""

import csv
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests

from tests.harness import firmware_of
from tinyc.compiler.artifact import Artifact, Road
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.pipeline import compile_model
from tinyc.compiler.texts import stored_texts
from tinyc.targets import Target, load_target
from tinyc.targets.runner import run_program

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
CLASSES = Path(__file__).parent / "data" / "node_tests.csv"
HOST = load_target("host")
QUICK = replace(HOST, cflags=tuple("-O1" if f == "-O3" else f for f in HOST.cflags))

Result = Literal["passed", "refused", "wrong", "crashed"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """data: pairs of inputs and outputs, each in the model's order."""

    name: str
    kind: str
    operator: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float
    set: str = ""
    bound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case.

    reason   why it did not pass
    roads    that layers took which are of the case's operator, or of its body
    outputs  what the first data set gave, in the model's order
    """

    name: str
    kind: str
    operator: str
    set: str
    result: Result
    reason: str = ""
    stack_bytes: int = 0
    roads: frozenset[Road] = frozenset()
    outputs: tuple[bytes, ...] = field(default=(), repr=False)


@cache
def cases(kind: str) -> Mapping[str, Case]:
    """The cases of a kind, by name."""
    classes = {row["name"]: row for row in csv.DictReader(CLASSES.open(encoding="utf-8"))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind=kind)
    return {c.name: _case(kind, c, classes.get(c.name, {})) for c in found}


def _case(kind: str, case: Any, row: Mapping[str, str]) -> Case:
    folder = Path(case.model_dir) if case.model_dir else None
    model = case.model if folder is None else onnx.load(str(folder / "model.onnx"))
    operator = row.get("op") or (model.graph.node[0].op_type if kind == "node" else kind)
    bound = tuple(filter(None, row.get("bound", "").split("|")))
    data = case.data_sets if folder is None else _stored_data(folder, model)
    return Case(
        case.name, kind, operator, model, data, case.rtol, case.atol, row.get("set", ""), bound
    )


def _stored_data(folder: Path, model: onnx.ModelProto) -> list[tuple[list[Any], list[Any]]]:
    def arrays(where: Path, stem: str, infos: Sequence[onnx.ValueInfoProto]) -> list[Any]:
        return [_stored(where / f"{stem}_{i}.pb", info) for i, info in enumerate(infos)]

    given = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in given]
    sets = sorted(folder.glob("test_data_set_*"))
    return [(arrays(s, "input", inputs), arrays(s, "output", model.graph.output)) for s in sets]


def _stored(path: Path, info: onnx.ValueInfoProto) -> Any:
    """None for what is no tensor."""
    if not info.type.HasField("tensor_type"):
        return None
    return onnx.numpy_helper.to_array(onnx.load_tensor(str(path)))


def run_case(case: Case, target: Target = QUICK) -> Outcome:
    """Compile the case for `target` and run it; nothing is raised."""
    stack, outputs, roads = 0, (), frozenset[Road]()
    try:
        for inputs, expected in case.data:
            artifact = compiled(case, inputs, target)
            roads |= {layer.road for layer in artifact.report.layers}
            got, used = _outputs(artifact, inputs_of(case, inputs), target)
            wrong = _difference(case, expected, got)
            if wrong:
                return _outcome(case, "wrong", wrong)
            stack = max(stack, used)
            outputs = outputs or tuple(a.tobytes() for a in got)
    except CompileError as error:
        result: Result = "crashed" if error.code in ("run-failed", "c-refused") else "refused"
        return _outcome(case, result, f"{error.code}: {error.message}; {error.where}")
    except Exception as error:
        return _outcome(case, "crashed", f"{type(error).__name__}: {error}".splitlines()[0])
    return replace(_outcome(case, "passed"), stack_bytes=stack, roads=roads, outputs=outputs)


def _outcome(case: Case, result: Result, reason: str = "") -> Outcome:
    return Outcome(case.name, case.kind, case.operator, case.set, result, reason)


def inputs_of(case: Case, inputs: Sequence[Any]) -> dict[str, Any]:
    """The inputs of a data set by name."""
    names = [i.name for i in case.model.graph.input]
    given = {t.name for t in case.model.graph.initializer}
    values = map(_values, inputs)
    return dict(zip([n for n in names if n not in given], values, strict=True))


def compiled(case: Case, inputs: Sequence[Any], target: Target) -> Artifact:
    """The case's C, with the values of its bound inputs in it."""
    with tempfile.TemporaryDirectory(prefix="tinyc-case-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(with_bound(case, inputs_of(case, inputs)), str(path))
        return compile_model(path, target, records=())


def _outputs(
    artifact: Artifact, inputs: Mapping[str, Any], target: Target
) -> tuple[list[Array], int]:
    data = tuple(
        np.ascontiguousarray(_as_stored(inputs[p.name], p.dtype)).tobytes()
        for p in artifact.report.inputs
    )
    execution = run_program(firmware_of(artifact), target, [data])
    arrays = [
        np.frombuffer(b, p.dtype.value).reshape(p.shape)
        for b, p in zip(execution.outputs[0], artifact.report.outputs, strict=True)
    ]
    return arrays, execution.stack_bytes or 0


def _as_stored(value: Any, dtype: str) -> Array:
    array = np.asarray(value)
    return stored_texts(array, "case") if dtype == DType.TEXT else array.astype(dtype)


def _values(value: Any) -> Any:
    """What some cases give as a stored tensor."""
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def with_bound(case: Case, inputs: Mapping[str, Any]) -> onnx.ModelProto:
    """The case's model with the values of the bound inputs in it; sizes it leaves open are those
    of the others."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for name in case.bound:
        model.graph.initializer.append(onnx.numpy_helper.from_array(inputs[name], name))
    kept = [i for i in model.graph.input if i.name not in case.bound]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for info in model.graph.input:
        if info.type.HasField("tensor_type") and info.name in inputs:
            dims = info.type.tensor_type.shape.dim
            for dim, size in zip(dims, np.shape(inputs[info.name]), strict=True):
                dim.dim_value = size
    return model


def _difference(case: Case, expected: Sequence[Any], got: Sequence[Array]) -> str:
    """What is wrong with the outputs; "" when they are right."""
    if len(expected) != len(got):
        return f"{len(got)} outputs, expected {len(expected)}"
    for index, (want, have) in enumerate(zip(expected, got, strict=True)):
        if want is None or isinstance(want, list):
            return f"output {index} is no tensor"
        want = np.asarray(_values(want))
        if want.dtype == object:  # texts; some cases hold Python's integers
            want = _as_stored(want, _declared_type(case, index))
        if want.dtype != have.dtype or want.shape != have.shape:
            return (
                f"output {index} is {have.dtype}{list(have.shape)}, "
                f"expected {want.dtype}{list(want.shape)}"
            )
        close = have == want
        if have.dtype != DType.TEXT:
            numbers = have.astype(np.float64), want.astype(np.float64)
            close = np.isclose(*numbers, case.rtol, case.atol, equal_nan=True)
        if not close.all():
            at = tuple(int(i[0]) for i in np.nonzero(~close)) if close.ndim else ()
            return f"output {index}{list(at)} is {have[at]}, expected {want[at]}"
    return ""


def _declared_type(case: Case, output: int) -> str:
    element = case.model.graph.output[output].type.tensor_type.elem_type
    if element == onnx.TensorProto.STRING:
        return DType.TEXT
    return str(onnx.helper.tensor_dtype_to_np_dtype(element))
