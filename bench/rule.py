"""What tuning gains over the rule of thumb, layer by layer, and how quickly it measures."""

import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

from bench.models import BY_NAME, TINY
from bench.tables import table
from tinyc.autotune.records import known_records
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import compile_model
from tinyc.compiler.running import cycles_by_layer, run_artifact
from tinyc.compiler.tuning import tune_model
from tinyc.targets import load_target

CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
TIMED = ("cortex-m4", "dscnn_kws_int8_qdq")  # core and model that are tuned from nothing


def layer_cycles(model: str, core: str, tuned: bool) -> tuple[int, ...]:
    """Cycles of every layer: the fewest on record, or by the rule of thumb."""
    real, target = BY_NAME[model], load_target(core)
    records = known_records(target) if tuned else ()
    options = Options(io="arena", optimize="latency")
    artifact = compile_model(real.path, target, options, records)
    (port,) = artifact.report.inputs
    sample = real.samples(1).reshape(1, *port.shape)
    return cycles_by_layer(artifact, run_artifact(artifact, target, {port.name: sample}))


def gain(model: str, core: str) -> tuple[int, int, float]:
    """Cycles by the rule and tuned, and the geometric mean of the layers' ratios."""
    rule, tuned = (layer_cycles(model, core, choice) for choice in (False, True))
    logs = [math.log(a / b) for a, b in zip(rule, tuned, strict=True)]
    return sum(rule), sum(tuned), math.exp(sum(logs) / len(logs))


def rule_section(pool: Executor) -> Iterator[str]:
    yield "\n## The rule of thumb against tuning (`--optimize latency`), cycles\n"
    cases = [(m.name, core) for core in CORES for m in TINY]
    gains = list(pool.map(gain, *zip(*cases, strict=True)))
    yield table(
        "core | model | rule of thumb | tuned | rule / tuned, geometric mean of the layers",
        [
            (core, model, f"{rule:,}", f"{tuned:,}", f"{mean:.3f}")
            for (model, core), (rule, tuned, mean) in zip(cases, gains, strict=True)
        ],
    )
    for core in CORES:
        logs = [math.log(g[2]) for (_, c), g in zip(cases, gains, strict=True) if c == core]
        yield f"\n{core}, all four models: {math.exp(sum(logs) / len(logs)):.3f}."
    yield timed_tuning()


def timed_tuning() -> str:
    """How long a model takes that is tuned from nothing."""
    core, model = TIMED
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        target = load_target(core)
        tuning = tune_model(BY_NAME[model].path, target, file=file, afresh=True, jobs=2)
    rate = tuning.measured / tuning.seconds
    return (
        f"\n`tinyc tune {model}.onnx --target {core} --afresh`: {tuning.measured} schedules of "
        f"{len(tuning.workloads)} workloads in {tuning.seconds:.0f} s, {rate:.1f} a second."
    )
