"""Reads a linked 32-bit image: what to load, where code is, and what it is called."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes at an address."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Function:
    """Code from `start` up to the next function's start."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Elf:
    """An image. Addresses of Arm code have no Thumb bit.

    code       executable sections, in address order
    symbols    name -> address
    functions  in address order, without gaps
    """

    is_arm: bool
    entry: int
    segments: tuple[Segment, ...]
    code: tuple[Segment, ...]
    symbols: Mapping[str, int]
    functions: tuple[Function, ...]

    def function_at(self, address: int) -> Function:
        """The function whose code stands at `address`."""
        index = bisect_right(self.functions, address, key=lambda f: f.start) - 1
        if index >= 0:
            return self.functions[index]
        end = self.functions[0].start if self.functions else 1 << 32
        return Function("?", 0, end)


def read_elf(path: Path) -> Elf:
    """Read an image that tinyc has linked: 32-bit, little-endian, with symbols."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        assert elf.elfclass == 32 and elf.little_endian, f"{path} is not a 32-bit image"
        is_arm = elf["e_machine"] == "EM_ARM"
        sections = list(elf.iter_sections())
        symbols, starts = _symbols(sections, ~1 if is_arm else ~0)
        return Elf(
            is_arm=is_arm,
            entry=elf["e_entry"],
            segments=tuple(
                Segment(s["p_paddr"], s.data())
                for s in elf.iter_segments()
                if s["p_type"] == "PT_LOAD" and s["p_filesz"]
            ),
            code=_code(sections),
            symbols=symbols,
            functions=_functions(starts),
        )


def _code(sections: list[Section]) -> tuple[Segment, ...]:
    code = [
        Segment(s["sh_addr"], s.data())
        for s in sections
        if _is_code(s) and s["sh_type"] == "SHT_PROGBITS" and s["sh_size"]
    ]
    return tuple(sorted(code, key=lambda s: s.address))


def _is_code(section: Section) -> bool:
    return bool(section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR)


def _symbols(sections: list[Section], mask: int) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """All symbols, and those that start a function: (address, name)."""
    symbols: dict[str, int] = {}
    starts: list[tuple[int, bool, str]] = []
    for table in sections:
        if not isinstance(table, SymbolTableSection):
            continue
        for symbol in table.iter_symbols():
            name, address, index = symbol.name, symbol["st_value"], symbol["st_shndx"]
            if not name or name.startswith("$") or index == "SHN_UNDEF":
                continue  # `$t`, `$d`: marks of code and data, not names
            kind = symbol["st_info"]["type"]
            in_code = isinstance(index, int) and _is_code(sections[index])
            is_function = kind == "STT_FUNC" or (kind == "STT_NOTYPE" and in_code)
            symbols.setdefault(name, address & mask if is_function else address)
            if is_function:
                starts.append((address & mask, symbol["st_size"] == 0, name))
    return symbols, [(address, name) for address, _, name in sorted(starts)]


def _functions(starts: list[tuple[int, str]]) -> tuple[Function, ...]:
    """Of several names of one address, the first: names with a size come first."""
    names: dict[int, str] = {}
    for address, name in starts:
        names.setdefault(address, name)
    ends = [*list(names)[1:], 1 << 32]
    return tuple(Function(n, a, end) for (a, n), end in zip(names.items(), ends, strict=True))
