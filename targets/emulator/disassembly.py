"""Finds instructions in object files: to see that an integer model computes no floats."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tinyc.targets.emulator.decoder import decode_section
from tinyc.targets.target import Target
from tinyc.targets.timing.instruction import Kind

COMPUTING = frozenset({Kind.FLOAT, Kind.FLOAT_MAC, Kind.FLOAT_DIVIDE})


def disassemble_float_instructions(
    objects: Iterable[Path], target: Target
) -> Mapping[str, tuple[str, ...]]:
    """The instructions that compute in floating point, by section: `.text.kws_run` -> texts.

    Loads, stores and moves of float registers do not compute, and are left out. A core without
    FPU has none, but calls: see undefined_symbols for `__aeabi_fadd`, `__mulsf3` and their kin.
    """
    assert target.emulator, "only code for emulated cores can be disassembled"
    found: dict[str, tuple[str, ...]] = {}
    for path in objects:
        with path.open("rb") as file:
            elf = ELFFile(file)
            for index, section in enumerate(elf.iter_sections()):
                if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]:
                    texts = tuple(
                        i.text
                        for code in _code_pieces(elf, index, section.data())
                        for i in decode_section(code, target.isa.startswith("arm"))
                        if i.kind in COMPUTING
                    )
                    if texts:
                        found[section.name] = found.get(section.name, ()) + texts
    return found


def _code_pieces(elf: ELFFile, index: int, data: bytes) -> Iterator[bytes]:
    """The instructions of a section without the literals between them.

    Source: ELF for the Arm Architecture (IHI 0044), mapping symbols: $d is data, $t, $x code.
    """
    marks = {0: True}
    for symbol in elf.get_section_by_name(".symtab").iter_symbols():
        if symbol["st_shndx"] == index and symbol.name[:2] in ("$t", "$x", "$d"):
            marks[symbol["st_value"]] = symbol.name[:2] != "$d"
    starts = sorted(marks)
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        if marks[begin] and end > begin:
            yield data[begin:end]
