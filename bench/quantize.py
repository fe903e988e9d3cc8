"""The quantizer's answers beside those of the float model and of onnxruntime's quantize_static."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.models import BY_NAME, SHARED
from bench.tables import table
from tests.outlier_nets import digits_with_outliers
from tinyc.compiler.graph import Array
from tinyc.compiler.verification import reference_session
from tinyc.quantization.quantize import quantize_model

COMPARED = ("MinMax", "Entropy", "Percentile")  # onnxruntime's calibration methods


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A float model with samples to calibrate, and others to judge.

    calibrated  which samples calibrate; all others are the test part
    allowed     points of accuracy (or % of the score) that may be lost
    """

    name: str
    samples: Array
    labels: Array | None
    calibrated: Array
    allowed: float
    which: str

    @property
    def path(self) -> Path:
        return SHARED / "models" / f"{self.name}.onnx"

    @property
    def test(self) -> Array:
        return np.asarray(self.samples[~self.calibrated])


def cases() -> Iterator[Case]:
    for name, allowed, count in (
        ("resnet8_cifar10_f32", 0.5, 100), ("dscnn_kws_f32", 0.5, 100),
        ("mobilenetv1_vww_f32", 0.5, 26), ("digits_cnn", 0.3, 100),
        ("breast_cancer_mlp", 0.3, 85), ("motions_conv1d", 0.3, 20),
        ("power_lstm", 0.3, 100),
    ):  # fmt: skip
        yield _labelled(name, allowed, count)
    yield toycar()


def _labelled(name: str, allowed: float, count: int) -> Case:
    """The first samples calibrate; of sorted ones, every other."""
    if name == "power_lstm":
        with np.load(SHARED / "data" / "power_lstm_eval.npz") as file:
            samples, labels = file["x_f32"], file["y"]
    else:
        samples, labels = BY_NAME[name].samples(), BY_NAME[name].answers()
    calibrated = np.arange(len(samples)) < count
    which = f"the first {count} of {len(samples)}"
    if name == "motions_conv1d":
        calibrated, which = np.arange(len(samples)) % 2 == 0, "every other of 40"
    return Case(name, samples, labels, calibrated, allowed, which)


def toycar() -> Case:
    """Windows of five frames, from the clip and from the windows of five other clips."""
    with np.load(SHARED / "data_nc" / "fcae_toycar_mlcommons_sample.npz") as file:
        frames = file["x_f32"]
    windows = np.stack([frames[i : i + 5].reshape(-1) for i in range(len(frames) - 4)])
    samples = np.concatenate([windows, BY_NAME["fcae_toycar_f32"].samples()])
    calibrated = np.arange(len(samples)) % 2 == 0  # so that every clip is among them
    calibrated[:16] = False
    return Case("fcae_toycar_f32", samples, None, calibrated, 1.0, "100 of 216 windows, all clips")


def outputs(proto: onnx.ModelProto, samples: Array) -> Array:
    """onnxruntime's first output for every sample, as the nodes stand."""
    session = reference_session(proto)
    given = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in given.shape]
    rows = [session.run(None, {given.name: x.reshape(shape)})[0] for x in samples]
    return np.stack([np.asarray(row).reshape(-1) for row in rows])


def right(scores: Array, labels: Array) -> int:
    answers = scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5
    return int((answers == labels).sum())


def score_error(x: Array, real: Array, found: Array) -> float:
    """Mean relative error of the reconstruction score, in %."""
    scores = [((x - y) ** 2).mean(axis=1) for y in (real, found)]
    return float(np.mean(np.abs(scores[1] - scores[0]) / scores[0]) * 100)


def loss(case: Case, real: Array, found: Array) -> float:
    """Points of accuracy that are lost on the test part, or % of the score."""
    if case.labels is None:
        return score_error(case.test, real, found)
    labels = case.labels[~case.calibrated]
    return (right(real, labels) - right(found, labels)) * 100 / len(labels)


