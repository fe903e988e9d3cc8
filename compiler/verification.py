"""Does the compiled model answer like onnxruntime? Accuracy, deviation, and where they part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyc.compiler.artifact import Port
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, DType
from tinyc.compiler.interface_data import (
    choose_inputs,
    labels_of,
    load_arrays,
    real_samples,
    stored_samples,
)
from tinyc.compiler.options import DEFAULTS, Options
from tinyc.compiler.pipeline import compile_program
from tinyc.compiler.reference_run import Parting, Reference, tolerance
from tinyc.compiler.running import run_artifact
from tinyc.targets import Target
from tinyc.targets.memories import with_memory


@dataclass(frozen=True, slots=True)
class OutputDeviation:
    """How one output of the compiled model differs from onnxruntime's.

    largest          largest absolute difference; in stored steps for integers
    differing_share  share of the elements that differ (integers) or by more than 1e-5 (floats)
    """

    name: str
    dtype: str
    largest: float
    differing_share: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The answers of the compiled model and of onnxruntime on the same samples.

    accuracy  share of right answers of the first output; None without labels
    parting   None where they agree, and for a model that remembers: there it is not looked for
    """

    target: str
    samples: int
    accuracy: float | None
    reference_accuracy: float | None
    same_answers: float
    outputs: tuple[OutputDeviation, ...]
    parting: Parting | None
    cycles: int | None


def verify_model(
    model: Path,
    target: Target,
    data: str | Path | Mapping[str, Array],
    limit: int | None = None,
    options: Options = DEFAULTS,
) -> Verification:
    """Compile `model`, run it and onnxruntime on `data`, and compare."""
    if options.stream:
        raise CompileError(
            "wrong-option",
            "onnxruntime runs the model on whole sequences only",
            "option stream",
            "verify without --stream, which gives the same rows",
        )
    target = with_memory(target, options.memory)
    program, artifact = compile_program(model, target, options)
    graph = program.graph
    for port in (*artifact.report.inputs, *artifact.report.outputs):
        if port.dtype == DType.TEXT:
            raise CompileError(
                "unsupported-type",
                "only numbers are compared with onnxruntime's",
                f"'{port.name}', which has texts",
                "look at the outputs of `tinyc run`",
            )
    arrays = load_arrays(data) if isinstance(data, str | Path) else data
    reference = Reference(model)
    inputs, ports = artifact.report.inputs, artifact.report.outputs
    chosen = choose_inputs(inputs, arrays, reference.dtypes)
    taken, given = {}, {}  # by the compiled model, to the file's
    for port in inputs:
        samples, dtype = chosen[port.name][:limit], reference.dtypes[port.name]
        taken[port.name] = stored_samples(samples, port, dtype)
        given[port.name] = real_samples(samples, port, dtype)
    result = run_artifact(artifact, target, taken)
    count = len(next(iter(result.outputs.values())))
    expected = reference.outputs(inputs, given, count, ports)
    labels = labels_of(arrays, taken, count, limit)
    first = ports[0]
    ours, theirs = (_answers(o[first.name], first) for o in (result.outputs, expected))
    deviations = tuple(_deviation(p, result.outputs[p.name], expected[p.name]) for p in ports)
    worst = None if graph.states else _first_difference(ports, result.outputs, expected)
    return Verification(
        target=target.name,
        samples=count,
        accuracy=_accuracy(ours, labels),
        reference_accuracy=_accuracy(theirs, labels),
        same_answers=float(np.mean(ours == theirs)),
        outputs=deviations,
        parting=None if worst is None else reference.parting(graph, taken, given, worst),
        cycles=result.cycles,
    )


def _answers(output: Array, port: Port) -> Array:
    """The class of each sample: the largest score, or the rounded single probability.

    Integers that stand for no real numbers are answers themselves.
    """
    flat = output.reshape(len(output), -1)
    if flat.dtype.kind in "iu" and port.quant is None:
        return flat[:, 0] if flat.shape[1] == 1 else flat
    if flat.shape[1] > 1:
        return np.asarray(flat.argmax(axis=1))
    if port.quant is not None:
        real = (flat[:, 0].astype(np.float64) - port.quant.zero_point[0]) * port.quant.scale[0]
        return np.asarray(real > 0.5)
    return np.asarray(flat[:, 0] > 0.5)


def _accuracy(answers: Array, labels: Array | None) -> float | None:
    if labels is None or labels.shape != answers.shape:
        return None
    return float(np.mean(answers == labels))


def _deviation(port: Port, ours: Array, theirs: Array) -> OutputDeviation:
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    allowed = tolerance(ours)
    return OutputDeviation(
        port.name,
        str(ours.dtype),
        float(difference.max(initial=0)),
        float((difference > allowed).mean()),
    )


def _first_difference(
    ports: tuple[Port, ...], ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> int | None:
    """The first sample in which any output differs."""
    differs = np.zeros(len(next(iter(ours.values()))), bool)
    for port in ports:
        allowed = tolerance(ours[port.name])
        gap = np.abs(ours[port.name].astype(np.float64) - theirs[port.name].astype(np.float64))
        differs |= (gap > allowed).reshape(len(differs), -1).any(axis=1)
    found = np.flatnonzero(differs)
    return int(found[0]) if found.size else None
