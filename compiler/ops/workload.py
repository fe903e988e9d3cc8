"""What a kernel computes, without names and values: equal workloads share measurements."""

from dataclasses import fields, is_dataclass

from tinyc.compiler.graph import Tensor
from tinyc.compiler.ops.accumulate import output_requantization
from tinyc.compiler.ops.clamp import Clamp, stored_bounds
from tinyc.compiler.ops.op import Call
from tinyc.compiler.ops.residual import Residual, first_stage


def workload(call: Call) -> str:
    """The workload of `call` as text, the same on every machine and in every version:

    Conv2D int8[1,32,32,16] const int8[16,3,3,16] const int32[16] -> int8[1,32,32,16] pads=1,1,1,1

    "low", "high": results are clamped inside their type; "wide": the wide form of requantization
    """
    inputs = " ".join(map(_operand, call.inputs))
    outputs = " ".join(map(_operand, call.outputs))
    return " ".join([call.node.op, inputs, "->", outputs, *_attributes(call), *_form(call)])


def _operand(tensor: Tensor) -> str:
    shape = ",".join(map(str, tensor.shape))
    return f"{'const ' if tensor.data is not None else ''}{tensor.dtype}[{shape}]"


def _attributes(call: Call) -> list[str]:
    if not is_dataclass(call.attrs):
        return []
    words = []
    for field in fields(call.attrs):
        value = getattr(call.attrs, field.name)
        if isinstance(value, Residual):
            words.append(field.name)
        elif value is not None and not isinstance(value, Clamp) and value != field.default:
            numbers = value if isinstance(value, tuple) else (value,)
            words.append(f"{field.name}={','.join(map(str, numbers))}")
    return words


def _form(call: Call) -> list[str]:
    """How results are finished, of the operators that accumulate products."""
    stage = first_stage(call) if hasattr(call.attrs, "residual") else call
    y, clamp = stage.outputs[0], getattr(stage.attrs, "clamp", None)
    if y.quant is None or not isinstance(clamp, Clamp):
        return []
    (low, high), (lowest, highest) = stored_bounds(y, clamp), y.dtype.limits
    words = [word for word, is_so in (("low", low > lowest), ("high", high < highest)) if is_so]
    weighted = len(stage.inputs) > 1 and stage.inputs[1].quant and stage.inputs[0].quant
    return [*words, "wide"] if weighted and output_requantization(stage).is_wide else words
