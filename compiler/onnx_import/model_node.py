"""A node of the user's model, with typed access to its attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.foreign import guarded


@dataclass(frozen=True, slots=True, eq=False)
class ModelNode:
    """inputs and outputs are value names, "" where an optional one is left out.

    opset  version of the node's operator set
    proto  the node itself, for the evaluator of constants
    """

    name: str
    domain: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    proto: onnx.NodeProto

    @property
    def where(self) -> str:
        return f"node '{self.name}' ({self.op})"

    def refuse(self, message: str, help: str = "") -> NoReturn:
        """What the node asks for is not supported."""
        raise CompileError("unsupported-op", message, self.where, help)

    def malformed(self, message: str) -> NoReturn:
        """The node contradicts the ONNX standard or its inputs."""
        raise CompileError("bad-model", message, self.where)

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            self.malformed(f"the attribute '{name}' is no integer")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """None when the attribute is missing."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, int) for v in value):
            self.malformed(f"the attribute '{name}' is no list of integers")
        return tuple(value)

    def real(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            self.malformed(f"the attribute '{name}' is no number")
        return float(value)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """None when the attribute is missing."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, int | float) for v in value):
            self.malformed(f"the attribute '{name}' is no list of numbers")
        return tuple(map(float, value))

    def texts(self, name: str) -> tuple[str, ...] | None:
        """None when the attribute is missing."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, bytes) for v in value):
            self.malformed(f"the attribute '{name}' is no list of texts")
        return tuple(v.decode("utf-8", "replace") for v in value)

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default.encode())
        if not isinstance(value, bytes):
            self.malformed(f"the attribute '{name}' is no text")
        return value.decode("utf-8", "replace")


def model_node(proto: onnx.NodeProto, index: int, versions: Mapping[str, int]) -> ModelNode:
    """Nodes without a name are called `<OpType>_<index>`."""
    name = _readable(proto.name) or f"{proto.op_type}_{index}"
    where = f"node '{name}' ({proto.op_type})"
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = guarded(
        lambda: {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute},
        "bad-model",
        "an attribute is malformed",
        where,
    )
    return ModelNode(
        name, domain, proto.op_type, tuple(proto.input), tuple(proto.output), attributes,
        versions.get(domain, 1), proto,
    )  # fmt: skip


def _readable(name: str | bytes) -> str:
    """Protobuf gives bytes for what is no UTF-8."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def opset_versions(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each operator set of the model, by domain."""
    return {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}


def tensor_array(proto: onnx.TensorProto, where: str) -> "np.ndarray[Any, Any]":
    """The values of a stored tensor."""
    return guarded(
        lambda: np.asarray(onnx.numpy_helper.to_array(proto)),
        "bad-model",
        "the stored values do not fit the declared shape and type",
        where,
    )
