"""Tuning: measured against the reference, remembered, resumed, and used by compile."""

import signal
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinyc
from tests.harness import optimized, read_model
from tests.test_quantized_ops import CASES
from tinyc.autotune import measure as measuring
from tinyc.autotune.candidates import candidate
from tinyc.autotune.cost_model import CostModel
from tinyc.autotune.features import features
from tinyc.autotune.measure import Failure, measure
from tinyc.autotune.records import (
    PROJECT_FILE,
    Record,
    append_records,
    core_of,
    read_records,
    useful,
)
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.search import Space, exhausted, next_batch
from tinyc.autotune.tuner import Budget, Progress, Tuning, tune_graph
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of, schedules_of
from tinyc.compiler.ops.workload import workload
from tinyc.compiler.pipeline import read_graph
from tinyc.compiler.tuning import tune_model
from tinyc.targets import load_target

M4 = load_target("cortex-m4")
EXAMPLE = Path(__file__).parent.parent / "examples" / "digits" / "digits_cnn_int8_qdq_ort.onnx"
RECORD = Record("core", "gcc 1", "k", "w", Schedule("gemm", 2, 2), 100, 10, 20, {"b": 30}, 4, 80)


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except CompileError as error:
            future.set_exception(error)
        return future


def graph_of(case: str, folder: Path) -> Graph:
    return optimized(read_model(CASES[case](), folder))


def conv_of(folder: Path, case: str = "conv 1x1") -> Call:
    graph = graph_of(case, folder)
    return call_of(graph, next(n for n in graph.nodes if n.op == "Conv2D"))


def tuned(graph: Graph, file: Path, trials: int = 4, known: tuple[Record, ...] = ()) -> Tuning:
    return tune_graph(graph, M4, Here(), file, known, Budget(trials, in_flight=1))


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "records.jsonl"
    other = replace(RECORD, schedule=Schedule(), cycles=7)

    append_records(file, [RECORD])
    append_records(file, [other])

    assert list(read_records(file)) == [RECORD, other]


