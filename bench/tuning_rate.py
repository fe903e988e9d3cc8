"""How fast schedules are measured: the four int8 models of MLPerf Tiny tuned from nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.models import TINY
from bench.tables import table
from tinyc.compiler.tuning import tune_model
from tinyc.targets import load_target

JOBS = 2
CORE = "cortex-m4"


def rate_section() -> Iterator[str]:
    cpus, load = os.cpu_count(), os.getloadavg()[0]
    yield f"\n## Tuning the four models from nothing for {CORE}, {JOBS} jobs\n"
    yield f"On {cpus} cores; load of the machine when it began: {load:.1f}.\n"
    target, rows = load_target(CORE), []
    with tempfile.TemporaryDirectory(prefix="tinyc-rate-") as folder:
        file = Path(folder) / "records.jsonl"  # shared: a workload of two models is measured once
        for model in TINY:
            found = tune_model(model.path, target, file=file, jobs=JOBS, afresh=True)
            rows.append((model.name, found.measured, found.seconds))
    rows.append(("all", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    yield table(
        "model | schedules measured | seconds | a second",
        [(name, count, f"{s:.0f}", f"{count / s:.1f}") for name, count, s in rows],
    )
