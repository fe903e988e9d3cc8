"""What channel pruning saves on an emulated core, and what it costs on unseen samples."""

import tempfile
import time
from collections.abc import Iterator
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
TRIALS = 16  # schedules of a workload that are measured, of whole models and of pruned ones
CASES = (
    ("dscnn_kws_f32", ("mix",), (1.0,)),
    ("resnet8_cifar10_f32", ("mix", "flip", "shift", "light", "cut"), (1.0, 3.0)),
)
HEAD = f"""\
## Pruning channels (`tinyc prune --target cortex-m4`)

Given are the first {CALIBRATED} samples without labels; half of them judge, the others are
fitted to; the test part is unseen. Then `tinyc quantize` with the same samples, {TRIALS} schedules
of each workload tuned for the whole models as for the pruned ones, and cycles of an inference
compiled with `--optimize latency`. "Saved" is what the pruner estimated.
"""


def prune_section() -> Iterator[str]:
    yield HEAD
    rows = [row for case in CASES for row in _rows(*case)]
    heads = "model | --max-loss | right, float | right, int8 | cycles | arena | flash"
    yield table(f"{heads} | estimated to save | points lost, held out | pruned in", rows)


def _rows(
    name: str, augment: tuple[str, ...], losses: tuple[float, ...]
) -> Iterator[tuple[object, ...]]:
    model = BY_NAME[name]
    given = {"x": model.samples(CALIBRATED)}
    with tempfile.TemporaryDirectory() as folder:
        yield (name, "-", *_figures(model, model.path, Path(folder)), "-", "-", "-")
        for most in losses:
            begin = time.perf_counter()
            pruning = prune(model.path, given, "cortex-m4", max_loss=most, augment=augment)
            taken, report = f"{time.perf_counter() - begin:.0f} s", pruning.report
            told = (f"{report.saved:.1%}", f"{report.loss:.2f}", taken)
            if not report.saved:
                yield (f"{name}, nothing removed", f"{most:g}", *["as above"] * 5, *told)
                continue
            pruned = Path(folder) / f"{name}_{most:g}.onnx"
            pruning.write(pruned)
            figures = _figures(model, pruned, Path(folder))
            yield (f"{name}, pruned", f"{most:g}", *figures, *told)


def _figures(model: RealModel, path: Path, folder: Path) -> tuple[str, ...]:
    """What the test part says of a float file and of its int8 one; cycles, arena and flash."""
    samples, labels = model.samples(), model.answers()
    quantized = folder / f"{path.stem}_int8.onnx"
    int8 = quantize_model(path, {"x": samples[:CALIBRATED]}).model.to_proto()
    onnx.save(int8, str(quantized))
    shares = [_share(f, samples, labels) for f in (path, quantized)]
    return (*shares, *_sizes(_tuned(quantized)))


def _share(path: Path, samples: Array, labels: Array) -> str:
    test = labels[CALIBRATED:]
    return f"{right(outputs(onnx.load(str(path)), samples[CALIBRATED:]), test) / len(test):.2%}"


def _tuned(path: Path) -> Profile:
    """Pruned layers have sizes that nothing is on record for: all models get the same chances."""
    target, file = load_target("cortex-m4"), path.with_suffix(".jsonl")
    tune_model(path, target, file=file, trials=TRIALS)
    records = (*known_records(target), *read_records(file))
    options = Options(optimize="latency")
    return profile_model(path, target, options=options, records=records)


def _sizes(profile: Profile) -> tuple[str, str, str]:
    flash = profile.code_bytes + profile.table_bytes
    return f"{profile.cycles:,}", f"{profile.arena_bytes:,}", f"{flash:,}"