def test_a_record_from_before_a_field_still_loads(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(RECORD.to_json() + "\n")

    assert '"unroll"' not in file.read_text() and list(read_records(file)) == [RECORD]


@pytest.mark.parametrize("line", ["{", "[]", '{"core": "x"}', '{"schedule": {"colour": 1}}'])
def test_a_line_that_is_no_record_is_an_error_that_names_it(line: str, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(f"{RECORD.to_json()}\n{line}\n")

    with pytest.raises(CompileError, match="line 2") as error:
        list(read_records(file))

    assert error.value.code == "bad-records"


def test_records_that_cost_more_of_everything_are_not_useful() -> None:
    slower = replace(RECORD, schedule=Schedule("a"), cycles=120)
    smaller = replace(RECORD, schedule=Schedule("b"), cycles=150, tables_bytes=1)
    other = replace(slower, workload="v")

    assert set(r.cycles for r in useful([slower, smaller, RECORD])) == {100, 150}
    assert other in useful([RECORD, other])


def test_measured_schedules_compute_what_the_reference_computes(tmp_path: Path) -> None:
    call = conv_of(tmp_path)
    schedules = [Schedule("gemm", 2, 2), Schedule("gemm-blocks")]

    results = measure(call, M4, schedules)

    assert [type(r) for r in results] == [Record, Record]
    plain, blocks = results
    assert isinstance(plain, Record) and isinstance(blocks, Record)
    assert plain.cycles > 0 and plain.own_bytes > 0 and plain.core == core_of(M4)
    assert not plain.blocks and all(name.startswith("tinyc_") for name in blocks.blocks)
    assert plain.kernel != blocks.kernel


def test_a_measurement_hardly_depends_on_its_batch(tmp_path: Path) -> None:
    call, schedule = conv_of(tmp_path), Schedule("gemm", 2, 2)

    (alone,) = measure(call, M4, [schedule])
    _, among, _ = measure(call, M4, [Schedule("gemm", 1, 4), schedule, Schedule("gemm")])

    assert isinstance(alone, Record) and isinstance(among, Record)
    assert among.cycles == pytest.approx(alone.cycles, rel=0.01)  # placement of code
    assert among == replace(alone, cycles=among.cycles)


def test_a_kernel_that_computes_something_else_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = conv_of(tmp_path)
    wrong = replace(OPS["Conv2D"], reference=lambda c, a: (np.zeros(c.output.shape, np.int8),))
    monkeypatch.setattr(measuring, "OPS", {**OPS, "Conv2D": wrong})

    (result,) = measure(call, M4, [Schedule("gemm")])

    assert isinstance(result, Failure) and "reference" in result.reason


def space_of(count: int) -> Space:
    schedules = tuple(Schedule("gemm", rows, unroll=u) for rows in range(count) for u in (1, 2))
    rows = tuple(np.array([s.rows, s.unroll], np.float32) for s in schedules)
    return Space("w", schedules, rows)


def test_batches_are_new_distinct_and_the_same_every_time() -> None:
    space, model = space_of(20), CostModel()
    measured = {s: 100 for s in space.schedules[:15]}

    one, same = (next_batch(space, measured, model, 8) for _ in range(2))

    assert one == same and len(set(one)) == 8 and not set(one) & set(measured)


def test_the_model_ranks_what_it_has_learned_first() -> None:
    space, model = space_of(40), CostModel()
    measured = {s: 1000 + 50 * s.rows for s in space.schedules[::3]}
    for schedule, row in zip(space.schedules, space.features, strict=True):
        if schedule in measured:
            model.add("w", row, measured[schedule])

    batch = next_batch(space, measured, model, 10)

    assert np.median([s.rows for s in batch]) <= 8  # of 0 to 39, the fewer the faster


def test_the_rest_of_a_space_is_one_batch() -> None:
    space = space_of(4)
    measured = dict.fromkeys(space.schedules[:5], 1)

    assert next_batch(space, measured, CostModel(), 12) == list(space.schedules[5:])


def test_a_search_ends_when_batches_find_nothing() -> None:
    assert not exhausted([100.0, 90.0]) and not exhausted([100.0, 90.0, 80.0])
    assert exhausted([90.0, 90.0, 90.0])


def test_features_tell_schedules_and_sizes_apart(tmp_path: Path) -> None:
    call = conv_of(tmp_path)
    schedules = schedules_of(OPS["Conv2D"].algorithms, call, M4)

    rows = {tuple(features(call, M4, s).tolist()) for s in schedules}

    assert len(rows) == len(set(schedules)) == len(schedules)


def test_tuning_keeps_records_and_the_next_run_goes_on_from_them(tmp_path: Path) -> None:
    graph, file = graph_of("conv 1x1", tmp_path), tmp_path / "r.jsonl"

    first = tuned(graph, file, trials=2)
    again = tuned(graph, file, trials=2, known=tuple(read_records(file)))
    more = tuned(graph, file, trials=3, known=tuple(read_records(file)))

    assert first.measured == len(first.workloads) * 2 and again.measured == 0
    assert more.measured == len(first.workloads)
    assert again.workloads == first.workloads
    assert tuned(graph, file, trials=2, known=tuple(read_records(file))).measured == 0
    assert all(t.best.cycles <= t.rule for t in first.workloads)


def test_another_kernel_is_measured_again(tmp_path: Path) -> None:
    graph, file = graph_of("conv 1x1", tmp_path), tmp_path / "r.jsonl"
    first = tuned(graph, file, trials=2)

    changed = tuple(replace(r, kernel="another") for r in read_records(file))

    assert tuned(graph, file, trials=2, known=changed).measured == first.measured


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tinyc.autotune.tuner.BATCH", 2)
    graph, file, interrupted = graph_of("conv 1x1", tmp_path), tmp_path / "r.jsonl", list[int]()

    def watch(progress: Progress) -> None:
        if progress.trials and not interrupted:
            interrupted.append(progress.trials)
            signal.raise_signal(signal.SIGINT)

    tuning = tune_graph(graph, M4, Here(), file, (), Budget(6, in_flight=1), watch)

    assert not tuning.complete and 0 < tuning.measured == len(list(read_records(file)))


def test_compile_uses_the_records_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = read_graph(EXAMPLE, M4)
    call = call_of(graph, next(n for n in graph.nodes if n.op == "Conv2D"))
    schedule = Schedule("gemm", 3, 3, 1)
    kernel = candidate(call, M4, schedule, "c0").kernel
    fast = replace(
        RECORD, core=core_of(M4), kernel=kernel, workload=workload(call), schedule=schedule,
        cycles=1, blocks={},
    )  # fmt: skip
    append_records(tmp_path / PROJECT_FILE, [fast])
    monkeypatch.chdir(tmp_path)

    report = tinyc.compile(EXAMPLE, "cortex-m4").report

    (layer,) = (x for x in report.layers if x.cycles == 1)
    assert layer.cycles_source == "measured"
    assert layer.schedule == {"algorithm": "gemm", "rows": 3, "columns": 3, "unroll": 1}

    append_records(tmp_path / PROJECT_FILE, [replace(fast, kernel="before")])
    (layer,) = (x for x in tinyc.compile(EXAMPLE, "cortex-m4").report.layers if x.cycles == 1)
    assert layer.cycles_source == "estimated"


def test_a_record_that_does_not_suit_the_weights_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = read_graph(EXAMPLE, load_target("rv32imc"))
    call = call_of(graph, next(n for n in graph.nodes if n.op == "Conv2D"))
    fast = replace(
        RECORD, core=core_of(load_target("rv32imc")), workload=workload(call),
        schedule=Schedule("gemm-blocks"), cycles=1,
    )  # fmt: skip
    append_records(tmp_path / PROJECT_FILE, [fast])
    monkeypatch.chdir(tmp_path)

    report = tinyc.compile(EXAMPLE, "rv32imc").report

    assert all(layer.cycles != 1 for layer in report.layers)


@pytest.mark.slow
def test_a_cluster_measures_what_this_machine_measures(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    here = tune_model(EXAMPLE, M4, file=tmp_path / "here.jsonl", trials=2, jobs=1, afresh=True)

    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = tune_model(
            EXAMPLE, M4, file=tmp_path / "there.jsonl", trials=2, afresh=True,
            cluster=cluster.scheduler_address,
        )  # fmt: skip

    assert {r.to_json() for r in read_records(tmp_path / "here.jsonl")} == {
        r.to_json() for r in read_records(tmp_path / "there.jsonl")
    }
    assert here.measured == there.measured > 0
