"""What a compilation leaves behind: files, the model's interface, and the report."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import DType, QParams, Shape
from tinyc.compiler.json_text import json_text
from tinyc.targets.firmware import Io, Weights
from tinyc.targets.toolchain import Files, encoded

Source = Literal["measured", "estimated", "unknown"]  # of cycles that were not run
Road = Literal["own", "function", "tvm"]  # how an operator of the model was compiled


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the model as C sees it.

    name    in the model; c_name is the parameter's (caller) or accessor's (arena) name
    offset  bytes into the arena with --io arena, else None
    arena   the arena's name in C
    rows    that the caller hands in one by one; 0: it has the whole
    """

    name: str
    c_name: str
    shape: Shape
    dtype: DType
    quant: QParams | None
    elements: int
    offset: int | None = None
    arena: str = "arena"
    rows: int = 0

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.size


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel call, in execution order.

    name            of the node in the model; several where they were fused, joined by " + "
    function        the C function; layers of equal code share one
    kernel          algorithm and block
    macs            multiply-accumulates
    weights_bytes   tables in flash: weights, bias, multipliers
    scratch_bytes   working memory in the arena during the call
    arena           bytes [begin, end) of each activation and of the scratch that lie in the arena;
                    of an activation between layers of a stage, those of its window
    regions         the memory of each of those, where they are in several
    blocks          C functions that the kernel calls, which other layers may call too
    stage           number of the stage that it belongs to; layers of one stage run row by row
    rows_per_call   output rows of one call; 0: all of them
    schedule        what the kernel's schedule says; nothing where there is no choice
    cycles          of this schedule by tuning records: "measured" on this very workload, or
                    "estimated" from others; None when `cycles_source` is "unknown"
    road            "own": by a kernel for this operator; "function": a part of the body that ONNX
                    defines the model's operator by; "tvm": as TVM computes it
    operator        of the model, where the road is not "own"
    """

    name: str
    op: str
    function: str
    kernel: str
    output_shape: Shape
    macs: int
    weights_bytes: int
    scratch_bytes: int
    arena: Mapping[str, tuple[int, int]]
    blocks: tuple[str, ...]
    stage: int
    rows_per_call: int
    schedule: Mapping[str, str | int] = field(default_factory=dict)
    cycles: int | None = None
    cycles_source: Source = "unknown"
    regions: Mapping[str, str] = field(default_factory=dict)
    road: Road = "own"
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory of the target, and what the model has in it.

    kind         "ram" or "flash"
    wait_cycles  that an access takes on top of the core's own, about
    arena        the arena's name in C; "" where there is none
    arena_bytes, tables_bytes  exact; code, which lies in flash, comes on top
    accesses     bytes of both that a run reads and writes, estimated from shapes
    waits        cycles that a run waits for them, about
    """

    name: str
    kind: str
    bytes: int
    wait_cycles: int
    arena: str
    arena_bytes: int
    tables_bytes: int
    accesses: int
    waits: int


@dataclass(frozen=True, slots=True)
class Mode:
    """What one value of --optimize would cost: the layers that have a choice of schedules.

    cycles       of these layers, each measured alone, or estimated where `source` says so
    flash_bytes  estimated: their tables and code, and 2 KB for the rest
    arena_bytes  estimated: activations and scratch of the largest step
    """

    optimize: str
    cycles: int
    flash_bytes: int
    arena_bytes: int
    source: Source


@dataclass(frozen=True, slots=True)
class FloatNode:
    """A node that computes with floats in a model that has quantized nodes."""

    name: str
    op: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the model costs, as far as it is known without running it.

    arena_bytes        working memory of one inference, exact; of that in the fastest memory, where
                       there are several: see `memories`
    arena_bound_bytes  no plan for this schedule is smaller
    weights_bytes      tables, exact: in flash, where code comes on top, or in a file of their own
    peak               the layers at which most bytes of the arena are in use
    optimize           the mode that the kernels were chosen for, of `modes`
    weights            "c", "incbin": tables are linked; "bin": they are in <model>_weights.bin
    memory_check       with --check-memory: the plan executed on tagged bytes: "calls" of kernels,
                       "read_bytes", each of which held what it should, and "written_bytes"
    state_bytes        of the struct that a streaming model remembers; 0: there is none
    first_calls        of a sequence, after which a streaming model has its first outputs
    """

    model: str
    target: str
    arena_bytes: int
    arena_bound_bytes: int
    weights_bytes: int
    macs: int
    peak: tuple[str, ...]
    layers: tuple[Layer, ...]
    float_nodes: tuple[FloatNode, ...]
    notes: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    optimize: str = ""
    modes: tuple[Mode, ...] = ()
    weights: Weights = "c"
    memories: tuple[Memory, ...] = ()
    memory_check: Mapping[str, int] = field(default_factory=dict)
    state_bytes: int = 0
    first_calls: int = 0

    def to_json(self) -> str:
        return json_text(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Generated files. The same input gives the same bytes.

    io     "caller": inputs and outputs are the caller's arrays; "arena": they live in the arena;
           "rows": the outputs do, and the caller hands in the input row by row
    calls  the layer of the report of each kernel call of a run, in order
    """

    name: str
    io: Io
    report: Report
    files: Files = field(repr=False)
    calls: tuple[int, ...] = field(repr=False)

    def write(self, folder: str | Path) -> None:
        """Write all files or none. Raises CompileError("cannot-write")."""
        write_files(Path(folder), self.files)


def write_files(folder: Path, files: Files) -> None:
    """Write all files or none.

    Raises CompileError("cannot-write") when the folder cannot be made or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(20, "is a file, not a folder")
        _write_whole(folder, files)
    except OSError as error:
        raise CompileError(
            "cannot-write",
            f"the output folder cannot be written: {error.strerror or error}",
            f"folder '{folder}'",
            "choose another folder with --output, or make room on the disk",
        ) from error


def write_file(path: Path, text: str | bytes) -> None:
    """Write a file whole or not at all, in a folder that is there.

    A link is followed, and stays; so does a device, as /dev/null.
    Raises CompileError("cannot-write").
    """
    try:
        if not path.parent.is_dir():
            raise FileNotFoundError(2, f"there is no folder '{path.parent}'")
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        if path.exists() and not path.is_file():
            path.write_bytes(encoded(text))
        else:
            place = Path(os.path.realpath(path))
            _write_whole(place.parent, {place.name: text})
    except OSError as error:
        raise CompileError(
            "cannot-write",
            f"the file cannot be written: {error.strerror or error}",
            f"file '{path}'",
            "choose another place, or make room on the disk",
        ) from error


def _write_whole(folder: Path, files: Files) -> None:
    """Files are complete in a folder of their own before the first one moves.

    That lies in `folder`, which may be a disk of its own; beside it while there is none.
    """
    place = folder if folder.exists() else folder.parent
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=place))
    try:
        for name, content in files.items():
            with open(staged / name, "wb") as file:
                file.write(encoded(content))
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            for name in files:
                os.replace(staged / name, folder / name)
        else:
            staged.chmod(0o755)
            os.rename(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
