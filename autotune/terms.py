"""What a schedule of a layer does, as counts: products, blocks, turns of loops, what is left over.

Cycles are about a sum of these, each times what one takes on the core. Where a schedule leaves a
choice to the rule it counts as 1, or as what the kernel's blocks have.
"""

from math import ceil

from tinyc.autotune.schedule import Schedule
from tinyc.autotune.workload_sizes import Sizes

PAIRED = ("gemm-blocks", "row-blocks", "lanes")  # compute two channels together
GROUP = 4  # values that a turn takes at least
LANE_PIXELS = 6  # of a block of "lanes"
STRIDED_POINTS = 81 / 36  # products of a tile of F(4x4) with stride 2 for one with stride 1


def terms_of(sizes: Sizes, schedule: Schedule) -> list[float]:
    """As many for every schedule of an algorithm of one operator."""
    if "winograd" in schedule.algorithm:
        return _of_tiles(sizes, schedule)
    if sizes.is_depthwise:
        return _of_bands(sizes, schedule)
    return _of_matrix(sizes, schedule) if sizes.is_matrix else _of_blocks(sizes, schedule)


def turns_of(sizes: Sizes, schedule: Schedule) -> int:
    """Of the innermost loop, in groups of products; 0 where all of them are written out."""
    groups = ceil(sizes.depth / GROUP)
    return ceil(groups / schedule.unroll) if 0 < schedule.unroll < groups else 0


def _of_matrix(s: Sizes, schedule: Schedule) -> list[float]:
    """Products, blocks of channels by their loops, channels left over, results, inputs."""
    columns, unroll = schedule.columns or 1, schedule.unroll or 1
    blocks = s.pixels * ceil(s.channels / columns)
    rest = s.pixels * (s.channels % columns) * s.depth
    return [
        s.pixels * s.channels * s.depth, blocks * s.depth, blocks * ceil(s.depth / unroll), rest,
        blocks, s.pixels * s.channels, s.pixels * s.depth, 1,
    ]  # fmt: skip


def _of_bands(s: Sizes, schedule: Schedule) -> list[float]:
    """A band of rows of some channels after the other, whose input rows are gathered."""
    rows, columns = schedule.rows, schedule.columns or 1
    bands = ceil(s.height / rows) if rows else 1
    gathered = bands * ((min(rows, s.height) - 1) * s.stride + 3) if rows else s.height * s.stride
    sets, written = ceil(s.channels / columns), ceil(s.width / (2 * (schedule.unroll or 1)))
    return [
        s.pixels * s.channels * s.depth, s.pixels * s.channels,
        s.channels * ceil(s.width / 2) * s.height, gathered * s.width * s.stride * s.channels,
        gathered * s.channels, gathered * sets, bands * s.channels, bands * sets,
        s.height * s.channels, s.channels * s.height * written, s.height * sets, s.height,
        s.weights, s.pixels, s.pixels * s.stride**2 * s.channels, 1,
    ]  # fmt: skip


def _of_tiles(s: Sizes, schedule: Schedule) -> list[float]:
    """Winograd: transforms of tiles, products of four tiles together, passes, turns, weights made.

    Nothing that is the same for any number of channels: the layers on record have the more of them
    the smaller they are, and least squares would take a constant for that.
    """
    by_row = schedule.algorithm == "winograd-row"
    side = 4 if by_row or schedule.algorithm == "winograd-4" else 2
    across, down = ceil(s.width / side), s.height if by_row else ceil(s.height / side)
    passes, together = _passes(schedule, across, down)
    points = STRIDED_POINTS if s.stride == 2 else 1.0
    turns = ceil(s.inputs / (GROUP * (schedule.unroll or 1)))
    tiles, made = points * across * down, schedule.weights == "scratch"
    products, of_passes = points * together * s.channels, points * passes * s.channels
    return [
        products * s.inputs, tiles * s.inputs, tiles * s.channels, products,
        s.pixels * s.channels, s.pixels * s.channels * s.residual, of_passes * s.inputs * made,
        of_passes * turns, products * turns / GROUP, passes * s.channels,
        across * down * s.inputs * s.padded,
    ]  # fmt: skip


def _passes(schedule: Schedule, across: int, down: int) -> tuple[int, int]:
    """How many passes over the tiles, and the tiles they compute: they may be more."""
    rows = schedule.rows or GROUP
    if schedule.algorithm not in ("winograd-2", "winograd-4"):
        passes = down * ceil(across / rows)
        whole = schedule.algorithm in ("winograd-row", "float-winograd")
        return passes, passes * rows if whole else _whole(across * down)
    if rows < across:
        tiles = down * (across // rows * _whole(rows) + _whole(across % rows))
        return down * ceil(across / rows), tiles
    passes = ceil(down / min(max(rows // across, 1), down))
    return passes, passes * _whole(ceil(down / passes) * across)


def _whole(tiles: int) -> int:
    return ceil(tiles / GROUP) * GROUP


def _of_blocks(s: Sizes, schedule: Schedule) -> list[float]:
    """Blocks of pixels and channels: their loads, turns, ends; windows gathered; pixels left."""
    algorithm, unroll = schedule.algorithm, schedule.unroll or 1
    rows = LANE_PIXELS if algorithm == "lanes" else schedule.rows or 1
    columns = 2 if algorithm in PAIRED else schedule.columns or 1
    pixels, depth, channels = s.pixels, s.depth, s.channels
    down, sets, left = ceil(pixels / rows), ceil(channels / columns), pixels % rows
    blocks, windowed = down * sets, s.taps > 1
    return [
        pixels * channels * depth, pixels * channels, pixels * depth, pixels * depth * windowed,
        blocks * depth, down * channels * depth, pixels * sets * depth,
        blocks * ceil(depth / GROUP), blocks, blocks * turns_of(s, schedule),
        blocks * ceil(depth / unroll), down * channels, pixels * sets,
        (left > 0) * channels * depth, left * sets * depth, left * channels,
        down * depth, down, pixels, s.height, pixels * channels * s.residual, s.weights, channels,
        s.height * depth * windowed, channels % (schedule.columns or 1) * pixels * depth,
        channels % 2 * pixels * depth, (depth % GROUP > 0) * blocks, 1,
    ]  # fmt: skip
