"""Nodes whose result is known at compile time, by onnx's own reference evaluator."""

import math

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.onnx_import.building import Building, Source, Unsupported, array_of

MOST_FOLDED_ELEMENTS = 1 << 24
KEPT = ("DequantizeLinear",)  # of constants: quantized weights stay quantized
GROWING = ("ConstantOfShape", "Expand", "Tile", "Range", "OneHot", "Pad", "Resize", "Upsample")
CONTROL = ("If", "Loop", "Scan")


def is_foldable(proto: onnx.NodeProto, building: Building) -> bool:
    """Whether all inputs are constants, or only their shape matters."""
    if proto.domain not in ("", "ai.onnx") or proto.op_type in KEPT + CONTROL:
        return False
    if proto.op_type in ("Shape", "Size"):
        return proto.input[0] in building.tensors
    if proto.op_type.startswith(("Random", "Multinomial", "Bernoulli")):
        return False
    return all(not n or building.constant(n) is not None for n in proto.input)


def evaluate(proto: onnx.NodeProto, source: Source, building: Building, opset: int) -> None:
    """Add the node's results as constants."""
    if proto.op_type == "Constant" and proto.attribute and proto.attribute[0].name == "value":
        _add(building, proto.output[0], array_of(proto.attribute[0].t))
        return
    if proto.op_type in ("Shape", "Size"):
        shape = np.array(building.tensor(proto.input[0]).shape, np.int64)
        begin, end = source.attributes.get("start", 0), source.attributes.get("end", len(shape))
        whole = shape[begin:end] if proto.op_type == "Shape" else shape.prod(dtype=np.int64)
        _add(building, proto.output[0], np.asarray(whole))
        return
    feed = {n: building.tensors[n].data for n in proto.input if n}
    total = sum(a.size for a in feed.values() if a is not None)
    if total > MOST_FOLDED_ELEMENTS or _grows_too_far(proto, feed):
        raise Unsupported("its constant result is too large")
    inputs = [
        onnx.helper.make_tensor_value_info(
            n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape
        )
        for n, a in feed.items()
        if a is not None
    ]
    outputs = [onnx.ValueInfoProto(name=n) for n in proto.output if n]
    graph = onnx.helper.make_graph([proto], "fold", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        values = ReferenceEvaluator(model).run(None, feed)
    # the evaluator runs whatever the file says; on nonsense it raises whatever NumPy raises
    except Exception as error:
        raise Unsupported(f"its constant result cannot be computed: {error}"[:200]) from error
    for name, value in zip((n for n in proto.output if n), values, strict=True):
        _add(building, name, np.asarray(value))


def _grows_too_far(proto: onnx.NodeProto, feed: dict[str, Array | None]) -> bool:
    """Whether a result may be much larger than its inputs, as in a hostile file."""
    if proto.op_type not in GROWING:
        return False
    sizes = [a for a in feed.values() if a is not None and a.dtype.kind in "iuf"]
    if proto.op_type == "Range" and len(sizes) == 3:
        start, limit, delta = (float(a.reshape(-1)[0]) for a in sizes)
        return delta == 0 or abs((limit - start) / delta) > MOST_FOLDED_ELEMENTS
    product = math.prod(
        abs(int(v)) or 1 for a in sizes if a.size <= 16 for v in a.reshape(-1) if abs(v) < 2**62
    )
    return product > MOST_FOLDED_ELEMENTS


def _add(building: Building, name: str, value: Array) -> None:
    try:
        dtype = DType(str(value.dtype))
    except ValueError as error:
        raise Unsupported(f"its result has the type {value.dtype}") from error
    building.tensors[name] = Tensor(name, value.shape, dtype, read_only(value, dtype))
