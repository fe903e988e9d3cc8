"""Attention and embeddings as onnxruntime's optimizer writes them, by matrix products.

B: batch, T: places of the queries, S: places of the keys, N: heads, E: elements of all heads.
"""

import math
from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.casting import cast
from tinyc.compiler.onnx_import.indexing import gathered
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.movement import sliced_along
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.matmul import MatMulAttrs
from tinyc.compiler.ops.normalize import NormalizeAttrs
from tinyc.compiler.ops.reduce import ReduceAttrs
from tinyc.compiler.ops.softmax import SoftmaxAttrs
from tinyc.compiler.ops.transpose import TransposeAttrs

FARAWAY = -10000.0  # what is added to the score of a place that is masked


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Queries [B, N, T, E / N], keys and values [B, N, S, E / N]."""

    queries: Tensor
    keys: Tensor
    values: Tensor


def read_attention(build: Builder, node: ModelNode) -> Tensor:
    """Queries, keys and values are one product of x [B, T, ...], weights [..., 3 E], bias."""
    sizes = node.integers("qkv_hidden_sizes")
    _refuse_inputs(node, (4, 6))
    if node.integer("do_rotary", 0) or (sizes is not None and len(set(sizes)) > 1):
        node.refuse("rotary embeddings and values of another size are not supported")
    x, w = build.operand(node, 0), build.operand(node, 1)
    if len(x.shape) != 3 or len(w.shape) != 2 or w.shape[1] % 3:
        node.malformed(f"the input {list(x.shape)} does not fit the weights {list(w.shape)}")
    y = _plus(build, node, matrix_product(build, node, x, w), build.optional(node, 2))
    size = y.shape[2] // 3
    parts = [sliced_along(build, node, y, 2, range(i * size, (i + 1) * size)) for i in range(3)]
    return _attended(build, node, _heads(build, node, parts), 3, 5)


def read_multi_head_attention(build: Builder, node: ModelNode) -> Tensor:
    """Queries [B, T, E], keys and values [B, S, E] apart; their bias is one [3 E]."""
    _refuse_inputs(node, (6, 7))
    parts = [build.operand(node, i) for i in range(3)]
    if any(len(t.shape) != 3 or t.shape[2] != parts[0].shape[2] for t in parts):
        node.refuse("packed keys and values, or values of another size, are not supported")
    bias = build.optional(node, 3)
    if bias is not None:
        size = parts[0].shape[2]
        biases = [sliced_along(build, node, bias, 0, range(i * size, (i + 1) * size))
                  for i in range(3)]  # fmt: skip
        parts = [_plus(build, node, t, b) for t, b in zip(parts, biases, strict=True)]
    return _attended(build, node, _heads(build, node, parts), 4, 5)


def _refuse_inputs(node: ModelNode, positions: tuple[int, ...]) -> None:
    if any(node.inputs[i : i + 1] not in ((), ("",)) for i in positions) or any(node.outputs[1:]):
        node.refuse("keys and values of earlier calls are not supported", "export without a cache")


def _plus(build: Builder, node: ModelNode, x: Tensor, y: Tensor | None) -> Tensor:
    return x if y is None else build.binary(node, "Add", x, y)


def _heads(build: Builder, node: ModelNode, parts: list[Tensor]) -> Heads:
    """Each [B, places, E] as [B, N, places, E / N]."""
    count = node.integer("num_heads", 0)
    if count < 1 or parts[0].shape[2] % count:
        node.malformed(f"{count} heads for {parts[0].shape[2]} elements")
    split = [build.reshaped(node, t, (*t.shape[:2], count, t.shape[2] // count)) for t in parts]
    turned = [build.layout(node, "Transpose", t, TransposeAttrs((0, 2, 1, 3))) for t in split]
    return Heads(*turned)


def _attended(build: Builder, node: ModelNode, heads: Heads, mask_at: int, bias_at: int) -> Tensor:
    """softmax(scale * queries @ keys^T + bias + mask) @ values, as [B, T, E]."""
    batch, count, places, each = heads.queries.shape
    scale = node.real("scale", 0.0) or 1 / math.sqrt(each)
    factor = build.constant(f"{node.name}/scale", scale, heads.queries.dtype)
    queries = build.binary(node, "Mul", heads.queries, factor)
    keys = build.layout(node, "Transpose", heads.keys, TransposeAttrs((0, 1, 3, 2)))
    scores = build.add(node, "MatMul", (queries, keys), MatMulAttrs())
    scores = _plus(build, node, scores, build.optional(node, bias_at))
    scores = _plus(build, node, scores, _mask(build, node, mask_at, scores))
    shares = build.add(node, "Softmax", (scores,), SoftmaxAttrs(3))
    y = build.add(node, "MatMul", (shares, heads.values), MatMulAttrs())
    y = build.layout(node, "Transpose", y, TransposeAttrs((0, 2, 1, 3)))
    return build.reshaped(node, y, (batch, places, count * each))


def _mask(build: Builder, node: ModelNode, at: int, scores: Tensor) -> Tensor | None:
    """What is added to scores [B, N, T, S]: of later places, and of those that are masked."""
    batch, _, places, others = scores.shape
    faraway, later = node.real("mask_filter_value", FARAWAY), None
    if node.integer("unidirectional", 0):
        after = np.triu(np.full((places, others), faraway, np.float32), others - places + 1)
        later = build.constant(f"{node.name}/later", after, DType.FLOAT32)
    given = build.optional(node, at)
    if given is None:
        return later
    if given.shape == (batch, others):
        kept = cast(build, node, given, DType.FLOAT32)
    elif given.shape == (batch,):
        kept = _first_places(build, node, given, others)
    else:
        node.refuse(f"a mask {list(given.shape)} is not supported", "mask by [batch, places]")
    one = build.constant(f"{node.name}/one", 1.0, DType.FLOAT32)
    far = build.constant(f"{node.name}/faraway", faraway, DType.FLOAT32)
    masked = build.binary(node, "Mul", build.binary(node, "Sub", one, kept), far)
    return _plus(build, node, build.reshaped(node, masked, (batch, 1, 1, others)), later)


def _first_places(build: Builder, node: ModelNode, counts: Tensor, places: int) -> Tensor:
    """[B, places]: 1.0 for the first counts[b] places, 0.0 for the others."""
    numbers = build.constant(f"{node.name}/places", np.arange(places)[None], counts.dtype)
    column = build.reshaped(node, counts, (*counts.shape, 1))
    within = build.add(node, "Less", (numbers, column), BinaryAttrs())
    return cast(build, node, within, DType.FLOAT32)


def read_embed_layer_normalization(build: Builder, node: ModelNode) -> tuple[Tensor, ...]:
    """Rows of words, places and segments together, normalized; the mask's counts; the sum."""
    ids = build.operand(node, 0)
    if len(ids.shape) != 2:
        node.malformed(f"the words are {list(ids.shape)}, not [batch, places]")
    total = gathered(build, node, build.operand(node, 2), ids, 0)
    table, places = build.operand(node, 3), build.optional(node, 8)
    if places is None:
        of_places = sliced_along(build, node, table, 0, range(ids.shape[1]))
    else:
        of_places = gathered(build, node, table, places, 0)
    total = build.binary(node, "Add", total, of_places)
    segments = build.optional(node, 1)
    if segments is not None:
        of_segments = gathered(build, node, build.operand(node, 4), segments, 0)
        total = build.binary(node, "Add", total, of_segments)
    affine = build.operand(node, 5), build.operand(node, 6)
    attrs = NormalizeAttrs("variance", (2,), node.real("epsilon", 1e-12))
    y = build.add(node, "Normalize", (total, *affine), attrs)
    return y, _counts(build, node, ids), total


def _counts(build: Builder, node: ModelNode, ids: Tensor) -> Tensor:
    """How many places of the mask are not 0, [B] int32; zeros without a mask."""
    mask = build.optional(node, 7)
    if mask is None:
        zeros = np.zeros(ids.shape[0], np.int32)
        return build.constant(f"{node.name}/counts", zeros, DType.INT32)
    return build.add(node, "Reduce", (mask,), ReduceAttrs("sum", (1,), keep_dims=False))
