"""TensorIR kernels down to the few statements that C has."""

from functools import cache
from typing import Any

from tinyc.compiler.cprint import C_TYPES, c_identifier, stmt
from tinyc.compiler.ops.kernel import Kernel


@cache
def _lowering() -> Any:
    from tvm.ir import transform
    from tvm.tirx import transform as tirx

    return transform.Sequential(
        [
            tirx.StmtSimplify(),
            tirx.UnrollLoop(),
            tirx.StmtSimplify(),
            tirx.RemoveNoOp(),
            tirx.CommonSubexprElim(),
        ]
    )


def body_lines(kernel: Kernel) -> list[str]:
    """The lines between the braces of the kernel's C function."""
    from tvm import IRModule

    (lowered,) = _lowering()(IRModule({"main": kernel.function})).functions.values()
    return stmt(lowered.body, 1)


def parameters(kernel: Kernel, inputs: int) -> list[str]:
    """The C parameters: what is only read is const, `row_begin` and `row_end` are values."""
    buffers, outputs = _buffers(kernel), len(_buffers(kernel)) - inputs - len(kernel.constants)
    outputs -= kernel.scratch_bytes > 0
    text = []
    for position, b in enumerate(buffers):
        written = inputs <= position < inputs + outputs or position >= len(buffers) - (
            kernel.scratch_bytes > 0
        )
        text.append(f"{'' if written else 'const '}{C_TYPES[str(b.dtype)]} *{c_identifier(b)}")
    if kernel.rows:
        text += ["int32_t row_begin", "int32_t row_end"]
    return text


def parameter_types(kernel: Kernel) -> list[str]:
    """The element types of the buffer parameters."""
    return [str(b.dtype) for b in _buffers(kernel)]


def _buffers(kernel: Kernel) -> list[Any]:
    """The buffer parameters, in order."""
    params = list(kernel.function.params)
    return params[: len(params) - 2] if kernel.rows else params
