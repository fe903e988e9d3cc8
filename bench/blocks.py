"""What packed weights with a scale for each block save, and cost."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import tinyc
from bench.tables import table
from tinyc.compiler.graph import Array

TARGET = "cortex-m4"
SHAPES = ((64, 256, 32), (128, 512, 32), (128, 512, 128))  # outputs, inputs, values of a block


def blocks_section() -> Iterator[str]:
    yield "\n## Weights with a scale for each block, packed (MatMulNBits of 4 bits)\n"
    yield f"One row of floats by a matrix on {TARGET}; beside it, the same weights as floats.\n"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        for n, k, block in SHAPES:
            for name, made in (("floats", expanded), ("4 bits", packed)):
                onnx.save(made(n, k, block), str(path))
                rows.append((f"{k} -> {n}", block, name, *measured(path, k)))
    yield table("product | block | weights | tables B | code B | cycles", rows)


def measured(path: Path, inputs: int) -> tuple[str, ...]:
    artifact = tinyc.compile(path, TARGET)
    x = np.random.default_rng(1).normal(size=(1, 1, inputs)).astype(np.float32)
    result = tinyc.run(artifact, {"x": x})
    sizes = (artifact.report.weights_bytes, result.text_bytes, result.cycles or 0)
    return tuple(f"{size:,}" for size in sizes)


def weights(n: int, k: int, block: int) -> tuple[Array, Array]:
    """Values of 0 to 15 [n, k], and scales [n, blocks]."""
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.01, 0.1, (n, k // block)).astype(np.float32)
    return rng.integers(0, 16, (n, k)).astype(np.uint8), scales


def expanded(n: int, k: int, block: int) -> onnx.ModelProto:
    stored, scales = weights(n, k, block)
    real = (stored.astype(np.float32) - 8) * np.repeat(scales, block, axis=1)
    return model(make_node("MatMul", ["x", "w"], ["y"]), n, k, {"w": real.T})


def packed(n: int, k: int, block: int) -> onnx.ModelProto:
    stored, scales = weights(n, k, block)
    pairs = (stored[:, ::2] | stored[:, 1::2] << 4).reshape(n, k // block, block // 2)
    node = make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft",
        N=n, K=k, bits=4, block_size=block,
    )  # fmt: skip
    return model(node, n, k, {"w": pairs, "s": scales.reshape(-1)})


def model(node: onnx.NodeProto, n: int, k: int, constants: dict[str, Array]) -> onnx.ModelProto:
    ports = [
        make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, size))
        for name, size in (("x", k), ("y", n))
    ]
    tensors = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(c), name) for name, c in constants.items()
    ]
    graph = make_graph([node], "g", ports[:1], ports[1:], tensors)
    domains = [make_opsetid("", 17), make_opsetid("com.microsoft", 1)]
    return make_model(graph, opset_imports=domains, ir_version=10)
