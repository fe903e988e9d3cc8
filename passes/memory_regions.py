"""Several memories: which buffer lies in which RAM region, and which tables are copied to RAM.

What is accessed most per byte gets the fastest region that still has room, by the arena that
first fit finds for what lies there so far. Tables compete with activations, but only for regions
that are faster than the flash. Where something finds no room, it is placed earlier the next time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tinyc.passes.accesses import Table
from tinyc.passes.claims import Buffer, Claim
from tinyc.passes.memory_plan import MemoryPlan, bound_of, plan_memory, plan_of
from tinyc.passes.placement import LEAST_RAM, Problem, Trade, problem_of
from tinyc.passes.placement_by_search import searched
from tinyc.targets import Region, Target

WORD = 4  # bytes of an access
TABLE_ALIGNMENT, ARENA_ALIGNMENT = 8, 16  # what the C asks of the linker, at the most
MOST_TURNS = 16  # in which something that had no room is placed earlier

TURNS = 1000  # of the local search, in each region


@dataclass(frozen=True, slots=True)
class _Item:
    """A buffer, by its number, or a table; `bytes` and `accesses` of it."""

    name: str
    bytes: int
    accesses: int
    buffer: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """regions: the fastest first; flash_wait_cycles: of a table that is not copied."""

    problem: Problem
    items: tuple[_Item, ...]
    regions: tuple[Region, ...]
    flash_wait_cycles: int


@dataclass(frozen=True, slots=True, eq=False)
class _Filling:
    """The region of each item, by number; tables that stay in flash have none.

    homeless  the first buffer that no region has room for
    """

    regions: Mapping[_Item, int]
    homeless: _Item | None = None


def plan_regions(
    buffers: Sequence[Buffer],
    tables: Sequence[Table],
    accesses: Mapping[str, int],
    target: Target,
    trade: Trade = LEAST_RAM,
) -> MemoryPlan:
    """The plan with an arena in each RAM region of the target that holds something.

    accesses  bytes read and written, by buffer

    Where no region has room for some buffer, one arena is larger than its region.
    """
    regions, flash_wait_cycles, alignment = target.rams, target.flash_wait_cycles, target.alignment
    whole = plan_memory(buffers, alignment, trade)
    paying = [t for t in tables if flash_wait_cycles > regions[0].wait_cycles and t.accesses]
    fixed = [_directed(buffer, whole.upwards) for buffer in buffers]
    items = [_Item(b.name, b.bytes, accesses.get(b.name, 0), i) for i, b in enumerate(buffers)]
    items += [_Item(t.name, t.bytes, t.accesses) for t in paying]
    task = _Task(problem_of(fixed, alignment), tuple(items), regions, flash_wait_cycles)
    if _used(whole.arena_bytes, sum(map(_padded, paying))) <= regions[0].bytes:
        return _plan(whole, task, _Filling(dict.fromkeys(items, 0)))
    return _plan(whole, task, _chosen(task))


def waiting(accesses: int, wait_cycles: int) -> int:
    """Cycles that so many bytes wait for, about."""
    return accesses // WORD * wait_cycles


def _directed(buffer: Buffer, upwards: frozenset[int]) -> Buffer:
    """With every stage in one direction: regions must agree on it."""

    def fixed(stage: int, claim: Claim) -> Claim:
        up = stage in upwards
        ranges = claim.up if up else claim.down
        late = None if claim.late is None else (claim.late[up], claim.late[up])
        return Claim(ranges, ranges, late)

    return replace(buffer, claims={stage: fixed(stage, c) for stage, c in buffer.claims.items()})


def _chosen(task: _Task) -> _Filling:
    """Of the orders that may be good, the one whose filling waits least."""
    fillings = [f for f in map(lambda o: _repaired(task, o), _orders(task)) if f is not None]
    if fillings:
        return min(fillings, key=lambda filling: _cost(task, filling))
    roomiest = max(range(len(task.regions)), key=lambda r: task.regions[r].bytes)
    return _filled(task, next(_orders(task)), roomiest)


def _orders(task: _Task) -> Iterator[list[_Item]]:
    """By accesses per byte; by accesses; the largest first, which packs best."""
    yield sorted(task.items, key=lambda i: (-i.accesses / max(i.bytes, 1), i.name))
    yield sorted(task.items, key=lambda i: (-i.accesses, i.name))
    yield sorted(task.items, key=lambda i: (i.buffer is None, -i.bytes, i.name))


def _repaired(task: _Task, order: list[_Item]) -> _Filling | None:
    for _ in range(MOST_TURNS):
        filling = _filled(task, order)
        if filling.homeless is None:
            return filling
        order = [filling.homeless, *(item for item in order if item is not filling.homeless)]
    return None


def _cost(task: _Task, filling: _Filling) -> int:
    """The cycles that a run waits for memory."""
    waits = [region.wait_cycles for region in task.regions]
    return sum(
        waiting(i.accesses, waits[filling.regions[i]] if i in filling.regions else
                task.flash_wait_cycles)
        for i in task.items
    )  # fmt: skip


def _filled(task: _Task, order: Iterable[_Item], roomiest: int | None = None) -> _Filling:
    """Each item in the first region that has room; that of `roomiest` has no end."""
    chosen: dict[_Item, int] = {}
    members: list[list[int]] = [[] for _ in task.regions]
    arenas, tables = [0] * len(task.regions), [0] * len(task.regions)
    for item in order:
        for number, region in enumerate(task.regions):
            room = region.bytes
            if item.buffer is None:
                slower = region.wait_cycles >= task.flash_wait_cycles
                more = tables[number] + _padded(item)
                if not slower and _used(arenas[number], more) <= room:
                    tables[number], chosen[item] = more, number
                    break
                continue
            together = sorted([*members[number], item.buffer])
            arena = _arena_bytes(task.problem, together, room - tables[number])
            if _used(arena, tables[number]) <= room or number == roomiest:
                members[number], arenas[number], chosen[item] = together, arena, number
                break
        else:
            if item.buffer is not None:
                return _Filling(chosen, item)
    return _Filling(chosen)


def _arena_bytes(problem: Problem, members: Sequence[int], room: int) -> int:
    """Of some buffers alone: within `room` where that is found."""
    buffers = [problem.buffers[i] for i in members]
    bound = bound_of(buffers)
    if bound > room:
        return bound
    place = {member: i for i, member in enumerate(members)}
    pairs = {
        (place[u], place[v]): met
        for (u, v), met in problem.pairs.items()
        if u in place and v in place
    }
    part = Problem(tuple(buffers), problem.alignment, pairs, problem.two_ways)
    return searched(part, room, (), TURNS).bytes


def _used(arena_bytes: int, table_bytes: int) -> int:
    """Of a region: tables come on top of the arena as the linker places it."""
    if not table_bytes:
        return arena_bytes
    return -(-arena_bytes // ARENA_ALIGNMENT) * ARENA_ALIGNMENT + table_bytes


def _padded(table: Table | _Item) -> int:
    return -(-table.bytes // TABLE_ALIGNMENT) * TABLE_ALIGNMENT


def _placed(buffers: Sequence[Buffer], alignment: int) -> MemoryPlan:
    """Their arena, by the search that found room for them."""
    problem, bound = problem_of(buffers, alignment), bound_of(buffers)
    return plan_of(problem, searched(problem, bound, (), TURNS), bound)


def _plan(whole: MemoryPlan, task: _Task, filling: _Filling) -> MemoryPlan:
    """The best arena of each region, one plan of them all."""
    names = [region.name for region in task.regions]
    copies = {i.name: names[r] for i, r in filling.regions.items() if i.buffer is None}
    homes = {i.buffer: r for i, r in filling.regions.items() if i.buffer is not None}
    if not any(homes.values()):
        return replace(whole, copies=copies)
    buffers, alignment = task.problem.buffers, task.problem.alignment
    plans = [
        _placed([b for i, b in enumerate(buffers) if homes[i] == r], alignment)
        for r in range(len(names))
    ]
    return MemoryPlan(
        {name: offset for plan in plans for name, offset in plan.offsets.items()},
        plans[0].arena_bytes,
        plans[0].bound_bytes,
        {name: size for plan in plans for name, size in plan.windows.items()},
        {name: slide for plan in plans for name, slide in plan.slides.items()},
        whole.upwards,
        {b.name: names[homes[i]] for i, b in enumerate(buffers) if homes[i]},
        {names[r]: plan.arena_bytes for r, plan in enumerate(plans) if r and plan.arena_bytes},
        copies,
    )
