"""Operators that read at computed places: GridSample, DeformConv, RoiAlign; and Col2Im."""

import math

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import.arguments import constant_integers
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.onnx_import.window import steps_of, window_of
from tinyc.compiler.ops.col2im import Col2ImAttrs
from tinyc.compiler.ops.deform_conv import DeformConvAttrs
from tinyc.compiler.ops.grid_sample import GridSampleAttrs
from tinyc.compiler.ops.roi_align import RoiAlignAttrs
from tinyc.compiler.ops.sampling import PADDINGS

MODES = {
    "linear": "linear", "bilinear": "linear", "nearest": "nearest",
    "cubic": "cubic", "bicubic": "cubic",
}  # fmt: skip


def read_grid_sample(build: Builder, node: ModelNode) -> Tensor:
    x, grid = build.operand(node, 0), build.operand(node, 1)
    mode, padding = node.text("mode", "linear"), node.text("padding_mode", "zeros")
    if mode not in MODES or padding not in PADDINGS:
        node.malformed(f"mode is '{mode}', padding_mode '{padding}'")
    rank = len(x.shape) - 2
    if rank < 1 or len(grid.shape) != len(x.shape) or grid.shape[-1] != rank:
        node.malformed(f"a grid {list(grid.shape)} for an input {list(x.shape)}")
    if grid.shape[0] != x.shape[0]:
        node.malformed(f"{grid.shape[0]} grids for {x.shape[0]} images")
    attrs = GridSampleAttrs(MODES[mode], padding, bool(node.integer("align_corners", 0)))
    return build.add(node, "GridSample", (x, grid), attrs)


def read_deform_conv(build: Builder, node: ModelNode) -> Tensor:
    x, w, offset = (build.operand(node, i) for i in range(3))
    bias, mask = build.optional(node, 3), build.optional(node, 4)
    group, shares = node.integer("group", 1), node.integer("offset_group", 1)
    if len(x.shape) != 4:
        node.refuse(f"{len(x.shape) - 2} spatial axes are not supported, only two")
    if len(w.shape) != 4 or min(group, shares) < 1 or w.shape[1] * group != x.shape[1]:
        node.malformed(f"weights {list(w.shape)} in {group} groups for {x.shape[1]} channels")
    window = window_of(node, x.shape[2:], w.shape[2:], ceil=False)
    outputs, cells = window.outputs(x.shape[2:]), shares * math.prod(w.shape[2:])
    given = [(offset, (x.shape[0], 2 * cells, *outputs))]
    given += [] if bias is None else [(bias, w.shape[:1])]
    given += [] if mask is None else [(mask, (x.shape[0], cells, *outputs))]
    for tensor, shape in given:
        if tensor.shape != shape:
            node.malformed(f"an input is {list(tensor.shape)}, it must be {list(shape)}")
    if w.shape[0] % group or x.shape[1] % shares:
        node.malformed(f"{group} groups or {shares} offset groups do not divide the channels")
    attrs = DeformConvAttrs(
        (window.strides[0], window.strides[1]), (window.before[0], window.before[1]),
        (window.dilations[0], window.dilations[1]), group, shares, bias is not None,
        mask is not None,
    )  # fmt: skip
    return build.add(node, "DeformConv", (x, w, *(t for t, _ in given)), attrs)


def read_roi_align(build: Builder, node: ModelNode) -> Tensor:
    x, regions, images = (build.operand(node, i) for i in range(3))
    if len(x.shape) != 4 or regions.shape[1:] != (4,) or images.shape != regions.shape[:1]:
        node.malformed(f"regions {list(regions.shape)} for an input {list(x.shape)}")
    if images.dtype != "int64":
        node.malformed(f"the batch indices are {images.dtype}, they must be int64")
    size = (node.integer("output_height", 1), node.integer("output_width", 1))
    mode, samples = node.text("mode", "avg").lower(), node.integer("sampling_ratio", 0)
    whole = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    coordinates = node.text("coordinate_transformation_mode", whole).lower()
    if min(size) < 1 or samples < 0 or mode not in ("avg", "max"):
        node.malformed(f"mode '{mode}', size {list(size)}, {samples} samples")
    attrs = RoiAlignAttrs(
        size, node.real("spatial_scale", 1.0), samples, mode == "max", coordinates == "half_pixel"
    )
    return build.add(node, "RoiAlign", (x, regions, images), attrs)


def read_col2im(build: Builder, node: ModelNode) -> Tensor:
    x = build.operand(node, 0)
    image, block = constant_integers(build, node, 1), constant_integers(build, node, 2)
    if not image or not block or len(image) != len(block) or min(*image, *block) < 1:
        node.malformed("the shapes of image and block do not fit together")
    strides, dilations, pads = steps_of(node, block, len(image))
    rank = len(image)
    blocks = tuple(
        (image[i] + pads[i] + pads[i + rank] - (block[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(rank)
    )
    fits = len(x.shape) == 3 and x.shape[2] == math.prod(blocks)
    if not fits or min(blocks) < 1 or x.shape[1] % math.prod(block):
        node.malformed(f"{list(x.shape)} are not {list(blocks)} blocks of {list(block)}")
    attrs = Col2ImAttrs(image, block, blocks, strides, pads[:rank], dilations)
    return build.add(node, "Col2Im", (x,), attrs)
