"""Tunes a model's kernels for a target: where measuring runs, and which records there are."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from tinyc.autotune.cost_model import require_xgboost
from tinyc.autotune.records import core_of, known_records, read_records, user_file
from tinyc.autotune.tuner import Budget, Progress, Tuning, tune_graph
from tinyc.compiler.errors import CompileError
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import read_graph
from tinyc.targets import Target
from tinyc.targets.runner import EMULATOR, require_packages
from tinyc.targets.toolchain import find_compiler

IN_FLIGHT = 2  # batches for each process: one runs while the next is being chosen


def tune_model(
    model: Path,
    target: Target,
    *,
    file: Path | None = None,
    trials: int = 60,
    minutes: float = 0.0,
    jobs: int = 2,
    cluster: str = "",
    afresh: bool = False,
    options: Options = Options(),  # noqa: B008  frozen
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Tuning:
    """Measure schedules of every kernel workload of a model; `compile` then uses the records.

    file     records are appended here as they come; None: the user's file
    trials   schedules of each workload; minutes of the whole, 0 for no limit
    jobs     processes of this machine; cluster: the address of a Dask scheduler instead
    afresh   measure again what is on record

    Raises CompileError when the target has no emulator, or a package or compiler is missing.
    """
    if not target.emulator:
        raise CompileError(
            "not-emulated",
            f"'{target.name}' runs on this machine, where no cycles are counted",
            f"--target {target.name}",
            "tune for an emulated core: see `tinyc targets`",
        )
    require_xgboost()
    require_packages(EMULATOR)
    find_compiler(target)
    file = file or user_file()
    graph = read_graph(model, target, options)
    core = core_of(target)
    known = () if afresh else (*known_records(target), *read_records(file))
    mine = [record for record in known if record.core == core]
    with _executor(jobs, cluster) as (executor, workers):
        budget = Budget(trials, minutes, IN_FLIGHT * workers)
        return tune_graph(graph, target, executor, file, mine, budget, watch)


@contextmanager
def _executor(jobs: int, cluster: str) -> Iterator[tuple[Executor, int]]:
    """Where measuring runs, and how many batches run at once."""
    if cluster:
        with _cluster(cluster) as found:
            yield found
        return
    # spawn: TVM has threads that a fork would lose
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield pool, jobs
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that asks; what is being measured is finished and kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    if find_spec("distributed") is None:
        raise CompileError(
            "cluster-missing",
            "tuning on a cluster needs the package distributed",
            f"--cluster {address}",
            "run: pip install 'tinyc[cluster]'",
        )
    import distributed

    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise CompileError(
            "cluster-missing",
            f"no Dask scheduler answers: {error}",
            f"--cluster {address}",
            "start `dask scheduler` and some `dask worker`, and give the scheduler's address",
        ) from error
    with client:
        workers = len(client.scheduler_info()["workers"])
        yield client.get_executor(pure=False), max(workers, 1)
