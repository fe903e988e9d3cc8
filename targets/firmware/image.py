"""Builds a program: a bare-metal image for the emulated board, or a host executable."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from tinyc.targets.firmware.batch import Batch, batch_main
from tinyc.targets.firmware.main_files import device_files, host_files
from tinyc.targets.firmware.program import Program
from tinyc.targets.target import Target
from tinyc.targets.toolchain import Compiler, Files, build, run_compiler

FOLDER = files("tinyc.targets.firmware")
MEGABYTE = 1 << 20
RAM_BEHIND = 0x20000000  # of a batch's board, from its flash on


@dataclass(frozen=True, slots=True)
class Image:
    """What was linked, and the objects of the program's own sources."""

    path: Path
    objects: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """Addresses and bytes of the emulated board's memories.

    It is no part: the caller's arrays live on it too. Whether a model fits its target is judged
    by the compiler's report. QEMU has boards like it, so that images can be checked there.
    """

    flash_origin: int
    flash_bytes: int
    ram_origin: int
    ram_bytes: int


BOARDS = {  # by the first letters of the ISA
    "armv": Board(0x00000000, 4 * MEGABYTE, 0x20000000, 4 * MEGABYTE),  # QEMU's mps2-an386
    "rv32": Board(0x80000000, 8 * MEGABYTE, 0x80800000, 8 * MEGABYTE),  # in QEMU's virt
}


def board_of(target: Target) -> Board:
    """The memories that images for `target` are linked for."""
    assert target.isa[:4] in BOARDS, f"no board for the ISA '{target.isa}'"
    return BOARDS[target.isa[:4]]


def batch_board_of(target: Target) -> Board:
    """The same with room for many programs; no real board needs to be like it."""
    board = board_of(target)
    return replace(
        board,
        flash_bytes=64 * MEGABYTE,
        ram_origin=board.flash_origin + RAM_BEHIND,
        ram_bytes=32 * MEGABYTE,
    )


def build_image(
    program: Program, compiler: Compiler, target: Target, folder: Path, flags: Sequence[str] = ()
) -> Image:
    """An ELF image that runs one inference after reset, and exits.

    Raises CompileError when the compiler or the linker refuses it.
    """
    around, board = device_files(program), board_of(target)
    return link_image(program.sources, around, compiler, target, board, folder, flags)


def build_batch(batch: Batch, compiler: Compiler, target: Target, folder: Path) -> Image:
    """An ELF image that runs one of several programs after reset, and exits.

    Raises CompileError when the compiler or the linker refuses it.
    """
    around, board = {"tinyc_main.c": batch_main(batch)}, batch_board_of(target)
    return link_image(batch.sources, around, compiler, target, board, folder)


def link_image(
    sources: Files,
    around: Files,
    compiler: Compiler,
    target: Target,
    board: Board,
    folder: Path,
    flags: Sequence[str] = (),
) -> Image:
    """`sources`, and the main.c of `around`, behind the start-up code, for `board`'s memories."""
    own = {**around, "image.ld": _text("image.ld").format(**_fields(board))}
    include: list[str] = []
    if not compiler.has_libc:
        (folder / "libc").mkdir(parents=True, exist_ok=True)
        (folder / "libc" / "string.h").write_text(_text("string.h"), encoding="utf-8")
        # -ffreestanding: gcc's own stdint.h, without looking for the library's
        include = ["-isystem", "libc", "-ffreestanding", "-fbuiltin"]
        own["tinyc_memory.c"] = _text("memory.c")
    own["tinyc_start.c"] = _text("start.c")
    objects = build(compiler, target, sources, folder, [*include, *flags])
    startup = build(compiler, target, own, folder, [*include, "-fno-builtin"])
    libraries = ["-lm"] if compiler.has_libc else ["-nostdlib", "-lgcc"]
    if compiler.name == "zig":
        libraries = []  # it adds its own compiler-rt
    script = ["-T", "image.ld", "-Wl,--gc-sections", "-Wl,--entry=image_start"]
    arguments = [*compiler.flags, "-nostartfiles", "-static", *script]
    names = [path.name for path in (*startup, *objects)]
    run_compiler(
        compiler, [*arguments, *names, *libraries, "-o", "image.elf"], folder, "linking the image"
    )
    return Image(folder / "image.elf", objects)


def build_executable(
    program: Program, compiler: Compiler, target: Target, folder: Path, flags: Sequence[str] = ()
) -> Image:
    """A program for this machine that reads samples from stdin and writes outputs to stdout.

    Raises CompileError when the compiler refuses it.
    """
    objects = build(compiler, target, program.sources, folder, flags)
    startup = build(compiler, target, host_files(program), folder)
    names = [path.name for path in (*startup, *objects)]
    run_compiler(compiler, [*compiler.flags, *names, "-lm", "-o", "program"], folder, "linking")
    return Image(folder / "program", objects)


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _fields(board: Board) -> dict[str, str]:
    return {
        "flash_origin": hex(board.flash_origin),
        "flash_bytes": hex(board.flash_bytes),
        "ram_origin": hex(board.ram_origin),
        "ram_bytes": hex(board.ram_bytes),
    }
