"""The tables of a Winograd convolution on cores that multiply one product at a time."""

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.accumulate import centred, folded_bias, output_requantization
from tinyc.compiler.ops.clamp import stored_bounds
from tinyc.compiler.ops.op import Call
from tinyc.targets.intrinsics.doubled import bounds, doubled
from tinyc.targets.intrinsics.riscv_winograd import BLOCK, CHANNEL_BYTES

MOST_TRANSFORMED_BYTES = 8192  # of weights that lie transformed in flash by the rule


def blocks_of(oc: int) -> int:
    return -(-oc // BLOCK)


def channels_of_blocks(oc: int) -> Array:
    """The output channels of all blocks; the last one begins earlier where they are not whole."""
    starts = np.minimum(np.arange(blocks_of(oc)) * BLOCK, oc - BLOCK)
    return np.asarray((starts[:, None] + np.arange(BLOCK)).reshape(-1))


def limits_of(stage: Call) -> Array:
    """Those of the results of `stage`."""
    low, high = stored_bounds(stage.output, stage.attrs.clamp)
    assert stage.output.quant is not None
    return read_only(np.array(bounds(stage.output.quant.zero_point[0], low, high)), "int32")


def channel_table(stage: Call) -> Array:
    """Four biases and four doubled multipliers for every block of output channels."""
    w = stage.inputs[1]
    assert w.data is not None
    oc = w.shape[0]
    bias = folded_bias(stage, centred(w.data, w).reshape(oc, -1))
    multipliers = doubled(output_requantization(stage), oc).view("<i4")
    blocks = [a[channels_of_blocks(oc)].reshape(-1, 1, BLOCK) for a in (bias, multipliers)]
    return read_only(np.concatenate(blocks, axis=1).reshape(-1))


def rule_of_weights(oc: int, ic: int) -> str:
    """Transformed in flash where they are few."""
    flash_bytes = blocks_of(oc) * ic * CHANNEL_BYTES
    return "flash" if flash_bytes <= MOST_TRANSFORMED_BYTES else "scratch"
