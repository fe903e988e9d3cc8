"""What `tinyc plan` finds: the plans of a model that are worth a choice."""

from dataclasses import dataclass, field

from tinyc.compiler.artifact import Source
from tinyc.compiler.memory_map import MemoryMap
from tinyc.targets.firmware import Io


@dataclass(frozen=True, slots=True)
class Point:
    """A plan: the kernels of a model, and which of its layers run row by row.

    arena_bytes        exact
    arena_bound_bytes  no offsets need less, as far as it is proved
    cycles             of the layers that have a choice of kernels, and of running row by row
    source             where the cycles are from
    flash_bytes        about: tables and code
    fits               whether the target has that much RAM and flash
    streams            the layers of each stage that runs row by row
    peak               the layers at which most of the arena is in use
    modes              the values of --optimize that choose it
    """

    arena_bytes: int
    arena_bound_bytes: int
    cycles: int
    source: Source
    flash_bytes: int
    fits: bool
    streams: tuple[tuple[str, ...], ...]
    peak: tuple[str, ...]
    modes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plans:
    """The front of a model: those that a mode chooses, and those that no other one beats.

    points    the least arena first
    optimize  the mode whose plan `map` shows
    """

    model: str
    target: str
    io: Io
    optimize: str
    points: tuple[Point, ...]
    map: MemoryMap = field(repr=False)
