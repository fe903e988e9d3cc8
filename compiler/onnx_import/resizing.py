"""Resize and Upsample of every version, and AffineGrid."""

import math
from typing import Any, get_args

import numpy as np

from tinyc.compiler.graph import Array, DType, Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers, constant_values
from tinyc.compiler.onnx_import.axes import positive_axes
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.resampling import AxisScale, Coordinates, Mode, Rounding, Sampling
from tinyc.compiler.ops.resize import ResizeAttrs
from tinyc.compiler.ops.slice import SliceAttrs

LARGEST = 1 << 15  # elements of a resized axis
MODES: dict[str, Mode] = {
    "nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic",
}  # fmt: skip


def read_upsample(build: Builder, node: ModelNode) -> Tensor:
    """Before operator set 10: by whole or real factors, without an offset."""
    x = build.operand(node, 0)
    scales = node.attributes.get("scales")
    values = constant_values(build, node, 1) if scales is None else np.array(scales, np.float32)
    return _by_old_rules(build, node, x, values)


def read_resize(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    if node.opset < 11:
        return _by_old_rules(build, node, x, constant_values(build, node, 1))
    rank, how = len(x.shape), _sampling(node)
    axes = positive_axes(node, node.integers("axes") or tuple(range(rank)), rank)
    scales = constant_values(build, node, 2)
    sizes = constant_integers(build, node, 3)
    if sizes:
        if len(sizes) != len(axes):
            node.malformed(f"{len(sizes)} sizes for {len(axes)} axes")
        found = _by_sizes(node, x, axes, sizes)
    else:
        found = _by_scales(node, x, axes, scales)
    if how.coordinates == "tf_crop_and_resize":
        found = _with_regions(build, node, found, axes)
    return _resized(build, node, x, found, how, node.real("extrapolation_value", 0.0))


def _by_old_rules(build: Builder, node: ModelNode, x: Tensor, scales: Array | None) -> Tensor:
    how = Sampling(_mode(node), "asymmetric", "simple" if node.op == "Resize" else "floor")
    axes = tuple(range(len(x.shape)))
    return _resized(build, node, x, _by_scales(node, x, axes, scales), how, 0.0)


def _mode(node: ModelNode) -> Mode:
    name = node.text("mode", "nearest")
    if name not in MODES:
        node.malformed(f"mode is '{name}'")
    return MODES[name]


def _sampling(node: ModelNode) -> Sampling:
    mode, antialias = _mode(node), bool(node.integer("antialias", 0))
    if antialias and mode == "nearest":
        node.malformed("nearest neighbours cannot be antialiased")
    coordinates: Any = _choice(node, "coordinate_transformation_mode", Coordinates, "half_pixel")
    rounding: Any = _choice(node, "nearest_mode", Rounding, "round_prefer_floor")
    return Sampling(
        mode, coordinates, rounding, node.real("cubic_coeff_a", -0.75), antialias,
        bool(node.integer("exclude_outside", 0)),
    )  # fmt: skip


def _choice(node: ModelNode, name: str, kinds: Any, default: str) -> str:
    value = node.text(name, default)
    if value not in get_args(kinds):
        node.malformed(f"{name} is '{value}', it must be one of {', '.join(get_args(kinds))}")
    return value


def _by_scales(
    node: ModelNode, x: Tensor, axes: tuple[int, ...], scales: Array | None
) -> dict[int, AxisScale]:
    """The output's size is the largest whole number within scale * size, in float32."""
    if scales is None or scales.size != len(axes) or scales.dtype.kind != "f":
        node.malformed(f"the scales or sizes of {len(axes)} axes are missing")
    found = {}
    for axis, scale in zip(axes, scales.reshape(-1), strict=True):
        size = math.floor(np.float32(scale) * np.float32(x.shape[axis])) if scale > 0 else 0
        if not 1 <= size <= LARGEST:
            node.malformed(f"the scale {scale} of axis {axis} does not fit {list(x.shape)}")
        found[axis] = AxisScale(size, float(scale))
    return found


def _by_sizes(
    node: ModelNode, x: Tensor, axes: tuple[int, ...], sizes: tuple[int, ...]
) -> dict[int, AxisScale]:
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if min(sizes) < 1 or max(sizes) > LARGEST:
        node.malformed(f"the sizes {list(sizes)} are not 1 to {LARGEST}")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        node.malformed(f"keep_aspect_ratio_policy is '{policy}'")
    scales = [size / x.shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    if policy != "stretch":
        one = min(scales) if policy == "not_larger" else max(scales)
        scales = [one] * len(axes)
        sizes = tuple(math.floor(one * x.shape[axis] + 0.5) for axis in axes)
    return {
        axis: AxisScale(size, scale) for axis, size, scale in zip(axes, sizes, scales, strict=True)
    }


def _with_regions(
    build: Builder, node: ModelNode, found: dict[int, AxisScale], axes: tuple[int, ...]
) -> dict[int, AxisScale]:
    region = constant_values(build, node, 1)
    if region is None or region.size != 2 * len(axes):
        node.malformed("tf_crop_and_resize needs a roi with begin and end of every axis")
    values = [float(v) for v in region.reshape(-1).tolist()]
    return {
        axis: AxisScale(found[axis].size, found[axis].scale, (values[i], values[i + len(axes)]))
        for i, axis in enumerate(axes)
    }


def _resized(
    build: Builder, node: ModelNode, x: Tensor, found: dict[int, AxisScale], how: Sampling,
    value: float,
) -> Tensor:  # fmt: skip
    def changed(axis: int) -> AxisScale | None:
        scale = found.get(axis)
        same = AxisScale(x.shape[axis], 1.0)
        return None if scale == same else scale

    attrs = ResizeAttrs(tuple(changed(axis) for axis in range(len(x.shape))), how, value)
    if not any(attrs.axes):
        return x
    if how.mode == "nearest":
        return build.add(node, "Resize", (x,), attrs, quant=x.quant)
    if x.dtype.is_float:
        return build.add(node, "Resize", (x,), attrs)
    real = build.add(node, "Cast", (x,), CastAttrs(DType.FLOAT32))
    y = build.add(node, "Resize", (real,), attrs)
    return build.add(node, "Cast", (y,), CastAttrs(x.dtype))


def read_affine_grid(build: Builder, node: ModelNode) -> Tensor:
    """theta[:, :, 0] * x + theta[:, :, 1] * y (+ theta[:, :, 2] * z) + theta[:, :, -1]."""
    theta, size = build.operand(node, 0), constant_integers(build, node, 1)
    rank = 0 if size is None else len(size) - 2
    if size is None or rank not in (2, 3) or theta.shape != (size[0], rank, rank + 1):
        node.malformed(f"theta {list(theta.shape)} does not fit the size {size}")
    if min(size) < 1:
        node.malformed(f"the size {list(size)} is not positive")
    corners = bool(node.integer("align_corners", 0))

    def column(index: int) -> Tensor:
        attrs = SliceAttrs((0, 0, index), (1, 1, 1), (size[0], rank, 1))
        part = build.add(node, "Slice", (theta,), attrs)
        return build.reshaped(node, part, (size[0], *(1,) * rank, rank))

    grid = column(rank)
    for index in range(rank):  # x is the last axis
        axis = rank - 1 - index
        places = _places(size[2 + axis], corners)
        shape = tuple(-1 if i == axis else 1 for i in range(rank))
        along = build.constant(
            f"{node.name}/places_{index}", places.reshape(1, *shape, 1), theta.dtype
        )
        grid = build.binary(node, "Add", build.binary(node, "Mul", column(index), along), grid)
    return grid


def _places(size: int, corners: bool) -> Array:
    """The middles of `size` pixels between -1 and 1, or from corner to corner."""
    if corners:
        return np.linspace(-1, 1, size) if size > 1 else np.array([-1.0])
    return (2 * np.arange(size) + 1) / size - 1
