"""The constant arrays of a program as one binary file, and the assembly that links its parts.

The file, little-endian: the words MAGIC, VERSION, the bytes of the whole file and the CRC-32 of
what follows; then the arrays, each aligned, with zeros between them and to the end.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from tinyc.compiler.cprint import HALVES
from tinyc.compiler.emit_memory import table_section
from tinyc.compiler.emit_tables import LICENCE, Tables, alignment

MAGIC = int.from_bytes(b"tncw", "little")
VERSION = 1
HEADER = struct.Struct("<4I")
FILE_ALIGNMENT = 16  # of the file's address, and of its size


@dataclass(frozen=True, slots=True, eq=False)
class WeightsFile:
    """`<name>_weights.bin`.

    offsets  of the arrays by C name, from the file's first byte on
    crc32    of the bytes behind the header, as zlib and Ethernet have it
    """

    offsets: Mapping[str, int]
    crc32: int
    content: bytes


def weights_file(tables: Tables) -> WeightsFile:
    """The tables as a file; the same tables give the same bytes."""
    body, offsets = bytearray(), {}
    for name, table in tables.arrays.items():
        body += bytes(-len(body) % alignment(table))
        offsets[name] = HEADER.size + len(body)
        array = table.array.view(np.uint16) if table.array.dtype.name in HALVES else table.array
        body += array.astype(array.dtype.newbyteorder("<")).tobytes()
    body += bytes(-len(body) % FILE_ALIGNMENT)
    check = crc32(body)
    header = HEADER.pack(MAGIC, VERSION, HEADER.size + len(body), check)
    return WeightsFile(offsets, check, header + bytes(body))


def _section(tables: Tables, name: str, array_name: str) -> str:
    region = tables.regions.get(array_name)
    return table_section(name, region) if region else f".rodata.{array_name}"


def assembly(tables: Tables, name: str, file: WeightsFile) -> str:
    """`<name>_weights.S` for GNU as and clang: names for the parts of `<name>_weights.bin`.

    The check value is in the text, so that a new binary makes a new source: a build that looks at
    sources alone (zig's cache, make) would keep the old object.
    """
    data = f"{name}_weights.bin"
    lines = [
        LICENCE.format(file=f"{name}_weights.S"),
        f"/* {data}, {len(file.content)} bytes, CRC-32 0x{file.crc32:08x}: the assembler looks for",
        " * it where the compiler is started and in the folders of -I. */",
        "#if defined(__linux__) && defined(__ELF__)",
        '  .section .note.GNU-stack,"",%progbits',
        "#endif",
    ]
    for array_name, table in tables.arrays.items():
        lines += [
            "",
            f'  .section {_section(tables, name, array_name)},"a",%progbits',
            f"  .balign {alignment(table)}",
            f"  .global {array_name}",
            f"  .type {array_name}, %object",
            f"{array_name}:",
            f'  .incbin "{data}", {file.offsets[array_name]}, {table.array.nbytes}',
            f"  .size {array_name}, {table.array.nbytes}",
        ]
    return "\n".join([*lines, ""])
