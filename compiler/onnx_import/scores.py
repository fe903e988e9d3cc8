"""What classifiers of ai.onnx.ml do with their scores: labels, transforms, names of classes."""

import math
from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.class_label import ClassLabelAttrs
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
ERFINV = 0.147  # the constant of the approximation of erf's inverse that onnxruntime uses


def features_of(build: Builder, node: ModelNode) -> Tensor:
    """The rows of features, as floats; one row may come without the axis of rows."""
    x = build.operand(node, 0)
    if len(x.shape) not in (1, 2):
        node.malformed(f"features have one or two axes, not {list(x.shape)}")
    if not x.dtype.is_float:
        x = build.add(node, "Cast", (x,), CastAttrs(DType.FLOAT32))
    return build.reshaped(node, x, (1, *x.shape)) if len(x.shape) == 1 else x


def floats(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    return (
        x if x.dtype == DType.FLOAT32 else build.add(node, "Cast", (x,), CastAttrs(DType.FLOAT32))
    )


def class_names(node: ModelNode, integers: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The labels of the classes; texts become positions in their list, which is the second."""
    texts, labels = node.texts("classlabels_strings"), node.integers(integers)
    if texts:
        return tuple(range(len(texts))), texts
    if not labels:
        node.malformed("it has no class labels")
    return labels, ()


def label_of(
    build: Builder,
    node: ModelNode,
    scores: Tensor,
    labels: Sequence[int],
    names: tuple[str, ...],
    threshold: float | None = None,
) -> Tensor:
    """The label output; of classes with names, their position."""
    attrs = ClassLabelAttrs(tuple(labels), threshold)
    return named(build, node, build.add(node, "ClassLabel", (scores,), attrs), names)


def named(build: Builder, node: ModelNode, label: Tensor, names: tuple[str, ...]) -> Tensor:
    """`label`, of classes with `names` their positions, which the user is told."""
    if names:
        build.beside.texts[label.name] = names
        build.notes.append(
            f"node '{node.name}': instead of a text, the label is the position of the class: "
            + ", ".join(f"{i} '{name}'" for i, name in enumerate(names))
        )
    return label


def transform_of(node: ModelNode) -> str:
    transform = node.text("post_transform", "NONE")
    if transform not in TRANSFORMS:
        node.malformed(f"there is no transform '{transform}'")
    return transform


def transformed(build: Builder, node: ModelNode, scores: Tensor, transform: str) -> Tensor:
    """Scores [rows, classes] by one of TRANSFORMS."""
    if transform == "SOFTMAX":
        return build.add(node, "Softmax", (scores,), SoftmaxAttrs(1))
    if transform == "LOGISTIC":
        return build.add(node, "Unary", (scores,), UnaryAttrs("sigmoid"))
    if transform == "SOFTMAX_ZERO":
        return build.add(node, "SoftmaxZero", (scores,))
    return _probit(build, node, scores) if transform == "PROBIT" else scores


def two_columns(
    build: Builder, node: ModelNode, score: Tensor, transform: str, share: bool
) -> Tensor:
    """Both classes' scores by that of the second, as onnxruntime has them.

    share  whether the score is a share of one
    """
    if transform == "LOGISTIC":
        other = build.add(node, "Unary", (score,), UnaryAttrs("neg"))
        return transformed(build, node, beside(build, node, other, score), transform)
    if share:
        other = build.binary(node, "Sub", _number(build, node, 1.0), score)
    else:
        other = build.add(node, "Unary", (score,), UnaryAttrs("neg"))
    return beside(build, node, other, score)


def beside(build: Builder, node: ModelNode, *columns: Tensor) -> Tensor:
    return build.add(node, "Concat", columns, ConcatAttrs(1))


def _number(build: Builder, node: ModelNode, value: float) -> Tensor:
    return build.constant(f"{node.name}/number", np.float32(value), DType.FLOAT32)


def _probit(build: Builder, node: ModelNode, scores: Tensor) -> Tensor:
    """sqrt(2) erfinv(2 s - 1), erfinv by Winitzki's approximation, as in onnxruntime."""

    def times(x: Tensor, factor: float) -> Tensor:
        return build.binary(node, "Mul", x, _number(build, node, factor))

    def plus(x: Tensor, summand: float) -> Tensor:
        return build.binary(node, "Add", x, _number(build, node, summand))

    def function(x: Tensor, name: str) -> Tensor:
        return build.add(node, "Unary", (x,), UnaryAttrs(name))

    x = plus(times(scores, 2.0), -1.0)
    below = build.binary(node, "Sub", _number(build, node, 1.0), x)
    log = function(build.binary(node, "Mul", below, plus(x, 1.0)), "log")
    v = plus(times(log, 0.5), 2 / (math.pi * ERFINV))
    root = build.binary(node, "Sub", build.binary(node, "Mul", v, v), times(log, 1 / ERFINV))
    inner = build.binary(node, "Sub", function(root, "sqrt"), v)
    size = times(function(inner, "sqrt"), math.sqrt(2))
    return build.binary(node, "Mul", size, function(x, "sign"))
