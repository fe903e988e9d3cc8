"""The float models that the tests of the quantizer share, and their samples."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tinyc.compiler.graph import Array
from tinyc.compiler.reference_run import reference_session

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL = EXAMPLE / "digits_cnn.onnx"
CALIBRATED = 100  # samples; the others judge


def digits() -> tuple[Array, Array]:
    with np.load(EXAMPLE / "digits.npz") as file:
        return file["x"].reshape(-1, 1, 1, 8, 8), file["y"]


def run(model: onnx.ModelProto, samples: Array) -> Array:
    """onnxruntime's first output, as the nodes stand."""
    session = reference_session(model)
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: x})[0].reshape(-1) for x in samples])


def saved(nodes: list[onnx.NodeProto], shapes: tuple[list[int], list[int]], path: Path,
          **constants: Array) -> Path:  # fmt: skip
    """A float model from x to y."""
    tensors = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items()]
    ports = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in zip("xy", shapes, strict=True)
    ]
    graph = helper.make_graph(nodes, "m", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path
