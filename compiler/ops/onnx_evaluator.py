"""ONNX's own definition of its operators in NumPy, loaded when a model first asks for it."""

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator


def onnx_evaluator(model: onnx.ModelProto) -> "ReferenceEvaluator":
    """Raises whatever ONNX raises for an operator that it has no evaluator of."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model)
