"""A compiled model as a program, and the names that its main.c gives things."""

from dataclasses import dataclass
from typing import Literal

from tinyc.targets.toolchain import Files

# Where inputs and outputs live; "rows": as "arena", but the caller hands in the input row by row
Io = Literal["caller", "arena", "rows"]
Weights = Literal["c", "incbin", "bin"]  # C, an included binary, or a binary that is not linked


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its C name, element type and size in bytes.

    arena  the one that it lies in with `io` "arena", of Program.arenas
    rows  that it is handed in by, one after the other; 0: it is one piece
    """

    c_name: str
    c_type: str
    bytes: int
    arena: str = "arena"
    rows: int = 0

    @property
    def length(self) -> str:
        """How many elements it has, in C, where an array has one at least."""
        return f"{self.bytes}u / sizeof({self.c_type})" if self.bytes else "1"


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The generated files, and what is needed to call them.

    sources  the files, with <prefix>.h among them
    inputs, outputs  in the order of the arguments of <prefix>_run
    io       "caller": arguments are arrays; "arena": accessors give pointers into the arena;
             "rows": they do of the outputs, and the input is handed in row by row
    weights  "bin": <prefix>_weights.bin is an argument too
    arenas   one in each memory: `arena_psram` has the type <prefix>_arena_psram
    state_bytes  of the state of a streaming model, whose samples are the calls of one sequence
    """

    prefix: str
    sources: Files
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    io: Io
    weights: Weights = "c"
    arenas: tuple[str, ...] = ("arena",)
    state_bytes: int = 0

    @property
    def carried(self) -> tuple[tuple[str, int], ...]:
        """Symbols whose bytes, so many, pass from one sample to the next."""
        return ((STATE, self.state_bytes), (BEGUN, 4)) if self.state_bytes else ()

    @property
    def callers(self) -> tuple[str, ...]:
        """The functions that call the kernels, by symbol."""
        return callers_of(self.prefix, self.io)


def callers_of(prefix: str, io: Io) -> tuple[str, ...]:
    """With io "rows" <prefix>_run is the main.c's."""
    names = ("run", "begin", "push_row", "finish") if io == "rows" else ("run",)
    return tuple(f"{prefix}_{name}" for name in names)


BEGIN, END = "bench_begin", "bench_end"  # the calls around the inference, by symbol
AROUND = frozenset({"main", BEGIN, END})  # functions that are no part of the inference
STATE, BEGUN = "tinyc_state", "tinyc_begun"  # of a streaming model, and whether it was reset


def input_symbol(index: int) -> str:
    """The C array that holds an input of the program."""
    return f"tinyc_input_{index}"


def output_symbol(index: int) -> str:
    """The C array that holds an output of the program."""
    return f"tinyc_output_{index}"
