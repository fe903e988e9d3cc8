"""C compilers: finding one for a target, compiling sources, and what is in the objects."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tinyc.compiler.errors import CompileError
from tinyc.targets.target import Target

# Compiler -> how to get it: Debian's package, or what does without root.
PACKAGES: Mapping[str, str] = {
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-gcc": (
        "apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"
    ),
    "gcc": "apt-get install gcc",
    "clang": "apt-get install clang",
    "cc": "apt-get install gcc",
    "zig": "pip install 'tinyc[clang]'",
}
Files = Mapping[str, str | bytes]  # name -> text, or the bytes of a binary
PICOLIBC = "--specs=picolibc.specs"


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler that is here.

    name      as in Target.compilers
    command   the start of its command line
    version   "12.2.1"
    flags     that select the target's machine
    has_libc  whether it brings a C library and libm for the target
    """

    name: str
    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    has_libc: bool

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_compiler(target: Target, name: str | None = None) -> Compiler:
    """The compiler `name` of the target, or the first of its compilers that is here.

    Raises CompileError("compiler-missing").
    """
    known = [choice.name for choice in target.compilers]
    if name is not None and name not in known:
        raise CompileError(
            "compiler-missing",
            f"the target '{target.name}' has no compiler named '{name}'",
            f"--compiler {name}",
            f"use one of: {', '.join(known)}",
        )
    for choice in target.compilers:
        command = command_of(choice.name)
        if command is not None and name in (None, choice.name):
            flags, has_libc = _with_library(choice.name, command, choice.flags, target)
            return Compiler(choice.name, command, version_of(command), flags, has_libc)
    wanted = known if name is None else [name]
    ways = dict.fromkeys(PACKAGES.get(n, f"put '{n}' on the PATH") for n in wanted)
    raise CompileError(
        "compiler-missing",
        f"no C compiler for '{target.name}' is installed; looked for {', '.join(wanted)}",
        f"target '{target.name}'",
        "; or ".join(ways),
    )


def command_of(name: str) -> tuple[str, ...] | None:
    """The start of the command line of a compiler; None when it is not here."""
    if name == "zig":
        found = find_spec("ziglang") is not None
        return (sys.executable, "-m", "ziglang", "cc") if found else None
    path = shutil.which(name)
    return None if path is None else (path,)


def version_of(command: Sequence[str]) -> str:
    """The last dotted number in the first line of `--version`; "unknown" when there is none."""
    done = run_tool([*command, "--version"])
    numbers = re.findall(r"\d+\.\d+(?:\.\d+)?", done.stdout.partition("\n")[0])
    found = str(numbers[-1]) if numbers else "unknown"
    return f"{metadata.version('ziglang')} (clang {found})" if "ziglang" in command else found


def build(
    compiler: Compiler,
    target: Target,
    sources: Files,
    folder: Path,
    flags: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write `sources` to `folder` and compile every .c and .S file there.

    Returns the objects in the order of `sources`.

    Raises CompileError("c-compiler-failed") with the first lines of the diagnostics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sources.items():
        (folder / name).write_bytes(encoded(content))
    names = [name for name in sources if name.endswith((".c", ".S"))]
    for name in names:
        arguments = [*compiler.flags, *target.cflags, *flags, "-c", name, "-o", f"{name}.o"]
        run_compiler(compiler, arguments, folder, name)
    return tuple(folder / f"{name}.o" for name in names)


def encoded(content: str | bytes) -> bytes:
    """The bytes of a file."""
    return content if isinstance(content, bytes) else content.encode("utf-8")


def run_compiler(compiler: Compiler, arguments: Sequence[str], folder: Path, where: str) -> None:
    """Run the compiler in `folder`. Raises CompileError("c-compiler-failed")."""
    done = run_tool([*compiler.command, *arguments], folder)
    if done.returncode == 0:
        return
    if re.search(r"math\.h.*(not found|No such file)", done.stderr):
        raise CompileError(
            "no-math-library",
            f"{compiler.name} brings no <math.h> for bare metal, and this model computes in float",
            where,
            "use a gcc with a C library (see `tinyc doctor`), or quantize the model",
        )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    errors = [line for line in lines if "error" in line or "undefined" in line] or lines
    raise CompileError(
        "c-compiler-failed",
        f"{compiler} refused the C code\n" + "\n".join(f"      {line}" for line in errors[:8]),
        where,
    )


def run_tool(
    command: Sequence[str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool of a toolchain to its end and keep what it printed."""
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=_environment(command),
    )


def _with_library(
    name: str, command: tuple[str, ...], flags: tuple[str, ...], target: Target
) -> tuple[tuple[str, ...], bool]:
    """The flags, with those for a C library; and whether there is one."""
    if not target.emulator:
        return flags, True
    if name == "zig":
        return flags, False
    if "riscv" in name:
        has_libc = _has_file(command, flags, "picolibc.specs")
        return (PICOLIBC, *flags) if has_libc else flags, has_libc
    return flags, _has_file(command, flags, "libm.a")


def _has_file(command: tuple[str, ...], flags: tuple[str, ...], file: str) -> bool:
    """Whether gcc finds a file of its own; it prints the bare name when it does not."""
    found = run_tool([*command, *flags, f"-print-file-name={file}"]).stdout.strip()
    return Path(found).is_absolute()


def _environment(command: Sequence[str]) -> dict[str, str] | None:
    """For zig: its caches in one folder of the user's cache, so that nothing else is written."""
    if "ziglang" not in command:
        return None
    cache = str(Path.home() / ".cache" / "tinyc" / "zig")
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
