"""One option for each group of equal nodes, so that the whole costs least.

Flash is shared: the nodes of a group are one function, and blocks of equal name are one function
whoever calls them. So options are not chosen one by one but by local search, from several starts.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinyc.autotune.options import Option
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
    """What the nodes with a choice cost together; flash with their tables and code."""

    cycles: int
    flash_bytes: int
    ram_bytes: int


Objective = Callable[[Cost], float]


def select(groups: Sequence[Group], objective: Objective) -> Picks:
    """The best of the local optima that the starts lead to."""
    found = [_descend(groups, start, objective) for start in _starts(groups)]
    return min(found, key=lambda picks: objective(cost_of(groups, picks)))


def least_cost(groups: Sequence[Group]) -> Cost:
    """No choice costs less of anything: the least of each by itself, blocks left out."""

    def least(value: Callable[[Group, Option], int]) -> list[int]:
        return [min(value(group, option) for option in group.options) for group in groups]

    def ram(group: Group, option: Option) -> int:
        return max(group.ram_bytes(option), *(n for _, n, _ in group.streams(option)), 1)

    return Cost(
        max(sum(least(lambda g, o: g.cycles(o))), 1),
        OTHER_CODE_BYTES + sum(least(lambda g, o: o.tables_bytes * len(g.nodes) + o.own_bytes)),
        max(least(ram), default=1),
    )


def cost_of(groups: Sequence[Group], picks: Picks) -> Cost:
    """What the groups cost with these options."""
    return _Sum.of(groups, picks).cost


@dataclass(frozen=True, slots=True)
class _Sum:
    """The cost of some groups, with the blocks that are there already.

    streams  of each stage that streams: the most bytes at a call, and what the bands add, since a
             window that one layer makes larger is there while the others run
    """

    cycles: int
    flash_bytes: int
    ram_bytes: int
    blocks: Mapping[str, int]
    streams: Mapping[int, tuple[int, int]]

    @staticmethod
    def of(groups: Sequence[Group], picks: Picks, without: int = -1) -> "_Sum":
        cycles, flash, ram = 0, OTHER_CODE_BYTES, 0
        blocks: dict[str, int] = {}
        streams: dict[int, tuple[int, int]] = {}
        for i, (group, pick) in enumerate(zip(groups, picks, strict=True)):
            if i == without:
                continue
            option = group.options[pick]
            cycles += group.cycles(option)
            flash += option.tables_bytes * len(group.nodes) + option.own_bytes
            ram = max(ram, group.ram_bytes(option))
            blocks.update(option.blocks)
            _add(streams, group, option)
        return _Sum(cycles, flash + sum(blocks.values()), ram, blocks, streams)

    def plus(self, group: Group, option: Option) -> Cost:
        """With one more group."""
        more = sum(size for name, size in option.blocks.items() if name not in self.blocks)
        streams = self.streams
        if group.streamed:
            streams = dict(streams)
            _add(streams, group, option)
        return Cost(
            max(self.cycles + group.cycles(option), 1),
            self.flash_bytes + option.tables_bytes * len(group.nodes) + option.own_bytes + more,
            max(self.ram_bytes, group.ram_bytes(option), *map(sum, streams.values()), 1),
        )

    @property
    def cost(self) -> Cost:
        ram = max(self.ram_bytes, *map(sum, self.streams.values()), 1)
        return Cost(max(self.cycles, 1), self.flash_bytes, ram)


def _add(streams: dict[int, tuple[int, int]], group: Group, option: Option) -> None:
    for stage, at_calls, more in group.streams(option):
        most, added = streams.get(stage, (0, 0))
        streams[stage] = max(most, at_calls), added + more


def _starts(groups: Sequence[Group]) -> list[Picks]:
    """Fewest cycles, least flash, least RAM of every group by itself."""

    def by(key: Callable[[Option], tuple[int, int]]) -> Picks:
        keys = [[key(option) for option in group.options] for group in groups]
        return tuple(values.index(min(values)) for values in keys)

    return [
        by(lambda o: (o.cycles, o.flash_bytes)),
        by(lambda o: (o.flash_bytes, o.cycles)),
        by(lambda o: (o.arena_bytes, o.cycles)),
    ]


def _descend(groups: Sequence[Group], start: Picks, objective: Objective) -> Picks:
    """Change one group while that helps, then all groups that have it to one schedule."""
    picks = start
    while True:
        picks = _descend_one_by_one(groups, picks, objective)
        together = _with_best_for_all(groups, picks, objective)
        if together == picks:
            return picks
        picks = together


def _descend_one_by_one(groups: Sequence[Group], start: Picks, objective: Objective) -> Picks:
    picks, still = start, 0
    for i in itertools.cycle(range(len(groups))):
        found = _with_best(groups, picks, i, objective)
        still = still + 1 if found == picks else 1
        picks = found
        if still >= len(groups):
            break
    return picks


def _with_best(groups: Sequence[Group], picks: Picks, i: int, objective: Objective) -> Picks:
    """The best option for group `i`; the one it has when none is better."""
    others = _Sum.of(groups, picks, without=i)
    values = [objective(others.plus(groups[i], option)) for option in groups[i].options]
    best = values.index(min(values))
    return picks if values[best] == values[picks[i]] else (*picks[:i], best, *picks[i + 1 :])


def _with_best_for_all(groups: Sequence[Group], picks: Picks, objective: Objective) -> Picks:
    """One schedule for all groups that have it, if one of them helps."""
    lowest = objective(cost_of(groups, picks))
    best = picks
    places = [{o.schedule: i for i, o in enumerate(group.options)} for group in groups]
    count = Counter(schedule for place in places for schedule in place)
    for schedule in (s for s in count if count[s] > 1):
        changed = tuple(p.get(schedule, pick) for p, pick in zip(places, picks, strict=True))
        value = objective(cost_of(groups, changed))
        if value < lowest:
            best, lowest = changed, value
    return best
