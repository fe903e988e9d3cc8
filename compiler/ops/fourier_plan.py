"""What a Fourier transform is made of: the radices of its stages, the order of values, turns."""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array, read_only
from tinyc.compiler.ops.op import Call


@dataclass(frozen=True, slots=True)
class FourierAttrs:
    """axis      of the transform, >= 0; the last one holds real, or real and imaginary parts
    length    of the transform; lines are cut to it, or continued by zeros
    onesided  length // 2 + 1 values are written; where inverse, as many are read and the result
              is real
    step      0; else the axis is the signal's, and a frame of `length` begins at every multiple:
              frames are an axis before it
    """

    axis: int
    length: int
    inverse: bool = False
    onesided: bool = False
    step: int = 0

    @property
    def half(self) -> int:
        return self.length // 2 + 1


def factors(n: int) -> tuple[int, ...]:
    """The radices of a transform of n values, in the order of its stages; fours where possible."""
    found, rest = [], n
    for radix in (4, 2, *range(3, n + 1, 2)):
        while rest % radix == 0:
            found.append(radix)
            rest //= radix
    return tuple(found)


def order(n: int, radices: tuple[int, ...]) -> Array:
    """Which value of a line each place of the in-place transform begins with."""
    if not radices:
        return np.zeros(1, np.int64)
    last = radices[-1]
    inner = order(n // last, radices[:-1])
    return np.concatenate([j + last * inner for j in range(last)])


def turns(length: int) -> tuple[Array, int]:
    """cos(2 pi i / length), and how far behind it the table has -sin(2 pi i / length)."""
    quarter = length // 4 if length % 4 == 0 else length
    angles = np.arange(length + length // 4) * (2 * np.pi / length)
    cosines = np.cos(angles)
    if length % 4:
        cosines = np.concatenate([np.cos(angles[:length]), -np.sin(angles[:length])])
    return read_only(cosines.astype(np.float32)), quarter


@dataclass(frozen=True, slots=True)
class Line:
    """The transform of one line: what is known of all lines.

    given    values of the input that a line reads at most
    count    complex values that are transformed
    paired   two real values are loaded as one complex one
    """

    given: int
    count: int
    paired: bool
    parts: int
    attrs: FourierAttrs

    @property
    def mirrored(self) -> bool:
        """Whether the values behind the middle are those before it, conjugated."""
        return self.attrs.inverse and self.attrs.onesided

    @property
    def work(self) -> int:
        """Complex values that the transform needs room for."""
        return self.count + self.paired


def line_of(call: Call) -> Line:
    a, x = call.attrs, call.inputs[0]
    parts, available = x.shape[-1], x.shape[a.axis]
    given = a.length if a.step else min(a.length, available)
    if a.inverse and a.onesided:
        given = min(a.half, available)
    paired = parts == 1 and not a.inverse and a.length % 2 == 0
    return Line(given, a.length // 2 if paired else a.length, paired, parts, a)
