"""Operators over spatial axes, of any rank: cases in families, a case on a line."""

from typing import Any

import numpy as np

from tinyc.compiler.graph import Array

RNG = np.random.default_rng(3)
Case = tuple[str, list[Any], dict[str, Any]]


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def reals(*values: float) -> Array:
    return np.array(values, np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def case(op: str, *operands: Any, **attributes: Any) -> Case:
    """Operands: a shape is an input, an array a constant, None is left out."""
    return op, list(operands), attributes


def resize(shape: tuple[int, ...], scales: Array | None, sizes: Array | None = None,
           roi: Array | None = None, **attributes: Any) -> Case:  # fmt: skip
    return case("Resize", shape, roi, scales, sizes, **attributes)


CONVOLUTIONS: dict[str, Case] = {
    "weights at run time": case("Conv", (1, 4, 5, 6), (3, 4, 3, 2), (3,), pads=[1, 0, 2, 1]),
    "weights at run time, 1-D, groups": case("Conv", (2, 4, 9), (6, 2, 3), group=2, strides=[2]),
    "constant weights, bias at run time": case("Conv", (1, 2, 5, 5), floats(3, 2, 3, 3), (3,)),
    "3-D": case("Conv", (1, 2, 5, 4, 6), floats(5, 2, 3, 2, 2), floats(5), strides=[2, 1, 2],
                pads=[1, 0, 1, 0, 1, 2], dilations=[1, 2, 1]),
    "3-D, depthwise": case("Conv", (2, 3, 3, 4, 3), floats(3, 1, 2, 2, 2), group=3),
    "3-D, same lower": case("Conv", (1, 1, 4, 5, 3), floats(1, 1, 2, 3, 2), auto_pad="SAME_LOWER"),
    "transposed": case("ConvTranspose", (1, 3, 4, 5), floats(3, 5, 3, 3), floats(5), strides=[2, 2],
                       pads=[1, 1, 1, 1], output_padding=[1, 0]),
    "transposed, dense stride": case("ConvTranspose", (1, 3, 4, 5), floats(3, 2, 3, 2)),
    "transposed, groups": case("ConvTranspose", (2, 4, 3, 4), floats(4, 3, 2, 2), floats(6), group=2,
                               strides=[2, 2]),
    "transposed, depthwise": case("ConvTranspose", (1, 4, 3, 4), floats(4, 1, 4, 4), group=4,
                                  strides=[2, 2], pads=[1] * 4),
    "transposed, dilated": case("ConvTranspose", (1, 2, 4, 4), floats(2, 2, 3, 2), dilations=[2, 3],
                                strides=[3, 2], pads=[1, 2, 0, 1]),
    "transposed, stride over kernel": case("ConvTranspose", (1, 2, 3, 3), floats(2, 3, 2, 2),
                                           strides=[3, 4]),
    "transposed, 1-D": case("ConvTranspose", (1, 3, 7), floats(3, 2, 5), strides=[3], pads=[2, 1]),
    "transposed, 3-D": case("ConvTranspose", (1, 2, 2, 3, 2), floats(2, 3, 2, 3, 2), strides=[2, 1, 2]),
    "transposed, same": case("ConvTranspose", (1, 1, 3, 3), floats(1, 2, 3, 3), strides=[2, 2],
                             auto_pad="SAME_UPPER"),
    "transposed, output shape": case("ConvTranspose", (1, 1, 3, 3), floats(1, 2, 3, 3), strides=[3, 2],
                                     output_shape=[8, 8], output_padding=[0, 1]),
    "transposed, at run time": case("ConvTranspose", (1, 4, 3, 3), (4, 2, 3, 3), (4,), group=2),
}  # fmt: skip
POOLS: dict[str, Case] = {
    "max 3-D": case("MaxPool", (1, 2, 5, 4, 6), kernel_shape=[3, 2, 2], strides=[2, 1, 2],
                    pads=[1, 0, 1, 1, 1, 0], ceil_mode=1),
    "max 3-D, dilated": case("MaxPool", (2, 2, 5, 5, 5), kernel_shape=[2, 2, 2], dilations=[2, 1, 3]),
    "average 3-D": case("AveragePool", (1, 2, 5, 4, 6), kernel_shape=[3, 2, 2], strides=[2, 2, 2],
                        pads=[1, 1, 1, 1, 0, 1]),
    "average 3-D, padding counts": case("AveragePool", (1, 2, 5, 4, 6), kernel_shape=[3, 3, 3],
                                        pads=[1] * 6, count_include_pad=1),
    "average, padding counts, ceil": case("AveragePool", (1, 2, 6, 7), kernel_shape=[3, 3], ceil_mode=1,
                                          strides=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1),
    "lp": case("LpPool", (1, 3, 6, 5), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], p=3),
    "lp 1-D": case("LpPool", (1, 3, 6), kernel_shape=[2], p=1),
    "global lp": case("GlobalLpPool", (1, 3, 4, 5)),
    "global lp 3-D": case("GlobalLpPool", (2, 2, 3, 2, 2), p=1),
    "global average 3-D": case("GlobalAveragePool", (1, 3, 2, 3, 4)),
    "global max 1-D": case("GlobalMaxPool", (1, 3, 7)),
}  # fmt: skip
RESIZES: dict[str, Case] = {
    "nearest": resize((1, 2, 3, 4), reals(1, 1, 2, 3)),
    "nearest, smaller": resize((1, 2, 7, 5), None, ints(1, 2, 3, 4)),
    "floor, asymmetric": resize((1, 2, 3, 5), reals(1, 1, 2.5, 0.7), mode="nearest",
                                nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
    "ceil, corners": resize((1, 2, 5, 4), None, ints(1, 2, 8, 7), nearest_mode="ceil",
                            coordinate_transformation_mode="align_corners"),
    "prefer ceil": resize((1, 1, 4, 6), reals(1, 1, 1.5, 0.5), nearest_mode="round_prefer_ceil",
                          coordinate_transformation_mode="pytorch_half_pixel"),
    "linear": resize((1, 3, 4, 5), reals(1, 1, 2, 2), mode="linear"),
    "linear, odd sizes": resize((1, 2, 5, 4), None, ints(1, 2, 7, 3), mode="linear"),
    "linear, corners": resize((1, 2, 3, 5), None, ints(1, 2, 6, 1), mode="linear",
                              coordinate_transformation_mode="align_corners"),
    "linear 1-D": resize((1, 2, 5), reals(1, 1, 2), mode="linear",
                         coordinate_transformation_mode="asymmetric"),
    "linear, 3 axes": resize((1, 1, 3, 2, 4), reals(1, 1, 2, 3, 0.5), mode="linear"),
    "linear of one element": resize((1, 2, 1, 1), None, ints(1, 2, 3, 4), mode="linear"),
    "cubic": resize((1, 2, 4, 5), reals(1, 1, 2, 1.6), mode="cubic"),
    "cubic, inside only": resize((1, 1, 6, 5), reals(1, 1, 0.8, 2), mode="cubic", cubic_coeff_a=-0.5,
                                 exclude_outside=1),
    "linear, antialias": resize((1, 1, 9, 7), None, ints(1, 1, 4, 3), mode="linear", antialias=1),
    "axes": resize((2, 4, 5, 3), None, ints(3, 7), axes=[3, 1], mode="linear",
                   keep_aspect_ratio_policy="not_larger"),
    "crop": resize((1, 1, 6, 6), None, ints(1, 1, 4, 3), reals(0, 0, 0.2, 0.4, 1, 1, 1.2, 0.8),
                   mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
                   extrapolation_value=10.0),
}  # fmt: skip
GRID = np.random.default_rng(2).uniform(-1.6, 1.6, (2, 4, 3, 2)).astype(np.float32)
SAMPLERS: dict[str, Case] = {
    **{
        f"grid, {mode}, {padding}, {corners}": case(
            "GridSample", (2, 2, 4, 5), GRID, mode=mode, padding_mode=padding, align_corners=corners)
        for mode in ("linear", "nearest", "cubic")
        for padding in ("zeros", "border", "reflection")
        for corners in (0, 1)
    },
    "grid, 3-D": case("GridSample", (1, 2, 3, 4, 2), RNG.uniform(-1.2, 1.2, (1, 2, 3, 2, 3)).astype(
        np.float32), mode="linear", padding_mode="border"),
    "affine grid": case("AffineGrid", (2, 2, 3), ints(2, 3, 4, 5)),
    "affine grid, 3-D, corners": case("AffineGrid", (1, 3, 4), ints(1, 1, 2, 3, 4), align_corners=1),
    "regions": case("RoiAlign", (2, 3, 8, 9), reals(0, 0, 7, 6, 1.5, 2, 5, 12, -3, -1, 2, 3).reshape(3, 4),
                    ints(0, 1, 1), output_height=3, output_width=2, spatial_scale=0.8, sampling_ratio=2),
    "regions, adaptive": case("RoiAlign", (1, 2, 8, 9), reals(0, 0, 7, 6, 3, 2, 3, 2).reshape(2, 4),
                              ints(0, 0), output_height=2, output_width=3,
                              coordinate_transformation_mode="output_half_pixel"),
    "deformed": case("DeformConv", (1, 4, 6, 5), floats(6, 2, 3, 2), floats(1, 24, 6, 5), floats(6),
                     floats(1, 12, 6, 5), group=2, offset_group=2, pads=[1, 0, 1, 1]),
    "blocks": case("Col2Im", (1, 12, 12), ints(5, 4), ints(2, 3), strides=[1, 2], pads=[0, 1, 0, 2],
                   dilations=[1, 1]),
}  # fmt: skip
FAMILIES = {"convolutions": CONVOLUTIONS, "pools": POOLS, "resizes": RESIZES, "samplers": SAMPLERS}
