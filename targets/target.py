"""The description of a target, read from `targets/<name>.toml` or a user's file."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import TypeVar

from tinyc.compiler.errors import CompileError

FOLDER = files("tinyc.targets")
FEATURES = {
    "dsp": "Arm DSP extension: two 16-bit multiply-accumulates an instruction",
    "fpu": "single-precision floating-point unit",
    "pipelined-fma": "the FPU starts a fused multiply-add every cycle",
    "riscv": "32-bit RISC-V with multiply instructions: blocks in assembly for its 31 registers",
    "long-multiply": "a 32 x 32 multiply whose high half costs one instruction",
    "hardware-divide": "a divide instruction",
    "thumb1": "Thumb-1 alone: eight low registers, and a multiply of one cycle without high half",
}
KINDS = ("ram", "flash")
REGION_KEYS = ("name", "kind", "origin", "bytes")
REGION_OPTIONS = ("wait_cycles",)
COMPILER_KEYS = ("name", "flags")
TARGET_KEYS = (
    *("isa", "features", "alignment", "emulator", "timing", "cycles_per_mac_limit", "cflags"),
    *("regions", "compilers"),
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Region:
    """A memory of the target.

    kind         "ram" or "flash"
    origin       first address; None: not known
    wait_cycles  that an access takes on top of the core's own, about
    """

    name: str
    kind: str
    origin: int | None
    bytes: int
    wait_cycles: int = 0


@dataclass(frozen=True, slots=True)
class CompilerChoice:
    """A compiler that can build for the target, and the flags that select the machine.

    name  a command, or "zig" for the clang of the ziglang package
    """

    name: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What the compiler may assume of a machine; the fields are the TOML's keys.

    isa        instruction set as the vendor writes it: "armv7e-m", "rv32imc"
    features   keys of FEATURES
    alignment  bytes, of every buffer in the arena
    emulator   Unicorn's name of the CPU: "CORTEX_M4"; "" runs on this machine
    timing     a table of targets/timing/ or the path of a TOML file; "" prices no cycles
    cycles_per_mac_limit  8-bit multiply-accumulates cannot take less: what the multiplier needs
                          when data costs nothing; 0: not known
    cflags     what every compiler gets beside the flags of its own
    compilers  in the order of preference
    """

    name: str
    isa: str
    features: frozenset[str]
    alignment: int
    emulator: str
    timing: str
    cycles_per_mac_limit: float
    cflags: tuple[str, ...]
    regions: tuple[Region, ...]
    compilers: tuple[CompilerChoice, ...]

    @property
    def ram_bytes(self) -> int:
        return sum(r.bytes for r in self.regions if r.kind == "ram")

    @property
    def flash_bytes(self) -> int:
        return sum(r.bytes for r in self.regions if r.kind == "flash")

    @property
    def rams(self) -> tuple[Region, ...]:
        """The RAM regions, the fastest first."""
        rams = (r for r in self.regions if r.kind == "ram")
        return tuple(sorted(rams, key=lambda region: region.wait_cycles))

    @property
    def flash_wait_cycles(self) -> int:
        """Of the slowest flash: where the linker puts tables is not known."""
        return max((r.wait_cycles for r in self.regions if r.kind == "flash"), default=0)

    @property
    def flat(self) -> "Target":
        """The same with one RAM and one flash, neither of them slow: nothing to place."""
        ram = Region("ram", "ram", None, self.ram_bytes)
        flash = Region("flash", "flash", None, self.flash_bytes)
        return replace(self, regions=(flash, ram))


def target_names() -> list[str]:
    """The targets that come with tinyc."""
    return sorted(
        f.name.removesuffix(".toml") for f in FOLDER.iterdir() if f.name.endswith(".toml")
    )


def load_target(name: str) -> Target:
    """Read a target by name, or from a TOML file when `name` ends in ".toml".

    A user's file has the same keys; with `base = "cortex-m4"` it needs only those that differ.

    Raises CompileError("unknown-target") when there is none, and CompileError("bad-target")
    when a field is missing, unknown or of the wrong type.
    """
    if name.endswith(".toml"):
        return _from_file(Path(name))
    return _parse(name, _built_in(name, f"--target {name}"), f"{name}.toml")


def _built_in(name: str, where: str) -> dict[str, object]:
    names = target_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise CompileError(
            "unknown-target",
            f"no target is named '{name}'" + (f"; the nearest is '{near[0]}'" if near else ""),
            where,
            f"use one of: {', '.join(names)}; or the path of a TOML file",
        )
    return tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))


