"""Finds instructions in object files: to see that an integer model computes no floats."""

from collections.abc import Iterable, Mapping
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
            for section in ELFFile(file).iter_sections():
                if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_size"]:
                    decoded = decode_section(section.data(), target.isa.startswith("arm"))
                    texts = tuple(i.text for i in decoded if i.kind in COMPUTING)
                    if texts:
                        found[section.name] = found.get(section.name, ()) + texts
    return found
