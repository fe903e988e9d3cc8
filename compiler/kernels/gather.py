"""Gathering a convolution's window as a column of values (im2col of one pixel)."""

from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.op import Call


def gather_window(
    call: Call, source: Any, scratch: Any, n: Any, oy: Any, ox: Any, g: Any, to: Any
) -> list[Any]:
    """The window of pixel (oy, ox) of image `n`, channels of group `g`, at scratch[to...]."""
    x, a = call.inputs[0], call.attrs
    _, h, w, c = x.shape
    _, kh, kw, ic = call.inputs[1].shape
    zero = x.quant.zero_point[0] & 0xFF if x.quant else 0
    first_x = ox * a.strides[1] - a.pads[1]

    def move(iy: Any, ix: Any, at: Any, count: int) -> Any:
        window = loops.pointer(source, ((n * h + iy) * w + ix) * c + g * ic)
        size = loops.const(count * x.dtype.size)
        return loops.run("memcpy", loops.pointer(scratch, at), window, size)

    def fill(at: Any, count: int) -> Any:
        size = loops.const(count * x.dtype.size)
        return loops.run("memset", loops.pointer(scratch, at), loops.const(zero), size)

    def cells(iy: Any, at: Any) -> Any:
        def cell(j: Any) -> list[Any]:
            ix = first_x + j * a.dilations[1]
            inside = loops.every([ix >= 0, ix < w])
            if not (a.pads[1] or a.pads[3]):
                return [move(iy, ix, at + j * ic, ic)]
            return [loops.when(inside, [move(iy, ix, at + j * ic, ic)], [fill(at + j * ic, ic)])]

        return loops.loop("j", kw, cell)

    def line(i: Any) -> list[Any]:
        iy = oy * a.strides[0] + i * a.dilations[0] - a.pads[0]
        at = to + i * (kw * ic)
        one_run = a.dilations[1] == 1 and a.groups == 1
        if not one_run:
            inside = [cells(iy, at)]
        elif a.pads[1] or a.pads[3]:
            within = loops.every([first_x >= 0, first_x <= w - kw])
            inside = [loops.when(within, [move(iy, first_x, at, kw * ic)], [cells(iy, at)])]
        else:
            inside = [move(iy, first_x, at, kw * ic)]
        if not (a.pads[0] or a.pads[2]):
            return inside
        return [loops.when(loops.every([iy >= 0, iy < h]), inside, [fill(at, kw * ic)])]

    return [loops.loop("i", kh, line)]
