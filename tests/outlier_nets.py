"""The digits network with outliers that leave its function as it was, and quantizers in trouble."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tinyc.compiler.graph import Array

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
SPAN = 2.0**10  # of the ranges of channels around the depthwise layer
OUTLIER = 100.0  # factor of one channel's weights
SPIKE = 2000.0  # factor of a neuron that fires for few images
FIRING = 0.02  # part of the images


def digits_with_outliers() -> onnx.ModelProto:
    """Conv, depthwise Conv, Conv, Gemm, Gemm: the answers of `examples/digits/digits_cnn.onnx`."""
    proto = onnx.load(str(DIGITS / "digits_cnn.onnx"))
    graph = proto.graph
    constants = {i.name: np.array(numpy_helper.to_array(i)) for i in graph.initializer}
    first, second = constants["m.conv1.weight"], constants["m.conv2.weight"]
    channels = len(first)

    outlier = np.ones(channels)
    outlier[3] = OUTLIER
    constants["m.conv1.weight"] = first * outlier.reshape(-1, 1, 1, 1)
    constants["m.conv1.bias"] = constants["m.conv1.bias"] * outlier
    spans = SPAN ** np.linspace(-0.5, 0.5, channels)[np.random.default_rng(7).permutation(channels)]
    depthwise = np.zeros((channels, 1, 3, 3))
    depthwise[:, 0, 1, 1] = spans / outlier
    constants["depthwise"] = depthwise
    constants["m.conv2.weight"] = second / spans.reshape(1, -1, 1, 1)
    _add_spikes(constants)

    position = next(i for i, n in enumerate(graph.node) if n.op_type == "MaxPool") + 1
    pooled = graph.node[position - 1].output[0]
    inserted = helper.make_node(
        "Conv", [pooled, "depthwise"], ["scaled"], "depthwise",
        group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1],
    )  # fmt: skip
    graph.node.insert(position, inserted)
    graph.node[position + 1].input[0] = "scaled"
    del graph.initializer[:]
    del graph.value_info[:]
    for name, array in constants.items():
        kept = array if array.dtype == np.int64 else array.astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
    return proto


def _add_spikes(constants: dict[str, Array]) -> None:
    """The neuron that matters least gets large weights, a high threshold, and is hardly read."""
    least = int(np.abs(constants["m.fc2.weight"]).sum(axis=0).argmin())
    weights, bias = constants["m.fc1.weight"], constants["m.fc1.bias"]
    strongest = int(np.abs(weights).sum(axis=1).argmax())
    weights[least] = weights[strongest] * SPIKE
    bias[least] = -SPIKE * _threshold(strongest)
    constants["m.fc2.weight"][:, least] *= 1e-6


def _threshold(neuron: int) -> float:
    """What the neuron passes for few images only."""
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load(str(DIGITS / "digits_cnn.onnx"))
    name = next(n.output[0] for n in proto.graph.node if n.op_type == "Gemm")
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    with np.load(DIGITS / "digits.npz") as file:
        images = file["x"][:100]
    session = ReferenceEvaluator(proto)
    values = [session.run([name], {"x": x[None]})[0][0, neuron] for x in images]
    return float(np.quantile(values, 1 - FIRING))
