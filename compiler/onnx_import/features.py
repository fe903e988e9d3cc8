"""Operators of ai.onnx.ml that prepare features, and those that name classes."""

import math

import numpy as np

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers
from tinyc.compiler.onnx_import.building import Builder, element_type
from tinyc.compiler.onnx_import.linear import matrix_product
from tinyc.compiler.onnx_import.model_node import ModelNode, tensor_array
from tinyc.compiler.onnx_import.scores import (
    class_names,
    features_of,
    label_of,
    transform_of,
    transformed,
    two_columns,
)
from tinyc.compiler.ops.cast import CastAttrs
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


def _floats(build: Builder, node: ModelNode, x: Tensor) -> Tensor:
    return (
        x if x.dtype == DType.FLOAT32 else build.add(node, "Cast", (x,), CastAttrs(DType.FLOAT32))
    )


def read_scaler(build: Builder, node: ModelNode) -> Tensor:
    """(x - offset) * scale"""
    x = _floats(build, node, build.operand(node, 0))
    for attribute, op in (("offset", "Sub"), ("scale", "Mul")):
        values = node.reals(attribute)
        if values:
            number = build.constant(f"{node.name}/{attribute}", values, DType.FLOAT32)
            x = build.binary(node, op, x, number)
    return x


def read_normalizer(build: Builder, node: ModelNode) -> Tensor:
    x, norm = _floats(build, node, build.operand(node, 0)), node.text("norm", "MAX")
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


def read_label_encoder(build: Builder, node: ModelNode) -> Tensor:
    """Keys and values are numbers; texts may be what the integers of the input stand for, and what
    those of the output do."""
    x = build.operand(node, 0)
    known, keys, values = build.names.get(x.name), _entries(node, "keys"), _entries(node, "values")
    if not keys or len(keys) != len(values) or len(set(map(str, keys))) == 0:
        node.malformed(f"{len(keys)} keys, {len(values)} values")
    if isinstance(keys[0], str):
        if known is None:
            node.refuse("keys that are texts are not supported", "give numbers to the model")
        table = {k: v for k, v in zip(reversed(keys), reversed(values), strict=True) if k in known}
        positions = {name: i for i, name in enumerate(known)}
        keys, values = [positions[k] for k in table], list(table.values())
    default, kind = _default(node, values)
    names: tuple[str, ...] = ()
    if isinstance(default, str):
        names = tuple(dict.fromkeys([*map(str, values), default]))
        place = {name: i for i, name in enumerate(names)}
        values, default, kind = [place[str(v)] for v in values], place[default], DType.INT64
    attrs = LookUpAttrs(tuple(keys), tuple(values), default, kind)
    y = build.add(node, "LookUp", (x,), attrs)
    if names:
        build.names[y.name] = names
    return y


def _entries(node: ModelNode, kind: str) -> list[float | str]:
    for name in (f"{kind}_int64s", f"{kind}_floats"):
        numbers = node.attributes.get(name)
        if numbers:
            return list(numbers)
    texts = node.texts(f"{kind}_strings")
    if texts:
        return list(texts)
    tensor = node.attributes.get(f"{kind}_tensor")
    if tensor is None:
        return []
    found = tensor_array(tensor, node.where).reshape(-1).tolist()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in found]


def _default(node: ModelNode, values: list[float | str]) -> tuple[float | str, DType]:
    """What other keys become, and the element type of the output."""
    tensor = node.attributes.get("default_tensor")
    typed = node.attributes.get("values_tensor")
    default: float | str | None = None
    if tensor is not None and tensor.data_type:
        default = tensor_array(tensor, node.where).reshape(-1).tolist()[0]
        default = default.decode() if isinstance(default, bytes) else default
    if isinstance(values[0], str):
        return (default if default is not None else node.text("default_string", "_Unused")), DType.INT64
    if typed is not None:
        kind = element_type(tensor_array(typed, node.where).dtype, node.where)
    else:
        whole = node.attributes.get("values_int64s")
        kind = DType.INT64 if whole else DType.FLOAT32
    if default is None:
        default = node.real("default_float", -0.0) if kind.is_float else node.integer("default_int64", -1)
    return default, kind


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
        if x.name in build.names:
            build.names[y.name] = build.names[x.name]
        return y
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
        x = _floats(build, node, build.operand(node, index))
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


def read_zip_map(build: Builder, node: ModelNode) -> Tensor:
    """The tensor of scores itself: a device has no maps."""
    x = build.operand(node, 0)
    names = node.texts("classlabels_strings") or tuple(
        map(str, node.integers("classlabels_int64s") or ())
    )
    y = build.reshaped(node, x, x.shape)
    build.names[y.name] = names
    build.notes.append(
        f"node '{node.name}': instead of a map, its output is the tensor {list(x.shape)}; "
        f"its columns are: {', '.join(names)}"
    )
    return y


def _linear(build: Builder, node: ModelNode, x: Tensor, targets: int) -> Tensor:
    """x times the coefficients [targets, features], and the intercepts."""
    coefficients, intercepts = node.reals("coefficients") or (), node.reals("intercepts") or ()
    if len(coefficients) != targets * x.shape[1] or len(intercepts) not in (0, targets):
        node.malformed(
            f"{len(coefficients)} coefficients and {len(intercepts)} intercepts for {targets} "
            f"targets of {list(x.shape)}"
        )
    table = np.array(coefficients, np.float32).reshape(targets, x.shape[1]).T
    weights = build.constant(f"{node.name}/coefficients", table, DType.FLOAT32)
    y = matrix_product(build, node, x, weights)
    if not intercepts:
        return y
    bias = build.constant(f"{node.name}/intercepts", intercepts, DType.FLOAT32)
    return build.binary(node, "Add", y, bias)


def read_linear_regressor(build: Builder, node: ModelNode) -> Tensor:
    x = _floats(build, node, features_of(build, node))
    y = _linear(build, node, x, node.integer("targets", 1))
    transform = transform_of(node)
    if y.shape[1] == 1 and transform not in ("NONE", "PROBIT"):
        node.refuse(
            f"the transform {transform} of a single target is not supported: onnxruntime leaves "
            "it out",
            "apply it by a node of its own",
        )
    return transformed(build, node, y, transform)


def read_linear_classifier(build: Builder, node: ModelNode) -> tuple[Tensor, Tensor]:
    x, transform = _floats(build, node, features_of(build, node)), transform_of(node)
    labels, names = class_names(node, "classlabels_ints")
    rows = len(node.reals("intercepts") or ()) or len(labels)
    scores = _linear(build, node, x, rows)
    if rows == len(labels) and rows > 1:
        label = label_of(build, node, scores, labels, names)
        return label, transformed(build, node, scores, transform)
    if rows != 1 or len(labels) != 2 or transform != "NONE":
        node.refuse(
            f"{rows} scores for {len(labels)} classes with the transform {transform} are not "
            "supported",
            "export a score for each class",
        )
    label = label_of(build, node, scores, labels, names, 0.0)
    return label, two_columns(build, node, scores, transform, share=True)
