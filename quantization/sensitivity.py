"""What each rounding alone does to the model's output, in each format it could have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyc.quantization.distortion import Judge
from tinyc.quantization.layers import Layer
from tinyc.quantization.points import Point
from tinyc.quantization.ranges import Range, long_range
from tinyc.quantization.weights import nearest, weight_scales

FOUR_BITS = ("Conv", "Gemm", "MatMul")  # operators whose kernels unpack weights


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Distortion of the output (noise relative to the signal) when one thing is rounded.

    tensors  by point: as int8 (by its range) and as int16
    weights  by layer: as int8 and, where a kernel unpacks them, as int4
    """

    tensors: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Mapping[str, float]]


def sensitivity(
    judge: Judge, points: Sequence[Point], ranges: Mapping[str, Range], layers: Sequence[Layer],
    per_tensor: bool,
) -> Sensitivity:  # fmt: skip
    tensors = {
        point.name: {
            "int8": ranges[point.name].distortion,
            "int16": judge.of_grid(point, long_range(judge.values[point.name]).grid),
        }
        for point in points
    }
    weights = {
        layer.name: {
            dtype: _of_weights(judge, layer, dtype, None if per_tensor else layer.axis)
            for dtype in ("int8", *(("int4",) if packs(layer) else ()))
        }
        for layer in layers
    }
    return Sensitivity(tensors, weights)


def packs(layer: Layer) -> bool:
    """Whether weights of 4 bits stay packed in flash: not where each channel has its own input."""
    groups = next((a.i for a in layer.node.attribute if a.name == "group"), 1)
    return layer.node.op_type in FOUR_BITS and groups == 1


def _of_weights(judge: Judge, layer: Layer, dtype: str, axis: int | None) -> float:
    rounded = {}
    for name in layer.weights:
        real = judge.execution.model.constants[name]
        rounded[name] = nearest(real, weight_scales(real, axis, dtype), axis, dtype).real
    found = judge.of_weights(layer.node, rounded)
    return found if np.isfinite(found) else float("inf")