def _from_file(path: Path) -> Target:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CompileError(
            "unknown-target",
            f"the target's file cannot be read: {error.strerror}",
            f"--target {path}",
            "give the path of a TOML file, or a name of `tinyc targets`",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CompileError("bad-target", f"the file is not TOML: {error}", str(path)) from error
    timing = table.get("timing")
    if isinstance(timing, str) and timing.endswith(".toml"):
        table["timing"] = str(path.parent / timing)
    if "base" in table:
        base = _typed(table, "base", str, str(path))
        table = {**_built_in(base, f"field 'base' in {path}"), **table}
        del table["base"]
    return _parse(path.stem, table, str(path))


def _parse(name: str, table: Mapping[str, object], file: str) -> Target:
    _check_keys(table, TARGET_KEYS, file)
    alignment = _typed(table, "alignment", int, file)
    if alignment < 1 or alignment & (alignment - 1):
        raise _bad(f"alignment is {alignment}, not a power of two", "alignment", file)
    features = frozenset(_strings(table, "features", file))
    for feature in sorted(features - FEATURES.keys()):
        known = ", ".join(sorted(FEATURES))
        raise _bad(f"'{feature}' is not a feature; known are {known}", "features", file)
    regions = tuple(_region(t, file) for t in _tables(table, "regions", file))
    if len({region.name.casefold() for region in regions}) < len(regions):
        raise _bad("two regions have the same name", "regions", file)
    return Target(
        name=name,
        isa=_typed(table, "isa", str, file),
        features=features,
        alignment=alignment,
        emulator=_typed(table, "emulator", str, file),
        timing=_typed(table, "timing", str, file),
        cycles_per_mac_limit=_limit(table, file),
        cflags=_strings(table, "cflags", file),
        regions=regions,
        compilers=tuple(_compiler(t, file) for t in _tables(table, "compilers", file)),
    )


def _limit(table: Mapping[str, object], file: str) -> float:
    limit = _typed(table, "cycles_per_mac_limit", float, file)
    if not 0 <= limit < inf:
        raise _bad(f"the limit is {limit}, not 0 or more", "cycles_per_mac_limit", file)
    return limit


def _region(table: Mapping[str, object], file: str) -> Region:
    _check_keys(table, REGION_KEYS, file, REGION_OPTIONS)
    kind = _typed(table, "kind", str, file)
    if kind not in KINDS:
        raise _bad(f"kind is '{kind}', not one of {', '.join(KINDS)}", "kind", file)
    wait_cycles = _typed(table, "wait_cycles", int, file) if "wait_cycles" in table else 0
    if wait_cycles < 0:
        raise _bad(f"wait_cycles is {wait_cycles}, not 0 or more", "wait_cycles", file)
    return Region(
        name=_typed(table, "name", str, file),
        kind=kind,
        origin=_typed(table, "origin", int, file),
        bytes=_typed(table, "bytes", int, file),
        wait_cycles=wait_cycles,
    )


def _compiler(table: Mapping[str, object], file: str) -> CompilerChoice:
    _check_keys(table, COMPILER_KEYS, file)
    return CompilerChoice(_typed(table, "name", str, file), _strings(table, "flags", file))


def _check_keys(
    table: Mapping[str, object], keys: tuple[str, ...], file: str, options: tuple[str, ...] = ()
) -> None:
    """`keys` must be there, `options` may."""
    known = (*keys, *options)
    for key in table:
        if key not in known:
            raise _bad(f"there is no field '{key}'; known are {', '.join(known)}", key, file)
    for key in keys:
        if key not in table:
            raise _bad(f"the field '{key}' is missing", key, file)


def _tables(table: Mapping[str, object], key: str, file: str) -> list[Mapping[str, object]]:
    items = _typed(table, key, list, file)
    if not all(isinstance(item, dict) for item in items):
        raise _bad(f"{key} is not an array of tables, [[{key}]]", key, file)
    return items


def _strings(table: Mapping[str, object], key: str, file: str) -> tuple[str, ...]:
    items = _typed(table, key, list, file)
    if not all(isinstance(item, str) for item in items):
        raise _bad(f"{key} is not a list of strings", key, file)
    return tuple(items)


def _typed(table: Mapping[str, object], key: str, kind: type[T], file: str) -> T:
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _bad(f"{key} is {value!r}, not of type {kind.__name__}", key, file)
    return value


def _bad(message: str, field: str, file: str) -> CompileError:
    return CompileError("bad-target", message, f"field '{field}' in {file}")
