"""How the constant arrays of a program reach the firmware: linked, or as a file of their own."""

from tinyc.compiler.emit_binary import (
    FILE_ALIGNMENT,
    HEADER,
    MAGIC,
    VERSION,
    assembly,
    weights_file,
)
from tinyc.compiler.emit_tables import Tables, alignment, c_source, declarations, declarator

API = """\
#define {NAME}_WEIGHTS_BYTES {bytes}u
#define {NAME}_WEIGHTS_ALIGNMENT {alignment}u
#define {NAME}_WEIGHTS_CRC32 0x{crc32:08x}u /* of what follows the first {header} bytes, a header */

/* The contents of {name}_weights.bin, which is not linked: it may lie wherever the core reads by
 * address, such as external flash, at a multiple of {NAME}_WEIGHTS_ALIGNMENT. */
typedef struct {name}_weights {name}_weights;

/* The weights at `address`; NULL when that is not aligned, or what lies there is not the
 * {name}_weights.bin that belongs to this code. Reads the file's header alone. */
const {name}_weights *{name}_weights_at(const void *address);

/* Whether the whole file is as it was written: reads every byte of it. */
bool {name}_weights_intact(const {name}_weights *weights);

"""
LAYOUT = """\
/* {name}_weights.bin. */
struct {name}_weights {{
  alignas({alignment}) uint32_t magic;
  uint32_t version;
  uint32_t bytes;
  uint32_t crc32;
{members}}};

_Static_assert(sizeof({name}_weights) == {NAME}_WEIGHTS_BYTES, "laid out like the file");

const {name}_weights *{name}_weights_at(const void *address) {{
  if (address == NULL || (uintptr_t)address % {NAME}_WEIGHTS_ALIGNMENT != 0u) {{
    return NULL;
  }}
  const {name}_weights *const weights = address;
  const bool mine = weights->magic == 0x{magic:08x}u && weights->version == {version}u &&
                    weights->bytes == {NAME}_WEIGHTS_BYTES &&
                    weights->crc32 == {NAME}_WEIGHTS_CRC32;
  return mine ? weights : NULL;
}}

bool {name}_weights_intact(const {name}_weights *weights) {{
  const uint8_t *const bytes = (const uint8_t *)weights;
  uint32_t crc = 0xffffffffu;
  for (uint32_t i = {header}u; i < {NAME}_WEIGHTS_BYTES; ++i) {{
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) {{
      crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }}
  }}
  return ~crc == {NAME}_WEIGHTS_CRC32;
}}
"""


def weights_files(tables: Tables, name: str) -> dict[str, str | bytes]:
    """The files that hold the tables."""
    if tables.weights == "c":
        return {f"{name}_weights.c": c_source(tables, name)}
    file = weights_file(tables)
    binary: dict[str, str | bytes] = {f"{name}_weights.bin": file.content}
    if tables.separate:
        return binary
    return {f"{name}_weights.S": assembly(tables, name, file), **binary}


def weights_source(tables: Tables, name: str) -> list[str]:
    """What `<name>.c` says of the tables before the kernels."""
    if not tables.separate:
        return [*declarations(tables), ""]
    members = [
        f"  alignas({alignment(table)}) {declarator(array_name, table)};\n"
        for array_name, table in tables.arrays.items()
    ]
    text = LAYOUT.format(
        name=name,
        NAME=name.upper(),
        alignment=FILE_ALIGNMENT,
        members="".join(members),
        magic=MAGIC,
        version=VERSION,
        header=HEADER.size,
    )
    return text.split("\n")


def weights_api(tables: Tables, name: str) -> str:
    """What `<name>.h` says of the tables."""
    if not tables.separate:
        return ""
    file = weights_file(tables)
    return API.format(
        name=name,
        NAME=name.upper(),
        bytes=len(file.content),
        alignment=FILE_ALIGNMENT,
        crc32=file.crc32,
        header=HEADER.size,
    )
