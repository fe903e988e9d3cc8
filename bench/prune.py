"""What channel pruning saves on an emulated core, and what it costs on unseen samples."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import onnx

from bench.models import BY_NAME, RealModel
from bench.quantize import outputs, right
from bench.tables import table
from tinyc.autotune.records import known_records, read_records
from tinyc.compiler.graph import Array
from tinyc.compiler.pipeline import Options
from tinyc.compiler.profiling import Profile, profile_model
from tinyc.compiler.tuning import tune_model
from tinyc.pruning.api import prune
from tinyc.quantization.quantize import quantize_model
from tinyc.targets import load_target

CALIBRATED = 100  # the first samples; all others are the test part
TRIALS = 10  # schedules of a workload of a pruned model that are measured
CASES = (
    ("dscnn_kws_f32", ("mix",), (1.0,)),
    ("resnet8_cifar10_f32", ("mix", "flip", "shift", "light", "cut"), (1.0, 2.0)),
)
HEAD = f"""\
## Pruning channels (`tinyc prune --target cortex-m4`)

Given are the first {CALIBRATED} samples without labels; half of them judge, the others are fitted
to; the test part is unseen. Then `tinyc quantize` with the same samples, and cycles of an inference
compiled with `--optimize latency`. Whole models are on record; of the pruned ones, whose sizes
nothing is on record for, {TRIALS} schedules of each workload are tuned before. One sample of the
test part is 0.3 points of DS-CNN and 0.4 of ResNet8. That the loss has a standard error added was
decided after a first measurement here: without it `--max-loss 1` lost 1.2 points of DS-CNN for 26 %
fewer cycles, and 2.8 of ResNet8 for 7 %.
"""


def prune_section(pool: Executor) -> Iterator[str]:
    yield HEAD
    rows = [row for rows in pool.map(_rows, CASES) for row in rows]
    heads = "model | `--max-loss` | right, float | right, int8 | cycles | arena | flash"
    yield table(f"{heads} | estimated to save | at most lost, held out | pruned in, CPU", rows)


def _rows(case: tuple[str, tuple[str, ...], tuple[float, ...]]) -> list[tuple[str, ...]]:
    name, augment, losses = case
    model = BY_NAME[name]
    with tempfile.TemporaryDirectory() as folder:
        whole = _figures(model, model.path, Path(folder), 0)
        rows = [_pruned(model, augment, most, Path(folder)) for most in losses]
    return [(name, "-", *whole, "-", "-", "-"), *rows]


def _pruned(
    model: RealModel, augment: tuple[str, ...], most: float, folder: Path
) -> tuple[str, ...]:
    begin = time.process_time()
    given = {"x": model.samples(CALIBRATED)}
    pruning = prune(model.path, given, "cortex-m4", max_loss=most, augment=augment)
    taken, report = f"{time.process_time() - begin:.0f} s", pruning.report
    figures = ("as above",) * 5
    if report.saved:
        pruned = folder / f"{model.name}_{most:g}.onnx"
        pruning.write(pruned)
        figures = _figures(model, pruned, folder, TRIALS)
    kind = "pruned" if report.saved else "nothing removed"
    told = (f"{report.saved:.1%}", f"{report.loss:.2f}", taken)
    return (f"{model.name}, {kind}", f"{most:g}", *figures, *told)


def _figures(model: RealModel, path: Path, folder: Path, trials: int) -> tuple[str, ...]:
    """What the test part says of a float file and of its int8 one; cycles, arena and flash."""
    samples, labels = model.samples(), model.answers()
    quantized = folder / f"{path.stem}_int8.onnx"
    int8 = quantize_model(path, {"x": samples[:CALIBRATED]}).model.to_proto()
    onnx.save(int8, str(quantized))
    shares = [_share(f, samples, labels) for f in (path, quantized)]
    return (*shares, *_sizes(_profile(quantized, trials)))


def _share(path: Path, samples: Array, labels: Array) -> str:
    test = labels[CALIBRATED:]
    return f"{right(outputs(onnx.load(str(path)), samples[CALIBRATED:]), test) / len(test):.2%}"


def _profile(path: Path, trials: int) -> Profile:
    target, file = load_target("cortex-m4"), path.with_suffix(".jsonl")
    if trials:
        tune_model(path, target, file=file, trials=trials)
    records = (*known_records(target), *read_records(file))
    return profile_model(path, target, options=Options(optimize="latency"), records=records)


def _sizes(profile: Profile) -> tuple[str, str, str]:
    flash = profile.code_bytes + profile.table_bytes
    return f"{profile.cycles:,}", f"{profile.arena_bytes:,}", f"{flash:,}"
