"""What is installed of all that tinyc can use, and how to get the rest."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tinyc.targets.target import Target, load_target, target_names
from tinyc.targets.toolchain import PACKAGES, command_of, version_of


@dataclass(frozen=True, slots=True)
class Check:
    """One program or package.

    version, path  "" when it is not found
    needed_for     what does not work without it
    how_to_get     a command
    """

    name: str
    found: bool
    version: str
    path: str
    needed_for: str
    how_to_get: str


PYTHON_PACKAGES = (  # name, needed for, extra of tinyc that brings it
    ("unicorn", "running, profiling and tuning on emulated cores", "emulator"),
    ("capstone", "pricing cycles of emulated cores", "emulator"),
    ("pyelftools", "reading images and their sizes", "emulator"),
    ("onnxruntime", "tinyc verify", "verify"),
)


def diagnose() -> tuple[Check, ...]:
    """Look for everything: compilers first, then Python packages."""
    targets = [load_target(name) for name in target_names()]
    compilers = [_check_compiler(name, targets) for name in PACKAGES]
    packages = [_check_package(*row) for row in PYTHON_PACKAGES]
    return (*compilers, *packages)


def _check_compiler(name: str, targets: Sequence[Target]) -> Check:
    command = command_of(name)
    users = [t.name for t in targets if any(c.name == name for c in t.compilers)]
    return Check(
        name=name,
        found=command is not None,
        version="" if command is None else version_of(command),
        path="" if command is None else " ".join(command),
        needed_for=f"building for {', '.join(users)}; one compiler a target will do",
        how_to_get=PACKAGES[name],
    )


def _check_package(name: str, needed_for: str, extra: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        found = ""
    return Check(
        name=name,
        found=bool(found),
        version=found,
        path=sys.prefix if found else "",
        needed_for=needed_for,
        how_to_get=f"pip install 'tinyc[{extra}]'",
    )
