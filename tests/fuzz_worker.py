"""Compiles mutants in a process of its own and prints JSON.

`-m tests.fuzz_worker <seed> <count> <format>`, the format onnx or tflite
"""

import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType

from bench.models import ROOT, SHARED
from tests.mutations import mutant
from tinyc.compiler.errors import CompileError
from tinyc.compiler.pipeline import emit_artifact, read_graph
from tinyc.compiler.planning import plan_program
from tinyc.targets import load_target

MOST_SECONDS = 20
LARGEST_SOURCE_BYTES = 130_000


def main(seed: int, count: int, kind: str) -> dict[str, object]:
    rng, target = random.Random(seed), load_target("cortex-m4")
    sources = sorted((ROOT / "examples").rglob(f"*.{kind}"))
    sources += sorted((ROOT / "tests" / "data").rglob(f"*.{kind}"))
    sources += sorted(SHARED.glob(f"*/*.{kind}"))
    sources = [p for p in sources if p.stat().st_size < LARGEST_SOURCE_BYTES]
    done, refused, crashes, slowest = 0, 0, [], 0.0
    signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in sources:
            side = source.with_suffix(".onnx.data")
            if side.exists():
                shutil.copy(side, folder / side.name)
        for number in range(count):
            path = folder / "mutant.onnx"
            path.write_bytes(mutant(rng.choice(sources).read_bytes(), rng))
            begin = time.perf_counter()
            signal.alarm(MOST_SECONDS)
            try:
                emit_artifact(plan_program(read_graph(path, target), target))
                done += 1
            except CompileError:
                refused += 1
            except BaseException as error:  # what must not happen is what is looked for
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                crashes.append(f"{number}: {type(error).__name__} {error} ({where})"[:300])
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "compiled": done,
        "refused": refused,
        "crashes": crashes,
        "slowest_s": slowest,
        "peak_bytes": peak,
    }


def _too_long(signal_number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"longer than {MOST_SECONDS} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
