"""The sizes of a Winograd convolution: its passes, and where their values lie in the scratch."""

from dataclasses import dataclass
from typing import Any

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.kernels.nibbles import Unpacking
from tinyc.compiler.kernels.residual_sum import ResidualSum
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call
from tinyc.targets.intrinsics.winograd import GROUP, LANES, Form


@dataclass(frozen=True, slots=True)
class Functions:
    """The microkernels. weights: that make rows of transformed weights; none: they lie in flash."""

    strip: Microkernel
    columns: Microkernel
    rows: Microkernel
    weights: tuple[Microkernel, ...]
    products: Microkernel
    output: Microkernel


@dataclass(frozen=True, slots=True)
class Places:
    """Where things begin in the scratch, in words; t and strip share their place with sums and v.

    u      transformed inputs, for each group of tiles; t and strip: on the way there
    zeros  a word of the input's zero point
    tiles  the table of a pass: m + 1 words for each tile
    sums   products, of each group of tiles when the weights are made at run time
    v      weights that were made
    w      bytes of weights that lie packed in flash
    """

    u: int
    zeros: int
    tiles: int
    t: int
    strip: int
    sums: int
    v: int
    w: int
    end: int


NOWHERE = Places(0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Winograd:
    """A call's sizes, functions and buffers.

    tile_rows, tile_columns  of a pass
    groups                   of 4 input channels
    unpacked                 a view of the scratch: the bytes of two output channels
    """

    call: Call
    form: Form
    tile_rows: int
    tile_columns: int
    groups: int
    places: Places
    functions: Functions
    source: Any
    result: Any
    weights: Any
    parameters: Any
    scratch: Any
    residual: ResidualSum | None
    unpacking: Unpacking | None
    unpacked: Any

    @property
    def span(self) -> int:
        """Columns of the output that a pass computes."""
        return min(self.tile_columns * self.form.outputs, int(self.call.output.shape[2]))

    @property
    def t_words(self) -> int:
        """Of a row of tiles in t."""
        return self.t_columns * 2 * self.form.points

    @property
    def t_columns(self) -> int:
        """Columns of the input that a pass reads, padding included."""
        return (self.span - 1) * self.form.stride + 3

    @property
    def sums_words(self) -> int:
        """Of a group of tiles."""
        return self.form.positions * 2 * LANES

    @property
    def u_words(self) -> int:
        """Of a group of tiles."""
        return self.groups * self.form.positions * 2 * LANES

    @property
    def zero(self) -> int:
        """The byte of the input's zero point."""
        quant = self.call.inputs[0].quant
        return quant.zero_point[0] & 0xFF if quant else 0


def pass_of(form: Form, call: Call, schedule: Schedule) -> tuple[int, int]:
    """Rows and columns of tiles that are computed together: about `schedule.rows` tiles."""
    _, oh, ow, _ = call.output.shape
    across, down = -(-ow // form.outputs), -(-oh // form.outputs)
    tiles = schedule.rows or LANES
    return (1, tiles) if tiles < across else (min(max(tiles // across, 1), down), across)


def places_of(conv: Winograd) -> Places:
    """One after the other, except that what only one half of a pass needs shares its place."""
    form, count = conv.form, conv.tile_rows * conv.tile_columns
    lane_groups, parts = -(-count // LANES), len(conv.functions.weights)
    zeros = lane_groups * conv.u_words
    tiles = zeros + 1
    t = tiles + count * (form.outputs + 1)
    strip_ = t + conv.tile_rows * conv.t_words
    strip_end = strip_ + form.points * min(conv.t_columns, conv.call.inputs[0].shape[2])
    v = t + (lane_groups if parts else 1) * conv.sums_words
    v_words = conv.groups * form.weight_positions * GROUP // parts if parts else 0
    w = v + v_words
    end = w if conv.unpacking is None else w + conv.unpacking.bytes // 4
    return Places(0, zeros, tiles, t, strip_, t, v, w, max(strip_end, end))
