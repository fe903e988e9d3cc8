"""Makes the records that come with tinyc: `make records`, an hour of measuring on two cores.

Kept are the records that no other of the same workload beats. What an earlier run measured lies
in .cache and is measured again only where a kernel has changed.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.models import BY_NAME, ROOT
from bench.shapes import network_graphs
from tinyc.autotune.measure import Failure, measure
from tinyc.autotune.records import (
    Record,
    append_records,
    core_of,
    package_file,
    read_records,
    useful,
)
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.search import BATCH
from tinyc.autotune.tuner import Budget, Progress, tune_graph
from tinyc.compiler.graph import DType, Graph, constant
from tinyc.compiler.ops import OPS, kernel_of
from tinyc.compiler.ops.op import Call, call_of, rule_of_thumb
from tinyc.compiler.ops.workload import workload
from tinyc.compiler.pipeline import read_graph
from tinyc.compiler.program import arena_alone
from tinyc.targets import Target, load_target

INT8 = (
    "digits_cnn_int8_qdq_ort",
    "resnet8_cifar10_int8_qdq",
    "mobilenetv1_vww_int8_qdq",
    "dscnn_kws_int8_qdq",
    "fcae_toycar_int8_qdq",
)
NIBBLES = INT8[1:4]
LARGEST_BYTE, LARGEST_NIBBLE = 127, 7
FLOAT = ("resnet8_cifar10_f32", "mobilenetv1_vww_f32", "dscnn_kws_f32", "fcae_toycar_f32")
SEARCHED = ("cortex-m4", "cortex-m0plus", "rv32imc")
LIKE = {"cortex-m7": "cortex-m4", "cortex-m33": "cortex-m4"}  # what is good there is tried here
WITH_FLOATS = ("cortex-m4", "cortex-m7", "cortex-m33")
FOLDER = ROOT / ".cache" / "records"


def models_for(target: Target) -> Iterator[tuple[str, Graph]]:
    """The real models; those of floats and of 4-bit weights for cores that have blocks for them."""
    for name in INT8 + (FLOAT if target.name in WITH_FLOATS else ()):
        yield name, read_graph(BY_NAME[name].path, target)
    for name in NIBBLES if target.name in WITH_FLOATS else ():
        yield f"{name}, 4 bits", with_nibbles(read_graph(BY_NAME[name].path, target))


def with_nibbles(graph: Graph) -> Graph:
    """The graph with weights of 4 bits in its convolutions and products."""
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        w = tensors[node.inputs[1]] if node.op in ("Conv2D", "Dense") else None
        if w is None or w.data is None or w.quant is None:
            continue
        scale = tuple(s * LARGEST_BYTE / LARGEST_NIBBLE for s in w.quant.scale)
        values = np.round(w.data.astype(np.float64) * LARGEST_NIBBLE / LARGEST_BYTE)
        quant = replace(w.quant, scale=scale)
        tensors[w.name] = constant(w.name, values, DType.INT4, quant)
    return replace(graph, tensors=tensors)


Graphs = Iterable[tuple[str, Graph]]


def search(core: str, graphs: Graphs, pool: ProcessPoolExecutor, jobs: int, trials: int) -> None:
    """Tune graphs for a core."""
    target, file = load_target(core), FOLDER / f"{core}.jsonl"
    for name, graph in graphs:
        known = [r for r in read_records(file) if r.core == core_of(target)]
        budget = Budget(trials, in_flight=2 * jobs)
        tuning = tune_graph(graph, target, pool, file, known, budget, _watch(core, name))
        _complain(tuning.failures)


def try_again(core: str, like: str, graphs: Graphs, pool: ProcessPoolExecutor) -> None:
    """Measure on a core what is useful on another one like it."""
    target, file = load_target(core), FOLDER / f"{core}.jsonl"
    useful_there: dict[str, list[Schedule]] = {}
    for record in useful(read_records(FOLDER / f"{like}.jsonl")):
        useful_there.setdefault(record.workload, []).append(record.schedule)
    done = {(r.workload, r.schedule) for r in read_records(file) if r.core == core_of(target)}
    batches: list[tuple[Call, list[Schedule]]] = []
    for call in distinct_calls(graphs):
        text, algorithms = workload(call), OPS[call.node.op].algorithms
        rule = Schedule(rule_of_thumb(algorithms, call, target))
        open_ = [
            s
            for s in dict.fromkeys([rule, *useful_there.get(text, [])])
            if (text, s) not in done and algorithms[s.algorithm].suits(call, target)
        ]
        batches += [(call, open_[i : i + BATCH]) for i in range(0, len(open_), BATCH)]
    calls, schedules = [b[0] for b in batches], [b[1] for b in batches]
    for results in pool.map(measure, calls, [target] * len(batches), schedules):
        append_records(file, [r for r in results if isinstance(r, Record)])
        _complain([r for r in results if isinstance(r, Failure)])


def distinct_calls(graphs: Graphs) -> Iterator[Call]:
    seen = set()
    for _, graph in graphs:
        for node in graph.nodes:
            call = call_of(graph, node)
            if OPS[node.op].algorithms and workload(call) not in seen:
                seen.add(workload(call))
                yield call


def _watch(core: str, name: str):  # type: ignore[no-untyped-def]
    def watch(p: Progress) -> None:
        text = f"\r{core} {name}: {p.trials} of {p.most_trials} schedules "
        print(text, end="", file=sys.stderr, flush=True)

    return watch


def _complain(failures: Sequence[Failure]) -> None:
    for failure in failures:
        print(f"\nfailed: {failure}", file=sys.stderr)


def write_package(core: str, graphs: Graphs) -> Path:
    """The useful records of a core, sorted, as the file that comes with tinyc."""
    target = load_target(core)
    name, calls = core_of(target), {workload(call): call for call in distinct_calls(graphs)}
    latest = {
        (r.workload, r.schedule): r
        for r in read_records(FOLDER / f"{core}.jsonl")
        if r.core == name
    }
    known = [_planned_anew(r, calls.get(r.workload), target) for r in latest.values()]
    path = package_file(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{r.to_json()}\n" for r in useful(known)), "utf-8")
    return path


def _planned_anew(record: Record, call: Call | None, target: Target) -> Record:
    """With the arena of today's planner, which is no measurement."""
    if call is None:
        return record
    kernel = kernel_of(call, target, record.schedule)
    return replace(record, arena_bytes=arena_alone(call, target, kernel))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--trials", type=int, default=60, help="of a workload (default: 60)")
    parser.add_argument("--cores", nargs="*", default=[*SEARCHED, *LIKE], help="only these")
    parser.add_argument("--models-only", action="store_true", help="no networks of common shapes")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        for core in args.cores:
            graphs = list(models_for(load_target(core)))
            graphs += [] if args.models_only else list(network_graphs())
            if core in LIKE:
                try_again(core, LIKE[core], graphs, pool)
            else:
                search(core, graphs, pool, args.jobs, args.trials)
            print(f"\nwrote {write_package(core, graphs).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
