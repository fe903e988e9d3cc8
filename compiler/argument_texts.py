"""How the texts of options are read: sizes, shapes, frequencies."""

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable

HERTZ = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
BYTES = {"": 1, "k": 1024, "K": 1024, "M": 1024 * 1024}


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"'{text}' is not a number of {least} or more")
        return int(text)

    return read


def _real(meant: Callable[[float], bool], what: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not meant(value):
            raise ArgumentTypeError(f"'{text}' is {what}")
        return value

    return read


positive = _whole(1)
count = _whole(0)
points = _real(lambda value: 0 <= value < math.inf, "not a number of points of 0 or more")
minutes = _real(lambda value: 0 < value < math.inf, "not a number of minutes above 0")
percent = _real(lambda value: 0 < value <= 100, "no percentage above 0")


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`x=1,3,96,96`; names may hold `:` and `=`."""
    name, _, texts = text.rpartition("=")
    try:
        sizes = tuple(int(size) for size in texts.split(","))
    except ValueError:
        sizes = ()
    if not name or not sizes or min(sizes) < 1:
        raise ArgumentTypeError(f"'{text}' is not NAME=SIZE,SIZE,... as in x=1,3,96,96")
    return name, sizes


def dim(text: str) -> tuple[str, int]:
    """`batch=1`."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal() or int(size) < 1:
        raise ArgumentTypeError(f"'{text}' is not NAME=SIZE as in batch=1")
    return name, int(size)


def byte_count(text: str) -> int:
    """`24K` in bytes."""
    match = re.fullmatch(r"([0-9]+)([kKM]?)", text)
    if match is None or int(match[1]) == 0:
        raise ArgumentTypeError(f"'{text}' is not a number of bytes as in 24K or 1M")
    return int(match[1]) * BYTES[match[2]]


def frequency(text: str) -> float:
    """`120MHz` in Hz."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)Hz", text)
    hertz = 0.0 if match is None else float(match[1]) * HERTZ[match[2]]
    if not hertz:
        raise ArgumentTypeError(f"'{text}' is not a frequency as in 120MHz or 32.5kHz")
    return hertz
