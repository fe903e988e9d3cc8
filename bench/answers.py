"""Whether all cores give one answer, and the answers that onnxruntime gives."""

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
import onnx

import tinyc
from bench.models import BY_NAME, MODELS, RealModel
from bench.tables import table
from tinyc.compiler.graph import Array
from tinyc.compiler.reference_run import reference_session

SAME_BYTES = ("host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
SAMPLES = 16  # real samples of int8 models, on every core
FLOAT_SAMPLES = 1  # of float models: soft-float cores take seconds for each


def outputs_of(model: str, target: str, count: int | None) -> Array:
    """The first output for the first `count` real samples."""
    real = BY_NAME[model]
    artifact = tinyc.compile(real.path, target)
    (port,) = artifact.report.inputs
    samples = real.samples(count)
    result = tinyc.run(artifact, {port.name: samples.reshape(len(samples), *port.shape)})
    return result.outputs[artifact.report.outputs[0].name].reshape(len(samples), -1)


def reference_of(real: RealModel, count: int | None) -> Array:
    """The same by onnxruntime, graph optimisations off."""
    session = reference_session(onnx.load(str(real.path)))
    given = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in given.shape]
    rows = [session.run(None, {given.name: x.reshape(shape)})[0] for x in real.samples(count)]
    return np.stack([row.reshape(-1) for row in rows])


def same_bytes(model: str) -> str:
    """Whether all cores give one answer; the largest difference from the host for floats."""
    count = SAMPLES if BY_NAME[model].quantized else FLOAT_SAMPLES
    host, *others = (outputs_of(model, target, count) for target in SAME_BYTES)
    if BY_NAME[model].quantized:
        same = all(np.array_equal(host, other) for other in others)
        return "same bytes" if same else "DIFFER"
    scale = np.abs(host).max()
    return f"{max(float(np.abs(o - host).max() / scale) for o in others):.1e} relative"


def accuracy(model: str) -> tuple[int, int, int]:
    """Right answers of tinyc and of onnxruntime, and how many samples there are."""
    real = BY_NAME[model]
    labels = real.answers()
    ours, theirs = (
        int((_classes(scores) == labels).sum())
        for scores in (outputs_of(model, "host", None), reference_of(real, None))
    )
    return ours, theirs, len(labels)


def _classes(scores: Array) -> Array:
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5)


def deviation(model: str) -> float:
    """Largest difference from onnxruntime, relative to the largest output."""
    ours, theirs = outputs_of(model, "host", SAMPLES), reference_of(BY_NAME[model], SAMPLES)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def answer_sections(pool: Executor) -> Iterator[str]:
    names = [m.name for m in MODELS]
    yield f"\n## The same answers on {', '.join(SAME_BYTES)}\n"
    yield f"{SAMPLES} real samples of int8 models, {FLOAT_SAMPLES} of float models.\n"
    yield table("model | outputs", list(zip(names, pool.map(same_bytes, names), strict=True)))

    labelled = [m.name for m in MODELS if m.correct]
    yield "\n## Accuracy on all labelled samples, compiled for the host\n"
    yield table(
        "model | tinyc | onnxruntime here | right in models/README.md | samples",
        [
            (m, f"{ours / count:.1%} ({ours})", f"{theirs / count:.1%} ({theirs})",
             BY_NAME[m].correct, count)
            for m, (ours, theirs, count) in zip(labelled, pool.map(accuracy, labelled), strict=True)
        ],
    )  # fmt: skip

    floats = [m.name for m in MODELS if not m.quantized]
    yield "\n## Float models against onnxruntime: largest deviation, relative\n"
    found = zip(floats, pool.map(deviation, floats), strict=True)
    yield table("model | deviation", [(m, f"{d:.1e}") for m, d in found])
