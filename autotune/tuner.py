"""Tunes the kernels of a model: proposes schedules, has them measured, remembers the records."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from tinyc.autotune.candidates import candidate
from tinyc.autotune.cost_model import CostModel
from tinyc.autotune.features import features
from tinyc.autotune.measure import Failure, measure
from tinyc.autotune.records import Record, append_records
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.search import BATCH, Space, exhausted, next_batch
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of, schedules_of
from tinyc.compiler.ops.workload import workload
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class Budget:
    """trials of each workload; minutes of the whole, 0: no limit; more in flight than processes
    keep all of them busy.
    """

    trials: int = 60
    minutes: float = 0.0
    in_flight: int = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """Schedules measured so far, and at most to be measured; workloads done, and all."""

    trials: int
    most_trials: int
    done: int
    workloads: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning one workload came to.

    layers   how many nodes of the model have it
    rule     cycles of the rule of thumb
    best     the record with the fewest cycles
    trials   schedules measured, and how many there are
    """

    workload: str
    layers: int
    rule: int
    best: Record
    trials: int
    space: int


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning a model came to. `complete` is false when it was interrupted."""

    workloads: tuple[Tuned, ...]
    failures: tuple[Failure, ...]
    seconds: float
    measured: int
    complete: bool


@dataclass(slots=True)
class _Search:
    """The state of one workload."""

    call: Call
    space: Space
    layers: int
    most: int
    records: dict[Schedule, Record] = field(default_factory=dict)
    failed: set[Schedule] = field(default_factory=set)
    best_by_batch: list[float] = field(default_factory=list)

    @property
    def measured(self) -> dict[Schedule, int]:
        cycles = {s: r.cycles for s, r in self.records.items()}
        return {**cycles, **dict.fromkeys(self.failed, 0)}

    @property
    def finished(self) -> bool:
        known = len(self.records) + len(self.failed)
        return known >= min(self.most, len(self.space.schedules)) or exhausted(self.best_by_batch)


def tune_graph(
    graph: Graph,
    target: Target,
    executor: Executor,
    file: Path,
    known: Iterable[Record],
    budget: Budget,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Tuning:
    """Measure schedules of every workload of `graph`; records go to `file` as they come.

    known  records that need not be measured again, where the kernel is still the same

    An interrupt (Ctrl-C) ends it early; what was measured is kept.

    Raises CompileError when nothing can be measured.
    """
    start, searches = time.monotonic(), _searches(graph, target, budget)
    _resume(searches, target, executor, known)
    model, failures, measured = CostModel(), [], 0
    for search in searches:
        _learn(model, search, search.records.values())
    waiting = [search for search in searches if not search.finished]
    running = dict[Future[tuple[Record | Failure, ...]], _Search]()
    complete = True
    try:
        while waiting or running:
            late = budget.minutes and time.monotonic() - start > 60 * budget.minutes
            while waiting and not late and len(running) < budget.in_flight:
                search = waiting.pop(0)
                batch = _batch(search, model)
                if batch:
                    running[executor.submit(measure, search.call, target, batch)] = search
            if late and not running:
                break
            watch(_progress(searches))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                search = running.pop(future)
                results = future.result()
                measured += len(results)
                failures += _keep(search, results, model, file)
                if not search.finished:
                    waiting.append(search)
    except KeyboardInterrupt:
        complete = False
        for future in running:
            future.cancel()
        for future, search in running.items():
            if not future.cancelled() and future.exception() is None:
                measured += len(future.result())
                failures += _keep(search, future.result(), model, file)
    watch(_progress(searches))
    tuned = tuple(_tuned(search) for search in searches if search.records)
    return Tuning(tuned, tuple(failures), time.monotonic() - start, measured, complete)


def _searches(graph: Graph, target: Target, budget: Budget) -> list[_Search]:
    """One for each workload, the one with the most multiply-accumulates first."""
    calls: dict[str, list[Call]] = {}
    for node in graph.nodes:
        call = call_of(graph, node)
        if OPS[node.op].algorithms:
            calls.setdefault(workload(call), []).append(call)
    searches = []
    for text, same in calls.items():
        schedules = schedules_of(OPS[same[0].node.op].algorithms, same[0], target)
        rows = tuple(features(same[0], target, s) for s in schedules)
        space = Space(text, schedules, rows)
        searches.append(_Search(same[0], space, len(same), budget.trials))
    macs = {id(s): OPS[s.call.node.op].macs(s.call) * s.layers for s in searches}
    return sorted(searches, key=lambda s: -macs[id(s)])


def _resume(
    searches: Sequence[_Search], target: Target, executor: Executor, known: Iterable[Record]
) -> None:
    """Take over the records whose kernels are still the same."""
    by_workload: dict[str, list[Record]] = {}
    for record in known:
        by_workload.setdefault(record.workload, []).append(record)
    pending = []
    for search in searches:
        schedules = set(search.space.schedules)
        mine = [r for r in by_workload.get(search.space.workload, []) if r.schedule in schedules]
        if mine:
            pending.append((search, executor.submit(current, search.call, target, tuple(mine))))
    for search, future in pending:
        search.records.update({r.schedule: r for r in future.result()})


def current(call: Call, target: Target, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Those of `records` whose kernel is still what it was."""
    return tuple(r for r in records if candidate(call, target, r.schedule, "c0").kernel == r.kernel)


def _batch(search: _Search, model: CostModel) -> list[Schedule]:
    room = search.most - len(search.records) - len(search.failed)
    return next_batch(search.space, search.measured, model, min(BATCH, room))


def _keep(
    search: _Search, results: Sequence[Record | Failure], model: CostModel, file: Path
) -> list[Failure]:
    """Remember a batch; the failures of it."""
    records = [r for r in results if isinstance(r, Record)]
    failures = [r for r in results if isinstance(r, Failure)]
    append_records(file, records)
    search.records.update({r.schedule: r for r in records})
    search.failed.update(f.schedule for f in failures)
    if search.records:
        search.best_by_batch.append(min(r.cycles for r in search.records.values()))
    _learn(model, search, records)
    return failures


def _learn(model: CostModel, search: _Search, records: Iterable[Record]) -> None:
    rows = dict(zip(search.space.schedules, search.space.features, strict=True))
    for record in records:
        model.add(search.space.workload, rows[record.schedule], record.cycles)


def _progress(searches: Sequence[_Search]) -> Progress:
    trials = [len(s.records) + len(s.failed) for s in searches]
    most = [
        t if s.finished else min(s.most, len(s.space.schedules))
        for s, t in zip(searches, trials, strict=True)
    ]
    done = sum(s.finished for s in searches)
    return Progress(sum(trials), sum(most), done, len(searches))


def _tuned(search: _Search) -> Tuned:
    best = min(search.records.values(), key=lambda r: (r.cycles, r.flash_bytes))
    rule = search.records.get(search.space.schedules[0], best)
    return Tuned(
        search.space.workload,
        search.layers,
        rule.cycles,
        best,
        len(search.records) + len(search.failed),
        len(search.space.schedules),
    )


def speedup(tuning: Tuning) -> Mapping[str, int]:
    """Cycles of all tuned layers by the rule of thumb, and by the best schedules."""
    return {
        "rule": sum(t.rule * t.layers for t in tuning.workloads),
        "best": sum(t.best.cycles * t.layers for t in tuning.workloads),
    }
