"""Axes that a node names."""

from tinyc.compiler.onnx_import.model_node import ModelNode


def positive_axis(node: ModelNode, axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        node.malformed(f"the axis {axis} is out of range for {rank} dimensions")
    return axis % rank if rank else 0


def positive_axes(node: ModelNode, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    found = tuple(positive_axis(node, axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        node.malformed(f"an axis stands twice in {list(axes)}")
    return found
