"""The real models and their real samples, where the shared folder is beside the project."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyc.compiler.graph import Array

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "models"


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model file and the samples that belong to it.

    data, array  npz file (below `data` or `data_nc`) and the array with the samples
    convert      from the stored array to what the model takes, sample axis first
    correct      right answers of onnxruntime on all samples (models/README.md); 0: unlabelled
    """

    name: str
    data: str
    array: str
    convert: Callable[[Array], Array]
    labels: str = "y"
    correct: int = 0
    quantized: bool = False

    @property
    def path(self) -> Path:
        return SHARED / "models" / f"{self.name}.onnx"

    def samples(self, count: int | None = None) -> Array:
        """The first `count` samples (all: None), sample axis first."""
        with np.load(SHARED / self.data) as file:
            return self.convert(file[self.array][:count])

    def answers(self) -> Array:
        """The labels of all samples."""
        with np.load(SHARED / self.data) as file:
            return np.asarray(file[self.labels])


def _same(x: Array) -> Array:
    return x


def _centred(x: Array) -> Array:
    return (x.astype(np.int16) - 128).astype(np.int8)


def _pixels(x: Array) -> Array:
    return x.astype(np.float32)


def _unit(x: Array) -> Array:
    return (x / np.float32(255)).astype(np.float32)


def _mfcc(x: Array) -> Array:
    return ((x.astype(np.float32) - 83) * np.float32(0.584702909)).astype(np.float32)


RESNET, VWW, KWS = (
    f"data/{n}_eval.npz" for n in ("resnet8_cifar10", "mobilenetv1_vww", "dscnn_kws")
)
DIGITS, TOYCAR = "data/digits_cnn_eval.npz", "data_nc/fcae_toycar_golden.npz"
HELLO = "data/hello_world_golden.npz"
POWER = "data/power_lstm_eval.npz"

MODELS = (
    RealModel("resnet8_cifar10_int8_qdq", RESNET, "x_u8", _centred, correct=310, quantized=True),
    RealModel("mobilenetv1_vww_int8_qdq", VWW, "x_u8", _centred, correct=69, quantized=True),
    RealModel("dscnn_kws_int8_qdq", KWS, "x_i8", _same, correct=373, quantized=True),
    RealModel("fcae_toycar_int8_qdq", TOYCAR, "x_i8", _same, quantized=True),
    RealModel("resnet8_cifar10_int8_qdq_dynbatch", RESNET, "x_u8", _centred, correct=310,
              quantized=True),
    RealModel("digits_cnn_int8_qdq_ort", DIGITS, "x_f32", _same, correct=533, quantized=True),
    RealModel("hello_world_int8_qdq", HELLO, "x_i8", _same, quantized=True),
    RealModel("resnet8_cifar10_f32", RESNET, "x_u8", _pixels, correct=314),
    RealModel("mobilenetv1_vww_f32", VWW, "x_u8", _unit, correct=69),
    RealModel("dscnn_kws_f32", KWS, "x_i8", _mfcc, correct=375),
    RealModel("dscnn_kws_f32_dynbatch", KWS, "x_i8", _mfcc, correct=375),
    RealModel("fcae_toycar_f32", TOYCAR, "x_f32", _same),
    RealModel("fcae_toycar_h5_f32", TOYCAR, "x_f32", _same),
    RealModel("digits_cnn", DIGITS, "x_f32", _same, correct=533),
    RealModel("digits_cnn_legacy_dynbatch", DIGITS, "x_f32", _same, correct=533),
    RealModel("hello_world_f32", HELLO, "x_f32", _same),
    RealModel("breast_cancer_mlp", "data/breast_cancer_mlp_eval.npz", "x_f32", _same, correct=163),
    RealModel("motions_conv1d", "data/motions_conv1d_eval.npz", "x_f32", _same, correct=40),
    RealModel("power_lstm", POWER, "x_f32", _same, correct=994),
    RealModel("power_lstm_dynbatch", POWER, "x_f32", _same, correct=994),
    RealModel("power_lstm_legacy_dynbatch", POWER, "x_f32", _same, correct=994),
)  # fmt: skip
BY_NAME = {model.name: model for model in MODELS}
TINY = tuple(BY_NAME[n] for n in (
    "resnet8_cifar10_int8_qdq", "mobilenetv1_vww_int8_qdq", "dscnn_kws_int8_qdq",
    "fcae_toycar_int8_qdq",
))  # fmt: skip
