"""Nodes that no reader takes and that have no body, as TVM's Relax computes them.

What Relax makes of a node counts only if it agrees with ONNX's own evaluator on random inputs.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from tinyc.compiler.graph import Array, DType, Shape, Tensor, elements
from tinyc.compiler.lower import body_lines
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.element_types import onnx_element_type
from tinyc.compiler.onnx_import.foreign import guarded
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.single_node import single_node_model
from tinyc.compiler.ops.element_types import HALVES
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.op import Type
from tinyc.compiler.ops.tensor_program import (
    TensorProgramAttrs,
    evaluated,
    evaluator_of,
    executed,
    lowered_program,
)

OPERATORS = frozenset(
    "Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool "
    "BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CastLike Clip Conv "
    "ConvTranspose Cosh CumSum Div Einsum Equal EyeLike Gather GatherElements GatherND "
    "GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample Hardmax "
    "InstanceNormalization IsInf IsNaN LRN LayerNormalization Less LessOrEqual LogSoftmax LpPool "
    "MatMul Max MaxPool MaxRoiPool MaxUnpool MeanVarianceNormalization Min Mod Mul Neg Not OneHot "
    "Or PRelu Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReduceSumSquare Resize RoiAlign Scatter ScatterElements "
    "ScatterND Sign Sinh Softmax Sub Tan TopK Trilu Upsample Where Xor".split()
)
TRIALS = 3  # sets of random inputs
MOST_ELEMENTS = 1 << 18  # of a node that is tried, with what it computes
MOST_PRODUCTS = 1 << 24  # of results with constants
NARROWED = (*HALVES, DType.FLOAT64)  # `widening` has them computed in float32
INDICES = (DType.INT32, DType.INT64)


def reads(node: ModelNode) -> bool:
    """Whether Relax knows an operator of this name."""
    return not node.domain and node.op in OPERATORS


def read_by_relax(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    """The outputs of a node that becomes a TensorProgram.

    Raises CompileError("unsupported-op") for what Relax cannot do, or does otherwise than ONNX.
    """
    moving, constants = _operands(build, node)
    types = {name: (str(t.dtype), t.shape) for name, t in moving.items()}
    proto = _renamed(node)
    model = single_node_model(proto, node.opset, types, constants)
    outputs = _output_types(node, model)
    _check_size(node, [t.shape for t in moving.values()], constants.values(), outputs.values())
    named = {name: (str(dtype), shape) for name, (shape, dtype) in outputs.items()}
    text = single_node_model(proto, node.opset, types, constants, named).SerializeToString()
    guarded(
        lambda: _check(text, tuple(moving.values()), tuple(outputs.values())),
        "unsupported-op",
        "it is not supported",
        node.where,
    )
    attrs = TensorProgramAttrs(node.op, text, tuple(outputs.values()))
    return build.add_all(node, "TensorProgram", tuple(moving.values()), attrs)


def _check_size(
    node: ModelNode, inputs: Iterable[Shape], constants: Iterable[Array], outputs: Iterable[Type]
) -> None:
    """Refuse nodes that ONNX's evaluator, which is slow and unrolls windows, cannot be tried on."""
    results = sum(elements(shape) for shape, _ in outputs)
    weights = sum(array.size for array in constants)
    size = sum(map(elements, inputs)) + weights + results
    if size > MOST_ELEMENTS or results * weights > MOST_PRODUCTS:
        node.refuse("it is too large to be held against ONNX's evaluator")


def _operands(build: Builder, node: ModelNode) -> tuple[Mapping[str, Tensor], Mapping[str, Array]]:
    """The inputs that are computed, and the constants, by their names in the node's own model."""
    moving, constants = {}, {}
    for index, value in enumerate(node.inputs):
        tensor, name = build.optional(node, index), f"in{node.inputs.index(value)}"
        if tensor is not None and tensor.dtype in NARROWED:
            node.refuse(f"it is not supported for {tensor.dtype}", "use float32")
        if tensor is not None and tensor.data is not None:
            constants[name] = tensor.data
        elif tensor is not None:
            moving[name] = tensor
    return moving, constants


def _renamed(node: ModelNode) -> onnx.NodeProto:
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    for names, prefix in ((proto.input, "in"), (proto.output, "out")):
        given = list(names)
        names[:] = [f"{prefix}{given.index(name)}" if name else "" for name in given]
    return proto


def _output_types(node: ModelNode, model: onnx.ModelProto) -> dict[str, Type]:
    inferred = guarded(
        lambda: onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True),
        "bad-model",
        "its inputs do not fit together",
        node.where,
    )
    types: dict[str, Type] = {}
    for value in inferred.graph.output:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in dims):
            node.refuse("the shape of its result is not known at compile time")
        shape = tuple(d.dim_value for d in dims)
        types[value.name] = (shape, onnx_element_type(tensor.elem_type, node.where))
    return types


def _check(model: bytes, inputs: Sequence[Tensor], outputs: Sequence[Type]) -> None:
    """Raises when the program cannot be printed, or differs from ONNX's evaluator."""
    evaluator_of(model)  # is there one? To ask costs nothing beside what follows
    lowered = lowered_program(model)
    body_lines(Kernel("trial", lowered.function))
    agreed = 0
    for seed in range(TRIALS):
        arrays = tuple(_random(t.shape, t.dtype, seed) for t in inputs)
        try:
            wanted = evaluated(model, arrays)
        except (IndexError, ValueError):
            continue  # random integers are no indices
        got = executed(lowered, arrays, outputs)
        for array, result, (shape, dtype) in zip(wanted, got, outputs, strict=True):
            assert (array.shape, array.dtype.name) == (shape, dtype), "its type differs from ONNX's"
            same = np.allclose(result, array, 1e-4, 1e-5, equal_nan=True)
            assert same, "TVM computes it otherwise than ONNX defines it"
        agreed += 1
    assert agreed, "no inputs were found to try it with"


def _random(shape: Shape, dtype: DType, seed: int) -> Array:
    """Values around zero; what may be an index is 0, then near it; others of the whole range."""
    generator = np.random.default_rng(seed)
    if dtype.is_float:
        return (generator.normal(size=shape) * 2).astype(dtype.value)
    if dtype == DType.BOOL:
        return generator.integers(0, 2, shape).astype(bool)
    if dtype in INDICES:
        return generator.integers(-seed, seed + 1, shape).astype(dtype.value)
    return generator.integers(*dtype.limits, shape, dtype.value, endpoint=True)
