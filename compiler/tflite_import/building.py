"""The ONNX graph while it grows: stored values, the reals they stand for, and new nodes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.helper import make_node, np_dtype_to_tensor_dtype
from onnx.numpy_helper import from_array

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, QParams
from tinyc.compiler.onnx_import.loading import MOST_ELEMENTS
from tinyc.compiler.tflite_import.lite_model import LiteOperator, LiteTensor
from tinyc.compiler.tflite_import.reading import NUMPY_TYPES

TO_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}  # channels, by rank
TO_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@dataclass(slots=True)
class Variable:
    """A resource variable while the operators are read one after the other.

    initial  None until CALL_ONCE gives it
    before   the input that has its value before the run; "" until it is read
    now      the value that it has; "" until it is assigned
    """

    initial: Array | None = None
    before: str = ""
    now: str = ""


@dataclass(slots=True)
class OnnxGraph:
    """Every ONNX node bears the name of the operator that it is a part of.

    taken    names of values
    reals    the dequantized value of each stored one
    shared   the name of each constant, by type, shape and bytes
    fresh    values of the operator at hand that nothing reads yet, and the node of each
    bodies   the operators of the other subgraphs
    handles, variables  the key of each handle, the variable of each key
    states   pairs of an input whose constant is its first value, and the output that comes next
    """

    taken: set[str]
    operator: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    reals: dict[str, str] = field(default_factory=dict)
    shared: dict[tuple[Any, ...], str] = field(default_factory=dict)
    fresh: dict[str, onnx.NodeProto] = field(default_factory=dict)
    elements: int = 0
    bodies: Mapping[int, tuple[LiteOperator, ...]] = field(default_factory=dict)
    handles: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    states: list[tuple[str, str]] = field(default_factory=list)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output."""
        return self.add_several(op, 1, *inputs, **attributes)[0]

    def add_several(self, op: str, count: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Append a node with `count` outputs; inputs that are left out are ""."""
        outputs = tuple(self._unused(f"{self.operator}/{op}") for _ in range(count))
        node = make_node(op, inputs, outputs, name=self.operator, **attributes)
        for name in inputs:
            self.fresh.pop(name, None)
        self.fresh.update(dict.fromkeys(outputs, node))
        self.nodes.append(node)
        return outputs

    def constant(self, values: npt.ArrayLike, dtype: str = "int64") -> str:
        """An initializer; equal ones are the same."""
        data = np.ascontiguousarray(values, dtype).reshape(np.shape(values))
        key = (dtype, data.shape, data.tobytes())
        if key not in self.shared:
            self.shared[key] = self._unused(f"{self.operator}/constant")
            self._hold(self.shared[key], data)
        return self.shared[key]

    def value(self, tensor: LiteTensor) -> str:
        """The tensor as it is stored."""
        if tensor.dtype not in NUMPY_TYPES:
            raise CompileError(
                "unsupported-type",
                f"the element type {tensor.dtype} is not supported",
                f"tensor '{tensor.name}'",
            )
        if tensor.data is not None and tensor.name not in self.constants:
            self._hold(tensor.name, tensor.data)
        return tensor.name

    def real(self, tensor: LiteTensor) -> str:
        """The reals that the tensor stands for; plain numbers are themselves."""
        if tensor.dtype == "int64" and tensor.quant is not None:  # a bias beside 16 bits
            return self.constant(_bias_reals(tensor), "float32")
        stored = self.value(tensor)
        if tensor.quant is None:
            return stored
        if stored not in self.reals:
            self.reals[stored] = self.dequantized(stored, tensor.dtype, tensor.quant)
            del self.fresh[self.reals[stored]]  # others will read it under this name
        return self.reals[stored]

    def moved(self, tensor: LiteTensor, perm: tuple[int, ...]) -> str:
        """The reals of weights with axes in another order: stored ones are moved as they are."""
        moved = self.add("Transpose", self.value(tensor), perm=perm)
        quant = tensor.quant
        if quant is None:
            return moved
        axis = None if quant.axis is None else perm.index(quant.axis)
        return self.dequantized(moved, tensor.dtype, QParams(quant.scale, quant.zero_point, axis))

    def dequantized(self, stored: str, dtype: str, quant: QParams) -> str:
        scale, zero_point, axis = self._parameters(dtype, quant)
        inputs = (stored, scale) if dtype == "int32" else (stored, scale, zero_point)
        return self.add("DequantizeLinear", *inputs, **axis)

    def _parameters(self, dtype: str, quant: QParams) -> tuple[str, str, dict[str, int]]:
        shape = () if quant.axis is None else (-1,)
        scale = self.constant(np.array(quant.scale, np.float32).reshape(shape), "float32")
        zero_point = self.constant(np.array(quant.zero_point).reshape(shape), dtype)
        return scale, zero_point, {} if quant.axis is None else {"axis": quant.axis}

    def stored(self, value: str, tensor: LiteTensor) -> str:
        """The real `value` as `tensor` stores it."""
        if tensor.quant is None:
            return value
        scale, zero_point, axis = self._parameters(tensor.dtype, tensor.quant)
        return self.add("QuantizeLinear", value, scale, zero_point, **axis)

    def state(self, name: str, initial: Array) -> str:
        """The value that a state has before the run; a constant until it is remembered."""
        before = self._unused(f"{name} before")
        self._hold(before, initial)
        return before

    def remember(self, before: str, after: str) -> None:
        """`after`, which is nothing else, is what the state is before the next run."""
        self.fresh.pop(after, None)
        self.states.append((before, after))

    def define(self, tensor: LiteTensor, value: str) -> None:
        """Say that `value` is what `tensor` stands for; from now on it bears its name."""
        if tensor.quant is not None:
            value = self.stored(value, tensor)
        elif value not in self.fresh:  # it has a name already, or is needed under its own
            value = self.add("Identity", value)
        outputs = self.fresh.pop(value).output
        outputs[list(outputs).index(value)] = tensor.name

    def channels_first(self, value: str, rank: int = 4) -> str:
        return self.add("Transpose", value, perm=TO_FIRST[rank])

    def channels_last(self, value: str, rank: int = 4) -> str:
        return self.add("Transpose", value, perm=TO_LAST[rank])

    def cast(self, value: str, dtype: str) -> str:
        return self.add("Cast", value, to=np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshaped(self, value: str, shape: tuple[int, ...]) -> str:
        return self.add("Reshape", value, self.constant(shape))

    def clipped(self, value: str, low: float, high: float) -> str:
        bounds = (self.constant(bound, "float32") for bound in (low, high))
        return self.add("Clip", value, *bounds)

    def activated(self, operator: LiteOperator, value: str) -> str:
        """`value` after the activation that is fused into the operator, if its kind has one."""
        number = operator.options.get("fused_activation_function", 0)
        if not isinstance(number, int) or not 0 <= number < len(ACTIVATIONS):
            operator.refuse(f"the fused activation {number} is not supported")
        return ACTIVATIONS[number](self, value)

    def _unused(self, name: str) -> str:
        number, free = 2, name
        while free in self.taken:
            free, number = f"{name}_{number}", number + 1
        self.taken.add(free)
        return free

    def _hold(self, name: str, data: Array) -> None:
        self.elements += data.size
        if self.elements > MOST_ELEMENTS:
            raise CompileError(
                "too-large",
                f"the constants have more than {MOST_ELEMENTS} elements",
                f"tensor '{name}' {list(data.shape)}",
            )
        self.constants[name] = from_array(np.asarray(data), name)


def _bias_reals(tensor: LiteTensor) -> Array:
    if tensor.data is None or tensor.quant is None or any(tensor.quant.zero_point):
        raise CompileError(
            "unsupported-type", "quantized int64 is supported for biases only",
            f"tensor '{tensor.name}'",
        )  # fmt: skip
    return np.asarray(tensor.data * np.array(tensor.quant.scale))


ACTIVATIONS: tuple[
    Callable[[OnnxGraph, str], str], ...
] = (  # in the order of ActivationFunctionType
    lambda graph, value: value,
    lambda graph, value: graph.add("Relu", value),
    lambda graph, value: graph.clipped(value, -1.0, 1.0),
    lambda graph, value: graph.clipped(value, 0.0, 6.0),
    lambda graph, value: graph.add("Tanh", value),
)

Reader = Callable[[OnnxGraph, LiteOperator], str | tuple[str, ...]]
