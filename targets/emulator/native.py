"""The native code hook: its structs as ctypes, and how it gets into this process."""

import ctypes
import mmap
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

FOLDER = files("tinyc.targets.emulator")
MAX_RANGES = 4

u64, i32, pointer = ctypes.c_uint64, ctypes.c_int32, ctypes.c_void_p


class Range(ctypes.Structure):
    """`Range` of callback.c."""

    _fields_ = (("low", u64), ("high", u64), ("first", u64))


class Site(ctypes.Structure):
    """`Site` of callback.c."""

    _fields_ = (
        *((name, i32) for name in ("base", "index", "offset")),
        *((name, ctypes.c_uint8) for name in ("shift", "size", "kind", "unused")),
    )


class Counter(ctypes.Structure):
    """`Counter` of callback.c, field by field."""

    _fields_ = (
        *((name, u64) for name in ("begin", "end", "max_instructions", "is_arm", "ranges")),
        ("range", Range * MAX_RANGES),
        *((name, i32) for name in ("stack_register", "first_register", "link_register")),
        *((name, i32) for name in ("divide_base", "divide_bits", "divide_smaller")),
        *((name, i32) for name in ("divide_by_zero", "max_sites")),
        *((name, pointer) for name in ("read_register", "stop_emulation")),
        ("code", ctypes.POINTER(ctypes.c_uint16)),
        ("size", ctypes.POINTER(ctypes.c_uint8)),
        ("site", ctypes.POINTER(ctypes.c_uint32)),
        *((name, ctypes.POINTER(u64)) for name in ("executed", "taken_in", "taken_out")),
        *((name, ctypes.POINTER(u64)) for name in ("skipped", "extra")),
        ("sites", ctypes.POINTER(Site)),
        *((name, u64) for name in ("active", "regions", "next", "previous", "it_begin", "it_end")),
        *((name, u64) for name in ("stack_moved", "stack_begin", "stack_lowest")),
        *((name, u64) for name in ("instructions", "misaligned", "used_sites", "stop")),
    )


@dataclass(frozen=True, slots=True)
class Callback:
    """Native code at an address; `owner` keeps it there."""

    address: int
    owner: object


def load_callback() -> Callback | None:
    """The hook as native code: shipped for x86-64, else compiled here, else None."""
    if platform.machine() in ("x86_64", "AMD64") and sys.platform != "win32":
        shipped = map_code((FOLDER / "callback_x86_64.bin").read_bytes())
        if shipped is not None:
            return shipped
    return compile_callback()


def map_code(code: bytes) -> Callback | None:
    """Position-independent code in executable memory; None where the system forbids it."""
    try:
        memory = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, AttributeError, ValueError):
        return None
    memory.write(code)
    return Callback(ctypes.addressof(ctypes.c_char.from_buffer(memory)), memory)


def compile_callback() -> Callback | None:
    """callback.c built by the host's C compiler as a library; None without one."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source = Path(folder) / "callback.c"
        library = Path(folder) / "callback.so"
        source.write_text((FOLDER / "callback.c").read_text("utf-8"), encoding="utf-8")
        command = [compiler, "-O2", "-fPIC", "-shared", str(source), "-o", str(library)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        loaded = ctypes.CDLL(str(library))
    address = ctypes.cast(loaded.count_instruction, pointer).value
    assert address is not None, "the library has no count_instruction"
    return Callback(address, loaded)