def of_onnxruntime(path: Path, samples: Array, per_channel: bool, method: str) -> onnx.ModelProto:
    """quantize_static of onnxruntime after its own preparation of the model."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )  # fmt: skip
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given = reference_session(onnx.load(str(path))).get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in given.shape]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.rows = iter(samples)

        def get_next(self) -> Any:
            row = next(self.rows, None)
            return None if row is None else {given.name: row.reshape(shape)}

    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, written = (str(Path(folder) / n) for n in ("float", "prepared", "int8"))
        onnx.save(onnx.load(str(path)), whole)  # its preparation does not find side files
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, written, Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
        )  # fmt: skip
        return onnx.load(written)


def best_of_onnxruntime(case: Case, real: Array) -> tuple[float, str]:
    """The least loss of its settings on the test part, and which setting that is."""
    found: dict[str, float] = {}
    for per_channel in (True, False):
        for method in COMPARED:
            name = f"{method}, per {'channel' if per_channel else 'tensor'}"
            samples = case.samples[case.calibrated]
            proto = of_onnxruntime(case.path, samples, per_channel, method)
            found[name] = loss(case, real, outputs(proto, case.test))
    best = min(found, key=lambda name: found[name])
    return found[best], best


def measured(case: Case) -> tuple[Array, Array, float]:
    """The float and the int8 outputs of the test part, and the time that quantizing took (s)."""
    begin = time.perf_counter()
    quantized = quantize_model(case.path, {"x": case.samples[case.calibrated]})
    seconds = time.perf_counter() - begin
    real = outputs(onnx.load(str(case.path)), case.test)
    return real, outputs(quantized.model.to_proto(), case.test), seconds


def quantize_section() -> Iterator[str]:
    yield "## Quantizing float models (`tinyc quantize`)\n"
    yield (
        "onnxruntime as judge, graph optimisations off; the test part is what does not calibrate. "
        "Loss in points of accuracy, of the autoencoder in % of its score. Beside it the least "
        "loss of six settings of onnxruntime's `quantize_static`, chosen on the test part.\n"
    )
    rows = [_row(case) for case in cases()]
    head = "model | calibrated by | test | float | int8 | loss | allowed | signal/noise"
    yield table(f"{head} | loss of onnxruntime's best | s", rows)
    yield from outlier_lines()


def _row(case: Case) -> tuple[object, ...]:
    real, found, seconds = measured(case)
    theirs, setting = best_of_onnxruntime(case, real)
    if case.labels is None:
        texts = "-", "-"
    else:
        labels = case.labels[~case.calibrated]
        texts = tuple(f"{right(y, labels) / len(labels):.2%}" for y in (real, found))
    noise = -10 * np.log10(np.mean((found - real) ** 2) / real.var())
    return (
        case.name, case.which, len(real), *texts, f"{loss(case, real, found):.2f}",
        f"{case.allowed:g}", f"{noise:.1f} dB", f"{theirs:.2f} ({setting})", f"{seconds:.0f}",
    )  # fmt: skip


def outlier_lines() -> Iterator[str]:
    """The digits network with outliers: by tinyc, and by minmax per tensor."""
    digits = _labelled("digits_cnn", 1.0, 100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outliers.onnx"
        onnx.save(digits_with_outliers(), str(path))
        test, labels = digits.test, digits.labels
        assert labels is not None
        labels = labels[~digits.calibrated]
        samples = digits.samples[digits.calibrated]
        makers: Mapping[str, Callable[[], onnx.ModelProto]] = {
            "float": lambda: onnx.load(str(path)),
            "tinyc": lambda: quantize_model(path, {"x": samples}).model.to_proto(),
            **{
                f"onnxruntime, {method}, per {'channel' if channel else 'tensor'}": (
                    lambda m=method, c=channel: of_onnxruntime(path, samples, c, m)
                )
                for channel in (False, True)
                for method in COMPARED
            },
        }
        rows = [
            (name, f"{right(outputs(make(), test), labels) / len(labels):.2%}")
            for name, make in makers.items()
        ]
    yield (
        "\nThe digits network with outliers that leave its function as it was: one channel's "
        "weights 100 times larger, a neuron that fires for 2 % of the images and then 2000 times "
        "as much, a depthwise layer whose channels span 2^10.\n"
    )
    yield table("quantized by | right", rows)
