"""What channel pruning saves on an emulated core, and what it costs on unseen samples."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import onnx

from bench.models import BY_NAME
from bench.quantize import outputs, right
from bench.tables import table
from tinyc.compiler.graph import Array
from tinyc.compiler.profiling import Profile, profile_model
from tinyc.pruning.api import Pruning, prune
from tinyc.quantization.quantize import quantize_model
from tinyc.targets import load_target

CALIBRATED = 100  # the first samples; all others are the test part
CASES = (("dscnn_kws_f32", ("mix",)), ("resnet8_cifar10_f32", ("mix", "flip", "shift")))


def prune_section() -> Iterator[str]:
    yield "## Pruning channels (`tinyc prune --max-loss 1 --target cortex-m4`)\n"
    yield (
        "Every other of the first 100 samples judges, the others are fitted to; the test part is "
        "unseen. Then `tinyc quantize` with the same 100, and cycles of a compiled inference.\n"
    )
    rows = [row for name, augment in CASES for row in _rows(name, augment)]
    yield table("model | right, float | right, int8 | cycles | arena | flash | pruned in", rows)


def _rows(name: str, augment: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    model = BY_NAME[name]
    samples, labels = model.samples(), model.answers()
    given = {"x": samples[:CALIBRATED], "y": labels[:CALIBRATED]}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        pruning: Pruning = prune(model.path, given, "cortex-m4", augment=augment)
        seconds = time.perf_counter() - begin
        pruned = Path(folder) / f"{name}_pruned.onnx"
        pruning.write(pruned)
        for path, taken in ((model.path, "-"), (pruned, f"{seconds:.0f} s")):
            quantized = Path(folder) / f"{path.stem}_int8.onnx"
            onnx.save(quantize_model(path, given).model.to_proto(), str(quantized))
            profile = profile_model(quantized, load_target("cortex-m4"))
            shares = [_share(f, samples, labels) for f in (path, quantized)]
            yield (path.stem, *shares, *_sizes(profile), taken)


def _share(path: Path, samples: Array, labels: Array) -> str:
    test = labels[CALIBRATED:]
    return f"{right(outputs(onnx.load(str(path)), samples[CALIBRATED:]), test) / len(test):.2%}"


def _sizes(profile: Profile) -> tuple[str, str, str]:
    flash = profile.code_bytes + profile.table_bytes
    return f"{profile.cycles:,}", f"{profile.arena_bytes:,}", f"{flash:,}"
