"""What is in object files: sizes by section, and missing symbols."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

UNWINDING = (".ARM.ex", ".eh_frame", ".note", ".comment")  # no part of the code's size


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes by what the linker does with them; all but bss take flash, data and bss take RAM."""

    text: int = 0
    rodata: int = 0
    data: int = 0
    bss: int = 0


def section_sizes(objects: Iterable[Path]) -> Sizes:
    """The sum over all objects."""
    sizes = {"text": 0, "rodata": 0, "data": 0, "bss": 0}
    for path in objects:
        with path.open("rb") as file:
            for section in ELFFile(file).iter_sections():
                kind = _kind_of(section)
                if kind:
                    sizes[kind] += section["sh_size"]
    return Sizes(**sizes)


def function_sizes(objects: Iterable[Path]) -> dict[str, int]:
    """Bytes of code by C function; a compiler's clone `f.constprop.0` counts as `f`."""
    sizes: dict[str, int] = {}
    for path in objects:
        with path.open("rb") as file:
            for table in ELFFile(file).iter_sections():
                if isinstance(table, SymbolTableSection):
                    for symbol in table.iter_symbols():
                        if symbol["st_info"]["type"] == "STT_FUNC":
                            name = symbol.name.partition(".")[0]
                            sizes[name] = sizes.get(name, 0) + symbol["st_size"]
    return sizes


def undefined_symbols(objects: Iterable[Path]) -> tuple[str, ...]:
    """What the objects need from elsewhere, sorted: `memcpy`, `expf`, `__aeabi_fadd`."""
    defined: set[str] = set()
    undefined: set[str] = set()
    for path in objects:
        with path.open("rb") as file:
            for table in ELFFile(file).iter_sections():
                if isinstance(table, SymbolTableSection):
                    for symbol in table.iter_symbols():
                        missing = symbol["st_shndx"] == "SHN_UNDEF"
                        (undefined if missing else defined).add(symbol.name)
    return tuple(sorted(undefined - defined - {""}))


def _kind_of(section: Section) -> str:
    flags = section["sh_flags"]
    if not flags & SH_FLAGS.SHF_ALLOC or section.name.startswith(UNWINDING):
        return ""
    if section["sh_type"] == "SHT_NOBITS":
        return "bss"
    if flags & SH_FLAGS.SHF_EXECINSTR:
        return "text"
    return "data" if flags & SH_FLAGS.SHF_WRITE else "rodata"
