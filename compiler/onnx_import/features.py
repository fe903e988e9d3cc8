"""Operators of ai.onnx.ml that prepare features, and those that name classes."""

import math

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.scores import floats
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.features import (
    BinarizeAttrs,
    CategoriesAttrs,
    ImputeAttrs,
    RowNormAttrs,
)
from tinyc.compiler.ops.look_up import LookUpAttrs
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.slice import SliceAttrs


def read_scaler(build: Builder, node: ModelNode) -> Tensor:
    """(x - offset) * scale"""
    x = floats(build, node, build.operand(node, 0))
    for attribute, op in (("offset", "Sub"), ("scale", "Mul")):
        values = node.reals(attribute)
        if values:
            number = build.constant(f"{node.name}/{attribute}", values, DType.FLOAT32)
            x = build.binary(node, op, x, number)
    return x


def read_normalizer(build: Builder, node: ModelNode) -> Tensor:
    x, norm = floats(build, node, build.operand(node, 0)), node.text("norm", "MAX")
    if norm not in ("MAX", "L1", "L2") or len(x.shape) not in (1, 2):
        node.malformed(f"no norm '{norm}' of rows of {list(x.shape)}")
    return build.add(node, "RowNorm", (x,), RowNormAttrs(norm))


def read_binarizer(build: Builder, node: ModelNode) -> Tensor:
    attrs = BinarizeAttrs(node.real("threshold", 0.0))
    return build.add(node, "Binarize", (build.operand(node, 0),), attrs)


def read_imputer(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if x.dtype.is_float:
        values, replaced = node.reals("imputed_value_floats"), node.real("replaced_value_float", 0)
    else:
        whole = node.integers("imputed_value_int64s") or ()
        values, replaced = tuple(map(float, whole)), node.integer("replaced_value_int64", 0)
    if not values or not x.shape or len(values) not in (1, x.shape[-1]):
        node.malformed(f"{len(values or ())} values for the columns of {list(x.shape)}")
    return build.add(node, "Impute", (x,), ImputeAttrs(replaced, values))


def read_one_hot_encoder(build: Builder, node: ModelNode) -> Tensor:
    categories = node.integers("cats_int64s")
    if not categories:
        node.refuse("categories that are texts are not supported", "give numbers to the model")
    if not node.integer("zeros", 1):
        build.notes.append(f"node '{node.name}': values of no category give zeros, no error")
    return build.add(node, "Categories", (build.operand(node, 0),), CategoriesAttrs(categories))


def read_array_feature_extractor(build: Builder, node: ModelNode) -> Tensor:
    """Columns of the last axis; of constants, by positions that are computed."""
    x, chosen = build.operand(node, 0), build.operand(node, 1)
    if x.data is not None and chosen.data is None:
        if x.elements != x.shape[-1]:
            node.refuse("columns of constants by computed positions need a single row")
        values = x.data.reshape(-1).tolist()
        attrs = LookUpAttrs(tuple(range(len(values))), tuple(values), values[0], x.dtype)
        flat = build.reshaped(node, chosen, (1, chosen.elements))
        y = build.add(node, "LookUp", (flat,), attrs)
        if x.name in build.beside.texts:
            build.beside.texts[y.name] = build.beside.texts[x.name]
        return y
    if chosen.data is None:
        x = x if len(x.shape) > 1 else build.reshaped(node, x, (1, *x.shape))
        return build.add(node, "TakeColumns", (x, chosen))
    columns = constant_integers(build, node, 1) or ()
    if not x.shape or any(not 0 <= c < x.shape[-1] for c in columns) or not columns:
        node.malformed(f"the columns {list(columns)} are not in {list(x.shape)}")
    if len(x.shape) == 1:
        x = build.reshaped(node, x, (1, *x.shape))
    parts = tuple(
        build.add(node, "Slice", (x,), SliceAttrs(
            (*(0,) * (len(x.shape) - 1), c), (1,) * len(x.shape), (*x.shape[:-1], 1)
        ))
        for c in columns
    )  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    return build.add(node, "Concat", parts, ConcatAttrs(len(x.shape) - 1))


def read_feature_vectorizer(build: Builder, node: ModelNode) -> Tensor:
    """Inputs beside each other, each cut to its number of columns or continued by zeros."""
    sizes = node.integers("inputdimensions") or ()
    if len(sizes) != len(node.inputs) or min(sizes, default=0) < 1:
        node.malformed(f"{len(sizes)} sizes for {len(node.inputs)} inputs")
    parts = []
    for index, size in enumerate(sizes):
        x = floats(build, node, build.operand(node, index))
        rows = x.shape[0] if len(x.shape) > 1 else 1
        x = build.reshaped(node, x, (rows, math.prod(x.shape) // rows))
        if x.shape[1] > size:
            x = build.add(node, "Slice", (x,), SliceAttrs((0, 0), (1, 1), (rows, size)))
        if x.shape[1] < size:
            pads = ((0, 0), (0, size - x.shape[1]))
            x = build.add(node, "Pad", (x,), PadAttrs(pads, "constant", 0.0))
        parts.append(x)
    if len({p.shape[0] for p in parts}) > 1:
        node.malformed("the inputs have different numbers of rows")
    return parts[0] if len(parts) == 1 else build.add(node, "Concat", tuple(parts), ConcatAttrs(1))
