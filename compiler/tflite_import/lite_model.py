"""A TensorFlow Lite model, read whole: tensors and operators with typed access to options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, QParams, Shape

Option = int | float | str | tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LiteTensor:
    """A value of the model; its name is unique.

    shape      as the converter wrote it, 1 for dimensions that are open
    signature  the same with -1 where a dimension is open
    dtype      NumPy's name; int4 is stored as int8; TensorFlow Lite's where NumPy has no such type
    data       of a constant
    quant      what stored integers mean; None for plain integers and floats
    variable   whether an operator keeps a state in it from run to run
    """

    name: str
    shape: Shape
    signature: Shape
    dtype: str
    data: Array | None = None
    quant: QParams | None = None
    variable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LiteOperator:
    """One operation.

    name     its kind and place, such as CONV_2D_3: operators have no names of their own
    kind     as in BuiltinOperator of the schema; that of a custom operator has a text behind it
    inputs   None where an optional one is left out
    options  the fields of its options table, named as in the schema; empty without a table
    """

    name: str
    kind: str
    inputs: tuple[LiteTensor | None, ...]
    outputs: tuple[LiteTensor, ...]
    options: Mapping[str, Option]

    @property
    def where(self) -> str:
        return f"node '{self.name}' ({self.kind})"

    def refuse(self, message: str, help: str = "") -> NoReturn:
        """What the operator asks for is not supported."""
        raise CompileError("unsupported-op", message, self.where, help)

    def malformed(self, message: str) -> NoReturn:
        """The operator contradicts the schema or its inputs."""
        raise CompileError("bad-model", message, self.where)

    def input(self, index: int) -> LiteTensor:
        """A required input."""
        found = self.optional(index)
        if found is None:
            self.malformed(f"input {index} is missing")
        return found

    def optional(self, index: int) -> LiteTensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def output(self, index: int = 0) -> LiteTensor:
        if index >= len(self.outputs):
            self.malformed(f"output {index} is missing")
        return self.outputs[index]

    def integer(self, name: str, default: int | None = None) -> int:
        """A required option, unless there is a default for operators without options."""
        value = self._option(name, default)
        if not isinstance(value, int):
            self.malformed(f"the option '{name}' is missing")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """The same for real numbers."""
        value = self._option(name, default)
        if not isinstance(value, int | float):
            self.malformed(f"the option '{name}' is missing")
        return float(value)

    def text(self, name: str) -> str:
        """An option that is a text; "" when it is missing."""
        value = self.options.get(name, "")
        return value if isinstance(value, str) else ""

    def _option(self, name: str, default: float | None) -> Option | None:
        return self.options.get(name) if self.options else default

    def integers(self, name: str) -> tuple[int, ...] | None:
        """None when the option is missing."""
        value = self.options.get(name)
        return value if isinstance(value, tuple) else None

    def constant(self, index: int) -> Array:
        """The data of an input that must be known at compile time."""
        tensor = self.input(index)
        if tensor.data is None:
            self.refuse(
                f"input {index} is computed at run time, it must be a constant",
                "convert the model with constant shapes and parameters",
            )
        return tensor.data

    def constant_integers(self, index: int) -> tuple[int, ...]:
        """A constant input as integers; a scalar is one of them."""
        values = self.constant(index)
        if values.dtype.kind not in "iu" or values.size > 1 << 16:
            self.malformed(f"input {index} is no short list of integers")
        return tuple(int(v) for v in values.reshape(-1).tolist())

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= value < rank:
            self.malformed(f"the axis {value} is out of range for {rank} dimensions")
        return value % rank


@dataclass(frozen=True, slots=True, eq=False)
class LiteModel:
    """operators are those that the outputs and the variables depend on, in execution order.

    bodies  the operators of the other subgraphs, by number
    """

    inputs: tuple[LiteTensor, ...]
    outputs: tuple[LiteTensor, ...]
    operators: tuple[LiteOperator, ...]
    bodies: Mapping[int, tuple[LiteOperator, ...]]
