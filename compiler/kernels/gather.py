"""Gathering a convolution's window as a column of values (im2col of one pixel)."""

from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.op import Call


def gather_window(
    call: Call, source: Any, scratch: Any, n: Any, oy: Any, ox: Any, g: Any, to: Any
) -> list[Any]:
    """The window of pixel (oy, ox) of image `n`, channels of group `g`, at scratch[to...]."""
    x, a = call.inputs[0], call.attrs
    _, h, w, c = x.shape
    _, kh, kw, ic = call.inputs[1].shape
    stored = x.quant.zero_point[0] if x.quant else 0
    zero = stored & 0xFF
    one_byte = x.dtype.size == 1 or stored == 0  # whose bytes are all the same
    first_x = ox * a.strides[1] - a.pads[1]

    def move(iy: Any, ix: Any, at: Any, count: int) -> Any:
        window = loops.pointer(source, ((n * h + iy) * w + ix) * c + g * ic)
        size = loops.const(count * x.dtype.size)
        return loops.run("memcpy", loops.pointer(scratch, at), window, size)

    def fill(at: Any, count: int) -> Any:
        if not one_byte:
            padding = loops.const(stored, x.dtype)
            return loops.loop("z", count, lambda z: [loops.store(scratch, at + z, padding)])
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


def window_row() -> Microkernel:
    """`tinyc_window_row(image, h, w, c, iy, ix, columns, zero, strip)`: where the row's bytes are.

    iy, ix  the first pixel, maybe outside; columns of c bytes each
    zero    the stored value of the padding
    strip   columns * c bytes that the row is written to where it leaves the image
    """
    return Microkernel("tinyc_window_row", WINDOW_ROW)


WINDOW_ROW = """\
/* `columns` pixels of an image row from (iy, ix) on: in the image, or padded in the strip. */
static __attribute__((noinline)) const int8_t *tinyc_window_row(const int8_t *image, int32_t h,
    int32_t w, int32_t c, int32_t iy, int32_t ix, int32_t columns, int32_t zero, int8_t *strip) {
  const int32_t begin = tinyc_max(ix, 0);
  const int32_t end = tinyc_min(ix + columns, w);
  const bool inside = (iy >= 0) && (iy < h);
  if (inside && (end - begin == columns)) {
    return &image[((iy * w) + ix) * c];
  }
  if (!inside || (begin >= end)) {
    memset(strip, zero, (uint32_t)(columns * c));
    return strip;
  }
  if (begin > ix) {
    memset(strip, zero, (uint32_t)((begin - ix) * c));
  }
  memcpy(&strip[(begin - ix) * c], &image[((iy * w) + begin) * c], (uint32_t)((end - begin) * c));
  if (end < ix + columns) {
    memset(&strip[(end - ix) * c], zero, (uint32_t)((ix + columns - end) * c));
  }
  return strip;
}
"""
