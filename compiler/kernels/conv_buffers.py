"""The buffers of a convolution whose weights are a stream of bytes."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Addend, addend, first_stage
from tinyc.targets import Target


@dataclass(frozen=True, slots=True, eq=False)
class ConvBuffers:
    """A call with its buffers.

    stage    the convolution alone, without the residual
    scratch  None where it needs none
    """

    call: Call
    stage: Call
    source: Any
    result: Any
    stream: Any
    scratch: Any
    residual: Addend | None

    @property
    def parameters(self) -> list[Any]:
        """Those of the kernel's function, in their order."""
        added = None if self.residual is None else self.residual.buffer
        buffers = (self.source, added, self.result, self.stream, self.scratch)
        return [buffer for buffer in buffers if buffer is not None]


def conv_buffers(call: Call, target: Target, stream_bytes: int, values: int) -> ConvBuffers:
    """values: of the input's type in the scratch."""
    x, y = call.inputs[0], call.output
    return ConvBuffers(
        call,
        first_stage(call),
        loops.buffer("x", x.elements, x.dtype),
        loops.buffer("y", y.elements, y.dtype),
        loops.buffer("stream", stream_bytes, "int8"),
        loops.buffer("scratch", values, x.dtype) if values else None,
        addend(call, target),
    )
