"""What tinyc knows about one operator."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Graph, Node, Shape, Tensor
from tinyc.compiler.ops.kernel import Kernel
from tinyc.targets import Target

Type = tuple[Shape, DType]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A node with its tensors looked up: what an operator's functions are given."""

    node: Node
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def attrs(self) -> Any:
        return self.node.attrs

    @property
    def output(self) -> Tensor:
        """The only output; most operators have one."""
        assert len(self.outputs) == 1, f"'{self.node.name}' has {len(self.outputs)} outputs"
        return self.outputs[0]

    @property
    def quantized(self) -> bool:
        """Whether the first input holds stored integers that stand for reals."""
        return self.inputs[0].quant is not None


@dataclass(frozen=True, slots=True)
class Window:
    """Which input rows an output row reads: row * stride - before, `size` of them.

    Rows are the slices along the axis of `Op.row_axis`; rows outside the tensor are padding.
    """

    size: int = 1
    stride: int = 1
    before: int = 0

    def first(self, row: int) -> int:
        """The first input row that an output row reads; below 0 in the padding."""
        return row * self.stride - self.before

    def last(self, end: int) -> int:
        """The input row behind the last one that the output rows before `end` read."""
        return (end - 1) * self.stride - self.before + self.size


ROW = Window()
RowWindows = tuple[Window | None, ...]  # None: every row of that input is read by every call


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to compute an operator.

    suits   whether it computes a call on a target
    kernel  the call as TensorIR, by a schedule; what the schedule leaves open is the algorithm's
            own rule
    space   the schedules that differ for a call, for the tuner; their `algorithm` may be empty
    band    rows that the kernel computes together, where it need not be built to know; else None
    """

    suits: Callable[[Call, Target], bool]
    kernel: Callable[[Call, Target, Schedule], Kernel]
    space: Callable[[Call, Target], Iterable[Schedule]] = lambda call, target: (Schedule(),)
    band: Callable[[Call, Schedule], int] | None = None


Algorithms = Mapping[str, Algorithm]  # by name; the rule of thumb takes the first that suits


@dataclass(frozen=True, slots=True)
class Op:
    """One operator: everything the compiler asks about it is here.

    infer      shapes and dtypes of the outputs of a *float* (or plain integer) node
    reference  NumPy meaning, bit-exact with the kernel for integers; the oracle of the tests
    kernel     the node as TensorIR for a target, by a schedule; None: the output is its input's
               bytes (an alias) and no code is emitted
    windows    for kernels with a row range: the rows read of each activation input; None: the
               whole node is one step. A call for rows a..b writes only rows a..b of the output,
               after it has read everything it reads (element by element where size is 1 ...)
    macs       multiply-accumulates of one run
    quantize   whether the node may run on stored integers when all its real operands are
               quantized and its result is: called with the call as it would become
    in_place   the kernel may write its output over its first input of equal byte size
    algorithms the ways that `kernel` chooses between; none: there is one
    """

    name: str
    infer: Callable[[tuple[Tensor, ...], Any], tuple[Type, ...]]
    reference: Callable[[Call, tuple[Array, ...]], tuple[Array, ...]]
    kernel: Callable[[Call, Target, Schedule], Kernel] | None
    windows: Callable[[Call], RowWindows | None] = lambda call: None
    macs: Callable[[Call], int] = lambda call: 0
    quantize: Callable[[Call], bool] = lambda call: False
    in_place: bool = False
    algorithms: Algorithms = field(default_factory=dict)


def kernel_by(algorithms: Algorithms) -> Callable[[Call, Target, Schedule], Kernel]:
    """The kernel of an operator with several algorithms."""

    def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
        name = schedule.algorithm or rule_of_thumb(algorithms, call, target)
        return algorithms[name].kernel(call, target, schedule)

    return kernel


def row_by_row(call: Call, schedule: Schedule) -> int:
    """The band of an algorithm that never computes rows together."""
    return 1


def band_by(algorithms: Algorithms, call: Call, target: Target, schedule: Schedule) -> int:
    """Rows that the kernel of a schedule with an algorithm computes together."""
    algorithm = algorithms[schedule.algorithm]
    if algorithm.band is None:
        return algorithm.kernel(call, target, schedule).band
    return algorithm.band(call, schedule)


def rule_of_thumb(algorithms: Algorithms, call: Call, target: Target) -> str:
    """The algorithm when nothing was measured."""
    return next(name for name, a in algorithms.items() if a.suits(call, target))


def schedules_of(algorithms: Algorithms, call: Call, target: Target) -> tuple[Schedule, ...]:
    """Every schedule of every algorithm that suits the call."""
    return tuple(
        replace(schedule, algorithm=name)
        for name, a in algorithms.items()
        if a.suits(call, target)
        for schedule in a.space(call, target)
    )


def call_of(graph: Graph, node: Node) -> Call:
    """`node` with its tensors."""
    return Call(
        node,
        tuple(graph.tensors[t] for t in node.inputs),
        tuple(graph.tensors[t] for t in node.outputs),
    )


def dequantized(array: Array, tensor: Tensor) -> Array:
    """The reals (float64) that the stored `array` of `tensor` stands for."""
    if tensor.quant is None:
        return array.astype(np.float64)
    shape = [1] * array.ndim
    if tensor.quant.axis is not None:
        shape[tensor.quant.axis] = -1
    scale = np.array(tensor.quant.scale, np.float64).reshape(shape)
    zero_point = np.array(tensor.quant.zero_point, np.int64).reshape(shape)
    return (array.astype(np.int64) - zero_point) * scale
