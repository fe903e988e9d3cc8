"""Losses of classifiers; exporters leave them in models that were trained with them."""

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.class_loss import ClassLossAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs


def read_negative_log_likelihood(build: Builder, node: ModelNode) -> Tensor:
    return _loss(build, node, build.operand(node, 0))


def read_softmax_cross_entropy(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    x = build.operand(node, 0)
    if len(x.shape) < 2:
        node.malformed(f"the scores {list(x.shape)} have no classes")
    logarithms = build.add(node, "Softmax", (x,), SoftmaxAttrs(1, log=True))
    return _loss(build, node, logarithms), logarithms


def _loss(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    target, weights = build.operand(node, 1), build.optional(node, 2)
    reduction = node.text("reduction", "mean")
    if reduction not in ("none", "sum", "mean"):
        node.malformed(f"the reduction '{reduction}' is unknown")
    if len(x.shape) < 2 or target.shape != (x.shape[0], *x.shape[2:]):
        node.malformed(f"targets {list(target.shape)} for scores {list(x.shape)}")
    if weights is not None and weights.shape != x.shape[1:2]:
        node.malformed(f"weights {list(weights.shape)} for {x.shape[1]} classes")
    ignored = node.integer("ignore_index", 0) if "ignore_index" in node.attributes else None
    operands = (x, target, *(() if weights is None else (weights,)))
    return build.add(node, "ClassLoss", operands, ClassLossAttrs(reduction, ignored))
