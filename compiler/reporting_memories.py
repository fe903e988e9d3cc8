"""What a model has in each memory of its target."""

from collections.abc import Mapping

from tinyc.compiler.artifact import Memory
from tinyc.compiler.emit_memory import arenas_of
from tinyc.compiler.emit_tables import Tables
from tinyc.compiler.program import Program
from tinyc.passes.accesses import accesses_of, tables_of
from tinyc.passes.memory_regions import waiting
from tinyc.targets import Region


def memories_of(program: Program, tables: Tables) -> tuple[Memory, ...]:
    """RAM, the fastest first, then flash: all tables that are not copied are in the first flash."""
    plan, target = program.plan, program.target
    flashes = [region for region in target.regions if region.kind == "flash"]
    flash = flashes[0].name if flashes and not tables.separate else ""
    arenas, copied = arenas_of(program), tables.copied
    arena_bytes = {**dict.fromkeys(arenas, plan.arena_bytes), **plan.more_bytes}
    table_bytes = {flash: tables.bytes - sum(copied.values()), **copied}
    accesses = _accesses(program, flash)

    def memory(region: Region) -> Memory:
        count = accesses.get(region.name, 0)
        return Memory(
            region.name, region.kind, region.bytes, region.wait_cycles,
            arenas.get(region.name, ""), arena_bytes.get(region.name, 0),
            table_bytes.get(region.name, 0), count, waiting(count, region.wait_cycles),
        )  # fmt: skip

    return tuple(map(memory, (*target.rams, *flashes)))


def waits_of(program: Program) -> int:
    """Cycles that a run waits for all memories, about; the caller's arrays are not known."""
    cycles = {region.name: region.wait_cycles for region in program.target.regions}
    cycles[""] = program.target.flash_wait_cycles
    return sum(waiting(count, cycles[name]) for name, count in _accesses(program, "").items())


def _accesses(program: Program, flash: str) -> Mapping[str, int]:
    """Bytes that a run reads and writes, by region; `flash` is that of tables in no RAM."""
    total: dict[str, int] = {}
    buffers = accesses_of(program.graph, program.steps, program.storages)
    for name, count in buffers.items():
        if name in program.plan.offsets:
            total[program.region(name)] = total.get(program.region(name), 0) + count
    for table in tables_of(program.graph, program.kernels):
        region = program.plan.copies.get(table.name, flash)
        total[region] = total.get(region, 0) + table.accesses
    return total
