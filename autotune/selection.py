"""One option for each group of equal nodes, so that the whole costs least.

Flash is shared: the nodes of a group are one function, and blocks of equal name are one function
whoever calls them. So options are not chosen one by one but by local search, from several starts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinyc.autotune.options import Option
from tinyc.compiler.graph import Array
from tinyc.passes.fusions import Streamable

OTHER_CODE_BYTES = 2048  # what no option changes: pools, softmax, the run function

Picks = tuple[int, ...]  # an index into the options of each group


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one workload, which get one schedule.

    passing_bytes  what else is in the arena while a node runs whose inputs, all in the arena, it
                   is the last to read; None: there is no such node
    apart_bytes    all that is in the arena while another node runs, but for its scratch; None:
                   there is no such node
    streamed       the nodes that run row by row; then all of them do
    """

    workload: str
    nodes: tuple[str, ...]
    passing_bytes: int | None
    apart_bytes: int | None
    options: tuple[Option, ...]
    streamed: tuple[Streamable, ...] = ()

    def cycles(self, option: Option) -> int:
        """Of all its nodes; those that stream are called more often, and move rows."""
        calls = sum(layer.cycles for layer in self.streamed) // option.band
        return option.cycles * len(self.nodes) + calls

    def ram_bytes(self, option: Option) -> int:
        """About: the arena that holds the largest step of its nodes that run alone."""
        alone = 0 if self.passing_bytes is None else self.passing_bytes + option.arena_bytes
        apart = 0 if self.apart_bytes is None else self.apart_bytes + option.scratch_bytes
        return max(alone, apart)

    def streams(self, option: Option) -> Iterator[tuple[int, int, int]]:
        """For each node that streams: the stage, the bytes at its calls, what its band adds."""
        for layer in self.streamed:
            at_calls = layer.live_bytes + option.scratch_bytes
            yield layer.stream, at_calls, (option.band - 1) * layer.row_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """What the nodes with a choice cost together; flash with their tables and code.

    The numbers of one set of options, or arrays of those of many.
    """

    cycles: Any
    flash_bytes: Any
    ram_bytes: Any


Objective = Callable[[Cost], Any]  # of arrays, an array


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups to choose for, and the costs of their options as arrays."""

    groups: tuple[Group, ...]

    @cached_property
    def blocks(self) -> dict[str, int]:
        """A number for every block."""
        names = (name for g in self.groups for option in g.options for name in option.blocks)
        return {name: i for i, name in enumerate(dict.fromkeys(names))}

    @cached_property
    def block_bytes(self) -> Array:
        sizes = np.zeros(len(self.blocks), np.int64)
        for group in self.groups:
            for option in group.options:
                for name, size in option.blocks.items():
                    sizes[self.blocks[name]] = max(sizes[self.blocks[name]], size)
        return sizes

    @cached_property
    def columns(self) -> "Columns":
        stages = max((s.stream for g in self.groups for s in g.streamed), default=-1) + 1
        return Columns.of(self.groups, self.blocks, stages)

    @cached_property
    def firsts(self) -> Array:
        """Where the options of each group begin in the columns; int64 [groups]."""
        counts = [len(group.options) for group in self.groups]
        return np.cumsum([0, *counts], dtype=np.int64)[:-1]

    @cached_property
    def owners(self) -> Array:
        """The group of each option in the columns; int64 [options]."""
        counts = [len(group.options) for group in self.groups]
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def shared(self) -> Array:
        """For each schedule that several groups have, its place in each; -1 where there is none.

        int64 [schedules, groups]
        """
        places = [{o.schedule: i for i, o in enumerate(group.options)} for group in self.groups]
        count = Counter(schedule for place in places for schedule in place)
        several = [schedule for schedule in count if count[schedule] > 1]
        rows = [[place.get(schedule, -1) for place in places] for schedule in several]
        return np.array(rows, np.int64).reshape(-1, len(self.groups))


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What options cost, those of all groups in a row; [options], or [options, blocks or stages].

    flash     without blocks
    uses      the blocks that each calls; bool
    at_calls  of each stage that streams, the most bytes at a call
    added     what the bands add to the windows of each stage
    """

    cycles: Array
    flash: Array
    ram: Array
    uses: Array
    at_calls: Array
    added: Array

    @staticmethod
    def of(groups: tuple[Group, ...], blocks: dict[str, int], stages: int) -> "Columns":
        options = [(group, option) for group in groups for option in group.options]
        uses = np.zeros((len(options), len(blocks)), np.bool_)
        at_calls = np.zeros((len(options), stages), np.int64)
        added = np.zeros((len(options), stages), np.int64)
        for i, (group, option) in enumerate(options):
            uses[i, [blocks[name] for name in option.blocks]] = True
            for stage, most, more in group.streams(option):
                at_calls[i, stage] = max(at_calls[i, stage], most)
                added[i, stage] += more
        return Columns(
            np.array([g.cycles(o) for g, o in options], np.int64),
            np.array([o.tables_bytes * len(g.nodes) + o.own_bytes for g, o in options], np.int64),
            np.array([g.ram_bytes(o) for g, o in options], np.int64),
            uses, at_calls, added,
        )  # fmt: skip


