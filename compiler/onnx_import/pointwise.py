"""Functions of one operand."""

from collections.abc import Callable

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.element_types import INTEGERS, UNSIGNED
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.compiler.ops.unary_functions import FUNCTIONS

Reader = Callable[[Builder, ModelNode], Tensor]


def unary(function: str, **defaults: float) -> Reader:
    """The reader of a function whose parameters are attributes with these defaults."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, parameters = build.operand(node, 0), [node.real(n, v) for n, v in defaults.items()]
        if function == "abs" and x.dtype in UNSIGNED:
            return x
        of_integers = f"{function}_integer"
        name = of_integers if x.dtype in INTEGERS and of_integers in FUNCTIONS else function
        return build.add(node, "Unary", (x,), UnaryAttrs(name, tuple(parameters)))

    return read


def read_is_infinite(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    below, above = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    if not below and not above:
        return build.constant(f"{node.name}/never", np.zeros(x.shape), DType.BOOL)
    attrs = UnaryAttrs("is_infinite", (float(bool(below)), float(bool(above))))
    return build.add(node, "Unary", (x,), attrs)


def read_gelu(build: Builder, node: ModelNode) -> Tensor:
    tanh = node.text("approximate", "none") == "tanh"
    attrs = UnaryAttrs("gelu_tanh" if tanh else "gelu")
    return build.add(node, "Unary", (build.operand(node, 0),), attrs)
