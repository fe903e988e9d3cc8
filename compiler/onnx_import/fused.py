"""What onnxruntime's optimizer makes of several nodes: a layer and the function that follows it."""

from collections.abc import Callable

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import.arithmetic import clamped
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.linear import general_product, matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.spatial import convolution
from tinyc.compiler.ops.clamp import Clamp
from tinyc.compiler.ops.transpose import TransposeAttrs
from tinyc.compiler.ops.unary import UnaryAttrs

FUNCTIONS = {  # that may follow, and what their parameters are where the node has none
    "Elu": ("elu", (1.0,)),
    "HardSigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "LeakyRelu": ("leaky_relu", (0.01,)),
    "Sigmoid": ("sigmoid", ()),
    "Softplus": ("softplus", ()),
    "Tanh": ("tanh", ()),
}


def read_fused_conv(build: Builder, node: ModelNode) -> Tensor:
    """Conv of inputs 0, 1, 2, to which input 3 is added before the function."""
    x, w = build.operand(node, 0), build.operand(node, 1)
    y = convolution(build, node, x, w, build.optional(node, 2))
    other = build.optional(node, 3)
    y = y if other is None else build.binary(node, "Add", y, other)
    return _followed(build, node, y, node.reals("activation_params"))


def read_fused_gemm(build: Builder, node: ModelNode) -> Tensor:
    operands = build.operand(node, 0), build.operand(node, 1), build.optional(node, 2)
    names = [f"activation_{name}" for name in ("alpha", "beta") if f"activation_{name}" in
             node.attributes]  # fmt: skip
    values = tuple(node.real(name, 0.0) for name in names)
    return _followed(build, node, general_product(build, node, *operands), values)


def _followed(
    build: Builder, node: ModelNode, y: Tensor, parameters: tuple[float, ...] | None
) -> Tensor:
    """The function that the attribute `activation` names, of `y`."""
    name = node.text("activation", "")
    if not name:
        return y
    if name == "Relu":
        return clamped(build, node, y, Clamp(low=0.0))
    if name == "Clip" and parameters is not None and len(parameters) == 2:
        return clamped(build, node, y, Clamp(min(parameters), parameters[1]))
    if name not in FUNCTIONS:
        node.refuse(f"the activation {name} is not supported", "optimize the model less")
    function, defaults = FUNCTIONS[name]
    given = (parameters or ())[: len(defaults)]
    return build.add(node, "Unary", (y,), UnaryAttrs(function, given + defaults[len(given) :]))


def read_fused_matmul(build: Builder, node: ModelNode) -> Tensor:
    """alpha * a @ b, of which the last two axes of each may be transposed."""
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        node.refuse("transposed batches are not supported", "optimize the model less")
    a, b = (
        _turned(build, node, build.operand(node, at)) if node.integer(name, 0) else
        build.operand(node, at)
        for at, name in enumerate(("transA", "transB"))
    )  # fmt: skip
    y, alpha = matrix_product(build, node, a, b), node.real("alpha", 1.0)
    if alpha == 1:
        return y
    return build.binary(node, "Mul", y, build.constant(f"{node.name}/alpha", alpha, y.dtype))


def _turned(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    rank = len(x.shape)
    if rank < 2:
        return x
    perm = (*range(rank - 2), rank - 1, rank - 2)
    return build.layout(node, "Transpose", x, TransposeAttrs(perm))


def sum_of(function: str) -> Callable[[Builder, ModelNode], Tensor]:
    """The reader of a function of input 0 and a bias that may be missing."""

    def read(build: Builder, node: ModelNode) -> Tensor:
        x, bias = build.operand(node, 0), build.optional(node, 1)
        x = x if bias is None else build.binary(node, "Add", x, bias)
        return build.add(node, "Unary", (x,), UnaryAttrs(function))

    return read
