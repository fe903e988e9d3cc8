"""Models as exporters write them: both of PyTorch, and onnxruntime's quantizer on them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tests.harness import optimized, run_c, run_onnxruntime
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.reading import read_onnx

FOLDER = Path(__file__).parent / "data" / "exported"
MODELS = sorted(FOLDER.glob("*.onnx"))


def values(net: str, letter: str) -> list[Array]:
    """What PyTorch took (`x`) or gave (`y`)."""
    with np.load(FOLDER / "samples.npz") as file:
        names = [
            n for n in file.files if n.startswith(f"{net}_{letter}") and n[len(net) + 2 :].isdigit()
        ]
        return [file[n] for n in sorted(names)]


def net_of(path: Path) -> str:
    """`lstm_deep` of `lstm_deep_dynamo_batch.onnx`."""
    return path.stem.removesuffix("_batch").rpartition("_")[0]


@pytest.mark.sampled
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_an_exported_model_computes_what_pytorch_does(path: Path) -> None:
    graph = optimized(read_onnx(path))
    sample = dict(zip(graph.inputs, values(net_of(path), "x"), strict=True))

    (found,) = run_c(graph, [sample])

    for name, wanted in zip(graph.outputs, values(net_of(path), "y"), strict=True):
        if wanted.dtype.kind == "f":
            tolerance = 1e-5 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=tolerance)
        else:
            np.testing.assert_array_equal(found[name], wanted)


NETS = "cnn depthwise residual inverted_bottleneck squeeze_excite tcn attention".split()


@dataclass(frozen=True, slots=True)
class Mode:
    """Arguments of onnxruntime's static quantizer; activations and weights are int8 by default."""

    form: QuantFormat = QuantFormat.QDQ
    activations: QuantType = QuantType.QInt8
    weights: QuantType = QuantType.QInt8
    more: dict[str, Any] = field(default_factory=dict)


MODES = {
    "qdq": Mode(),
    "qdq_channels": Mode(more={"per_channel": True}),
    "qdq_uint8": Mode(QuantFormat.QDQ, QuantType.QUInt8),
    "qdq_reduced": Mode(QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8,
                        {"per_channel": True, "reduce_range": True}),
    "qoperator": Mode(QuantFormat.QOperator),
    "qoperator_uint8": Mode(QuantFormat.QOperator, QuantType.QUInt8, QuantType.QUInt8),
    "qoperator_channels": Mode(QuantFormat.QOperator, more={"per_channel": True}),
    "qdq_symmetric": Mode(more={"extra_options": {"ActivationSymmetric": True}}),
}  # fmt: skip


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """A few samples like those that PyTorch ran."""

    def __init__(self, model: Path, count: int = 8) -> None:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        (given,), rng = session.get_inputs(), np.random.default_rng(0)
        shape = [n if isinstance(n, int) else 1 for n in given.shape]
        self.samples = iter(
            {given.name: rng.normal(size=shape).astype(np.float32)} for _ in range(count)
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self.samples, None)


def float_model(net: str, folder: Path, exporter: str = "dynamo") -> Path:
    """An exported model after onnxruntime's offline optimizer, which folds constants."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(folder / "basic.onnx")
    settings.log_severity_level = 4
    source = str(FOLDER / f"{net}_{exporter}.onnx")
    onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    return folder / "basic.onnx"


@pytest.mark.sampled
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("mode", MODES)
def test_a_quantized_export_answers_like_onnxruntime(net: str, mode: str, tmp_path: Path) -> None:
    """Single steps that flip grow through a network: what counts is how far the answers lie."""
    source, path, how = float_model(net, tmp_path), tmp_path / "q.onnx", MODES[mode]
    quantize_static(
        str(source), str(path), Calibration(source), how.form, activation_type=how.activations,
        weight_type=how.weights, **how.more,
    )  # fmt: skip
    check_near_onnxruntime(net, path)


@pytest.mark.sampled
@pytest.mark.parametrize("net", NETS)
def test_a_dynamically_quantized_export_answers_like_onnxruntime(net: str, tmp_path: Path) -> None:
    source, path = float_model(net, tmp_path), tmp_path / "q.onnx"
    quantize_dynamic(str(source), str(path))
    check_near_onnxruntime(net, path)


def check_near_onnxruntime(net: str, path: Path) -> None:
    graph = optimized(read_onnx(path))
    sample = dict(zip(graph.inputs, values(net, "x"), strict=True))

    (found,) = run_c(graph, [sample])

    for name, wanted in run_onnxruntime(onnx.load(str(path)), sample).items():
        reach = float(np.ptp(wanted))
        assert np.abs(found[name] - wanted).max() <= 0.03 * reach
