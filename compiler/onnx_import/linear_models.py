"""LinearRegressor and LinearClassifier of ai.onnx.ml."""

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.scores import (
    class_names,
    features_of,
    floats,
    label_of,
    transform_of,
    transformed,
    two_columns,
)


def _linear(build: Builder, node: ModelNode, x: Tensor, targets: int) -> Tensor:
    """x times the coefficients [targets, features], and the intercepts."""
    coefficients, intercepts = node.reals("coefficients") or (), node.reals("intercepts") or ()
    if len(coefficients) != targets * x.shape[1] or len(intercepts) not in (0, targets):
        node.malformed(
            f"{len(coefficients)} coefficients and {len(intercepts)} intercepts for {targets} "
            f"targets of {list(x.shape)}"
        )
    table = np.array(coefficients, np.float32).reshape(targets, x.shape[1]).T
    weights = build.constant(f"{node.name}/coefficients", table, DType.FLOAT32)
    y = matrix_product(build, node, x, weights)
    if not intercepts:
        return y
    bias = build.constant(f"{node.name}/intercepts", intercepts, DType.FLOAT32)
    return build.binary(node, "Add", y, bias)


def read_linear_regressor(build: Builder, node: ModelNode) -> Tensor:
    x = floats(build, node, features_of(build, node))
    y = _linear(build, node, x, node.integer("targets", 1))
    transform = transform_of(node)
    if y.shape[1] == 1 and transform not in ("NONE", "PROBIT"):
        node.refuse(
            f"the transform {transform} of a single target is not supported: onnxruntime leaves "
            "it out",
            "apply it by a node of its own",
        )
    return transformed(build, node, y, transform)


def read_linear_classifier(build: Builder, node: ModelNode) -> tuple[Tensor, Tensor]:
    x, transform = floats(build, node, features_of(build, node)), transform_of(node)
    labels, names = class_names(node, "classlabels_ints")
    rows = len(node.reals("intercepts") or ()) or len(labels)
    scores = _linear(build, node, x, rows)
    if rows == len(labels) and rows > 1:
        label = label_of(build, node, scores, labels, names)
        return label, transformed(build, node, scores, transform)
    if rows != 1 or len(labels) != 2 or transform != "NONE":
        node.refuse(
            f"{rows} scores for {len(labels)} classes with the transform {transform} are not "
            "supported",
            "export a score for each class",
        )
    label = label_of(build, node, scores, labels, names, 0.0)
    return label, two_columns(build, node, scores, transform, share=True)
