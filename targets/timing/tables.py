"""The timing tables: a TOML file's numbers in the rules of its family."""

import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from tinyc.compiler.errors import CompileError
from tinyc.targets.timing import m0plus, m4, m7, m33, riscv
from tinyc.targets.timing.timing import Divide, Timing, read_parameters

FOLDER = files("tinyc.targets.timing")
FAMILIES: Mapping[str, Callable[[Mapping[str, object], Divide, int, str], Timing]] = {
    "m0plus": m0plus.timing,
    "m33": m33.timing,
    "m4": m4.timing,
    "m7": m7.timing,
    "riscv": riscv.timing,
}
KEYS = ("family", "horizon", "divide", "parameters")


def timing_text(name: str) -> str:
    """The table `name`, or the user's file when it ends in ".toml", as it is stored.

    Raises CompileError("unknown-timing").
    """
    source = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return source.read_text("utf-8")
    except OSError as error:
        tables = [f.name for f in FOLDER.iterdir() if f.name.endswith(".toml")]
        names = ", ".join(sorted(f.removesuffix(".toml") for f in tables))
        raise CompileError(
            "unknown-timing",
            f"there is no timing table '{name}'",
            "field 'timing' of the target",
            f"use one of: {names}; or a TOML file",
        ) from error


def load_timing(name: str) -> Timing:
    """The timing of a core.

    Raises CompileError("unknown-timing"), or CompileError("bad-timing") when the table is not
    as its family needs it.
    """
    where = f"timing table {name}"
    try:
        table = tomllib.loads(timing_text(name))
    except tomllib.TOMLDecodeError as error:
        raise CompileError("bad-timing", f"the file is not TOML: {error}", where) from error
    for key in table:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise CompileError("bad-timing", f"there is no field '{key}'; known are {known}", where)
    family, horizon = table.get("family"), table.get("horizon")
    numbers, divide = table.get("parameters"), table.get("divide", {})
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CompileError("bad-timing", f"family is {family!r}, not one of {known}", where)
    if not isinstance(horizon, int) or not isinstance(numbers, dict):
        raise CompileError(
            "bad-timing", "a whole number 'horizon' and [parameters] are needed", where
        )
    divides = read_parameters(Divide, divide, name) if divide else Divide()
    return FAMILIES[family](numbers, divides, horizon, name)
