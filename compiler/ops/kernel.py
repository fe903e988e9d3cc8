"""A kernel: TensorIR, and what it needs beside the activations."""

from dataclasses import dataclass
from typing import Any

from tinyc.compiler.graph import Array


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A table that the kernel reads, as it lies in flash.

    role   what it is, a word for its C name and comment: "weights", "bias", "multipliers"
    array  1-D, read-only; NumPy's dtype is the C element type
    """

    role: str
    array: Array


@dataclass(frozen=True, slots=True)
class Microkernel:
    """A C function that kernels call by name, with its own comment; text is shared by equal name.

    needs  names of other microkernels come first, each with its text
    """

    name: str
    text: str
    needs: tuple["Microkernel", ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """One node's code and data.

    function       TensorIR; its parameters in this order: one flat buffer for each activation
                   input, for each output, for each of `constants`, for the scratch (when there
                   is any), then `row_begin` and `row_end` (when `rows` is not 0)
    name           what the C function is called when it is the first with this text: "conv2d_3x3"
    constants      tables in flash
    scratch_bytes  working memory from the arena during the call, aligned like every buffer
    microkernels   C functions that `function` calls
    rows           output rows that row_begin..row_end counts; 0: no row range
    band           rows from row_begin on that are computed together, in any order
    accumulates    `rows` counts rows of the input: each call takes some into the scratch, which
                   lives from the first call to the last; the call that ends with `rows` writes
                   the output
    gathers        what a band needs of the first input is read before any of its outputs is
                   written
    in_place       the output may lie exactly over the first input, of as many bytes: what a value
                   is written over was read before
    float_code     whether it computes with floats
    note           one line for the report: the algorithm and block ("gemm 4x2, smlad")
    """

    name: str
    function: Any
    constants: tuple[Constant, ...] = ()
    scratch_bytes: int = 0
    microkernels: tuple[Microkernel, ...] = ()
    rows: int = 0
    band: int = 1
    accumulates: bool = False
    gathers: bool = False
    in_place: bool = False
    float_code: bool = False
    note: str = "plain C"
