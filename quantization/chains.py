"""Operators one after the other, element by element, of one tensor: tinyc makes a table of them.

x * sigmoid(x) or a GELU in parts is a function of one value, so that what lies between needs no
grid of its own, and is not rounded (`passes/tables.py`).
"""

from collections.abc import Mapping

import onnx

from tinyc.quantization.float_model import FloatModel

ELEMENTWISE = frozenset({
    "Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Selu",
    "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh",
})  # fmt: skip


def inside_chains(model: FloatModel, fused: frozenset[str]) -> frozenset[str]:
    """The tensors whose readers all compute functions of the value that they come of themselves.

    fused  results that a clamp or bias in the same kernel changes: no chain starts at them
    """
    sources: dict[str, str] = {}
    for node in model.nodes:
        if source := _source(model, node, sources, fused):
            sources[node.output[0]] = source
    outputs = {value.name for value in model.outputs}
    return frozenset(
        name
        for name, source in sources.items()
        if name not in outputs
        and all(sources.get(reader.output[0]) == source for reader in model.readers(name))
    )


def _source(
    model: FloatModel, node: onnx.NodeProto, sources: Mapping[str, str], fused: frozenset[str]
) -> str:
    """The tensor that the result of `node` is a function of; "": there is none."""
    varying = [name for name in node.input if name and name not in model.constants]
    numbers = all(model.constants[n].size == 1 for n in node.input if n in model.constants)
    given = {sources.get(name, name) for name in varying}
    if node.op_type not in ELEMENTWISE or not numbers or fused.intersection(varying):
        return ""
    return given.pop() if len(given) == 1 else ""
