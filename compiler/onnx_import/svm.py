"""SVMClassifier and SVMRegressor of ai.onnx.ml."""

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.scores import (
    class_names,
    features_of,
    named,
    transform_of,
    transformed,
    two_columns,
)
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.features import BinarizeAttrs
from tinyc.compiler.ops.svm import SIMILARITIES, SvmAttrs, SvmClassesAttrs, pairs


def _decision(
    build: Builder, node: ModelNode, x: Tensor, count: int, classes: tuple[int, ...]
) -> Tensor:
    """The values of all pairs of classes, or that of a regression (no classes)."""
    kind = node.text("kernel_type", "LINEAR")
    gamma, coef0, degree = (node.reals("kernel_params") or (0.0, 0.0, 0.0))[:3]
    vectors, coefficients, rho = (
        np.array(node.reals(n) or (), np.float32)
        for n in ("support_vectors", "coefficients", "rho")
    )
    rows, values = max(len(classes) - 1, 1), len(pairs(len(classes))) or 1
    if (
        kind not in SIMILARITIES or vectors.size != count * x.shape[1]
        or coefficients.size != rows * count or rho.size < values
    ):  # fmt: skip
        node.malformed(
            f"kernel '{kind}', {vectors.size} values of {count} vectors, {coefficients.size} "
            f"coefficients, {rho.size} constants for {list(x.shape)}"
        )
    tensors = [
        build.constant(f"{node.name}/{role}", data, DType.FLOAT32)
        for role, data in (
            ("vectors", vectors.reshape(count, -1)),
            ("coefficients", coefficients.reshape(rows, count)),
            ("rho", rho[:values]),
        )
    ]
    attrs = SvmAttrs(kind, gamma, coef0, degree, classes)
    return build.add(node, "SvmDecision", (x, *tensors), attrs)


def read_svm_regressor(build: Builder, node: ModelNode) -> Tensor:
    """Without support vectors the coefficients are those of a linear function."""
    x, count = features_of(build, node), node.integer("n_supports", 0)
    if transform_of(node) != "NONE":
        node.refuse("a transform of a regression is not supported: onnxruntime leaves it out")
    y = _decision(build, node, x, count, ()) if count else _linear(build, node, x)
    if not node.integer("one_class", 0):
        return y
    above = build.add(node, "Binarize", (y,), BinarizeAttrs(0.0))
    two, one = (
        build.constant(f"{node.name}/{v:g}", np.float32(v), DType.FLOAT32) for v in (2.0, 1.0)
    )
    doubled = build.add(node, "Mul", (above, two), BinaryAttrs())
    return build.add(node, "Sub", (doubled, one), BinaryAttrs())


def _linear(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    coefficients, rho = node.reals("coefficients") or (), node.reals("rho") or (0.0,)
    if len(coefficients) != x.shape[1]:
        node.malformed(f"{len(coefficients)} coefficients for {list(x.shape)}")
    column = np.array(coefficients, np.float32).reshape(-1, 1)
    weights = build.constant(f"{node.name}/coefficients", column, DType.FLOAT32)
    bias = build.constant(f"{node.name}/rho", rho[:1], DType.FLOAT32)
    return build.binary(node, "Add", matrix_product(build, node, x, weights), bias)


def read_svm_classifier(build: Builder, node: ModelNode) -> tuple[Tensor, Tensor]:
    """The label is what most pairs vote for, whatever the probabilities are; as in onnxruntime."""
    x, transform = features_of(build, node), transform_of(node)
    labels, names = class_names(node, "classlabels_ints")
    classes = node.integers("vectors_per_class") or ()
    if len(classes) != len(labels) or len(classes) < 2 or min(classes) < 0:
        node.refuse(
            f"{len(labels)} classes with support vectors of {len(classes)} are not supported",
            "export a linear machine as LinearClassifier",
        )
    values = _decision(build, node, x, sum(classes), classes)
    a, b = node.reals("prob_a") or (), node.reals("prob_b") or ()
    if len(a) != len(b) or (a and len(a) != len(pairs(len(classes)))):
        node.malformed(f"{len(a)} and {len(b)} parameters of probabilities")
    vote = build.add(node, "SvmVote", (values,), SvmClassesAttrs(labels))
    label = named(build, node, vote, names)
    if a:
        attrs = SvmClassesAttrs(labels, a, b)
        scores = build.add(node, "SvmProbability", (values,), attrs)
        return label, transformed(build, node, scores, transform)
    if len(classes) > 2:
        return label, transformed(build, node, values, transform)
    if transform not in ("NONE", "LOGISTIC"):
        node.refuse(f"the transform {transform} of one score for two classes is not supported")
    return label, two_columns(build, node, values, "NONE", share=transform != "NONE")
