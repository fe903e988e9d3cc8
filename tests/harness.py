"""What the tests share: small graphs, and their C run on this machine or an emulated core."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, Graph, QParams, Tensor, constant
from tinyc.compiler.interpreter import run
from tinyc.compiler.onnx_import.reading import read_onnx
from tinyc.compiler.pipeline import emit_artifact
from tinyc.compiler.planning import plan_program
from tinyc.compiler.program import Program as Planned
from tinyc.compiler.reference_run import reference_session
from tinyc.passes import FLOAT_PASSES, INT8_PASSES, run_passes
from tinyc.targets import load_target
from tinyc.targets.firmware.program import Port, Program
from tinyc.targets.runner import run_program

HOST = load_target("host")
WARNINGS = (
    "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wmissing-prototypes "
    "-Wstrict-prototypes -Wundef -Werror"
).split()
STRICT_HOST = replace(HOST, cflags=(*HOST.cflags, *WARNINGS))


def run_c(
    graph: Graph,
    samples: Sequence[dict[str, Array]],
    target: str = "host",
    on: str = "",
    schedules: Mapping[str, Schedule] = MappingProxyType({}),
    streams: Sequence[Sequence[str]] = (),
) -> list[dict[str, Array]]:
    """The outputs for each sample, of the C that `graph` becomes, built with all warnings.

    target  the target the C is generated for
    on      the target it runs on; "host" gives the portable twins of a core's microkernels
    streams  nodes that run together, row by row
    """
    program = plan_program(graph, load_target(target), schedules=schedules, streams=streams)
    return run_planned(program, samples, on or target)


def assert_c_computes_the_meaning(
    graph: Graph, samples: list[dict[str, Array]], target: str, on: str
) -> None:
    """The C for `target`, run on another, gives the bytes of the reference, for all outputs."""
    computed = run_c(graph, samples, target, on)

    for inputs, outputs in zip(samples, computed, strict=True):
        for name, meant in run(graph, inputs).items():
            np.testing.assert_array_equal(outputs[name], meant, err_msg=name)


def run_planned(
    program: Planned, samples: Sequence[dict[str, Array]], on: str
) -> list[dict[str, Array]]:
    """The outputs for each sample, of a program's C built with all warnings."""
    artifact = emit_artifact(program)
    inputs, outputs = artifact.report.inputs, artifact.report.outputs
    firmware = firmware_of(artifact)
    data = [tuple(np.ascontiguousarray(s[p.name]).tobytes() for p in inputs) for s in samples]
    machine = STRICT_HOST if on == "host" else load_target(on)
    results = run_program(firmware, machine, data).outputs
    return [
        {
            port.name: np.frombuffer(bytes_, port.dtype.value).reshape(port.shape)
            for port, bytes_ in zip(outputs, result, strict=True)
        }
        for result in results
    ]


def firmware_of(artifact: Artifact) -> Program:
    """What a runner needs to know of compiled files."""
    return Program(
        artifact.name,
        artifact.files,
        tuple(
            Port(p.c_name, C_TYPES[p.dtype], p.bytes, p.arena, p.rows)
            for p in artifact.report.inputs
        ),
        tuple(Port(p.c_name, C_TYPES[p.dtype], p.bytes) for p in artifact.report.outputs),
        artifact.io,
        state_bytes=artifact.report.state_bytes,
    )


def stored(name: str, shape: tuple[int, ...], quant: QParams) -> Tensor:
    """An activation of int8."""
    return Tensor(name, shape, DType.INT8, None, quant)


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Values over the whole range of integers, around zero for floats."""
    rng = np.random.default_rng(seed)
    return {name: random_values(graph.tensors[name], rng) for name in graph.inputs}


def random_values(tensor: Tensor, rng: np.random.Generator) -> Array:
    if tensor.dtype.is_float:
        return rng.normal(size=tensor.shape).astype(tensor.dtype.value)
    if tensor.dtype == DType.BOOL:
        return rng.integers(0, 2, tensor.shape).astype(bool)
    low, high = tensor.dtype.limits
    return rng.integers(max(low, -1000), min(high, 1000) + 1, tensor.shape).astype(
        tensor.dtype.value
    )


def random_constant(
    name: str, shape: tuple[int, ...], dtype: DType, seed: int = 1, quant: QParams | None = None
) -> Tensor:
    """A constant over the whole range of its type."""
    values = random_values(Tensor(name, shape, dtype), np.random.default_rng(seed))
    return constant(name, values, dtype, quant)


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[str, tuple[Any, ...]]],
    outputs: dict[str, tuple[str, tuple[Any, ...]]],
    constants: dict[str, Array] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A small model; inputs and outputs are name -> (NumPy dtype, shape)."""

    def value(name: str, kind: tuple[str, tuple[Any, ...]]) -> onnx.ValueInfoProto:
        dtype, shape = kind
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return onnx.helper.make_tensor_value_info(name, element, shape)

    initializers = [onnx.numpy_helper.from_array(v, n) for n, v in (constants or {}).items()]
    graph = onnx.helper.make_graph(
        list(nodes),
        "graph",
        [value(n, k) for n, k in inputs.items()],
        [value(n, k) for n, k in outputs.items()],
        initializers,
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    imports += [onnx.helper.make_opsetid(domain, 1) for domain in domains]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)


def read_model(model: onnx.ModelProto, folder: Path) -> Graph:
    """The imported graph, no pass run."""
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return read_onnx(path)


def optimized(graph: Graph) -> Graph:
    """`graph` after all passes."""
    return run_passes(run_passes(graph, HOST, FLOAT_PASSES), HOST, INT8_PASSES)


def run_nodes(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Array],
    outputs: dict[str, str],
    folder: Path,
    constants: dict[str, Array] | None = None,
    target: str = "host",
) -> dict[str, Array]:
    """What the C of a model computes; outputs are name -> type, of any shape."""
    given = {n: (str(a.dtype), a.shape) for n, a in inputs.items()}
    wanted = {n: (dtype, (None,)) for n, dtype in outputs.items()}
    model = onnx_model(nodes, given, wanted, constants, opset=26)
    (result,) = run_c(optimized(read_model(model, folder)), [inputs], target)
    return result


def run_onnxruntime(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """The same by onnxruntime, graph optimisations off."""
    session = reference_session(model)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