def select(groups: Groups, objective: Objective) -> Picks:
    """The best of the local optima that the starts lead to."""
    found = [_descend(groups, start, objective) for start in _starts(groups)]
    return min(found, key=lambda picks: objective(cost_of(groups, picks)))


def least_cost(groups: Groups) -> Cost:
    """No choice costs less of anything: the least of each by itself, blocks left out."""
    if not groups.groups:
        return Cost(1, OTHER_CODE_BYTES, 1)
    c, firsts = groups.columns, groups.firsts
    ram = np.maximum(c.ram, c.at_calls.max(axis=1, initial=0))
    return Cost(
        max(int(np.minimum.reduceat(c.cycles, firsts).sum()), 1),
        OTHER_CODE_BYTES + int(np.minimum.reduceat(c.flash, firsts).sum()),
        max(int(np.minimum.reduceat(ram, firsts).max()), 1),
    )


def cost_of(groups: Groups, picks: Picks) -> Cost:
    """What the groups cost with these options."""
    if not picks:
        return Cost(1, OTHER_CODE_BYTES, 1)
    cost = _costs(groups, np.array([picks]))
    return Cost(*(int(v[0]) for v in (cost.cycles, cost.flash_bytes, cost.ram_bytes)))


def _costs(groups: Groups, picks: Array) -> Cost:
    """What all cost with each of several picks; int64 [picks, groups] -> arrays [picks]."""
    c, rows = groups.columns, groups.firsts + picks
    streams = c.at_calls[rows].max(axis=1) + c.added[rows].sum(axis=1)
    return Cost(
        np.maximum(c.cycles[rows].sum(axis=1), 1),
        c.flash[rows].sum(axis=1) + OTHER_CODE_BYTES
        + c.uses[rows].any(axis=1) @ groups.block_bytes,
        np.maximum(c.ram[rows].max(axis=1), streams.max(axis=1, initial=1)),
    )  # fmt: skip


def _costs_of_changes(groups: Groups, picks: Array) -> Cost:
    """What all cost with each option of one group, the others as picked; arrays [options]."""
    c, rows, owners = groups.columns, groups.firsts + picks, groups.owners

    def changed(column: Array) -> Array:
        """The sum over the groups."""
        picked = column[rows]
        others: Array = picked.sum(axis=0) - picked
        return column + others[owners]

    uses = c.uses[rows]
    present = uses.sum(axis=0) > uses  # by one of the other groups
    streams = np.maximum(c.at_calls, _most_of_others(c.at_calls[rows])[owners]) + changed(c.added)
    ram = np.maximum(c.ram, _most_of_others(c.ram[rows])[owners])
    return Cost(
        np.maximum(changed(c.cycles), 1),
        changed(c.flash) + OTHER_CODE_BYTES + (c.uses | present[owners]) @ groups.block_bytes,
        np.maximum(ram, streams.max(axis=1, initial=1)),
    )


def _most_of_others(values: Array) -> Array:
    """For each row the largest value of the rows before and behind it, 0 at the least."""
    none = np.zeros_like(values[:1])
    before = np.maximum.accumulate(np.concatenate([none, values[:-1]]))
    behind = np.maximum.accumulate(np.concatenate([none, values[:0:-1]]))[::-1]
    return np.maximum(before, behind)


def _starts(groups: Groups) -> list[Picks]:
    """Fewest cycles, least flash, least RAM of every group by itself."""

    def by(key: Callable[[Option], tuple[int, int]]) -> Picks:
        keys = [[key(option) for option in group.options] for group in groups.groups]
        return tuple(values.index(min(values)) for values in keys)

    return [
        by(lambda o: (o.cycles, o.flash_bytes)),
        by(lambda o: (o.flash_bytes, o.cycles)),
        by(lambda o: (o.arena_bytes, o.cycles)),
    ]


def _descend(groups: Groups, start: Picks, objective: Objective) -> Picks:
    """Change one group while that helps, then all groups that have it to one schedule."""
    picks = start
    while picks:
        picks = _descend_one_by_one(groups, picks, objective)
        together = _with_best_for_all(groups, picks, objective)
        if together == picks:
            break
        picks = together
    return picks


def _descend_one_by_one(groups: Groups, start: Picks, objective: Objective) -> Picks:
    """Group by group, round and round: each time the next one that another option is better for."""
    picks, turn, firsts = np.array(start), 0, groups.firsts
    while True:
        values = objective(_costs_of_changes(groups, picks))
        least = np.minimum.reduceat(values, firsts)
        better = np.flatnonzero(least < values[firsts + picks])
        if not better.size:
            return tuple(picks.tolist())
        group = int(better[np.argmax(better >= turn)])  # the first one where the round begins again
        mine = slice(firsts[group], firsts[group] + len(groups.groups[group].options))
        picks[group] = np.argmin(values[mine])
        turn = group + 1


def _with_best_for_all(groups: Groups, picks: Picks, objective: Objective) -> Picks:
    """One schedule for all groups that have it, if one of them helps."""
    changed = np.where(groups.shared >= 0, groups.shared, picks)
    ways = np.concatenate([[picks], changed])
    best = int(np.argmin(objective(_costs(groups, ways))))
    return tuple(ways[best].tolist())
