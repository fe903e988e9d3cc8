"""Measures every figure of bench/README.md and writes the page anew: `make bench`."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.answers import answer_sections
from bench.costs import cost_sections, float_section
from bench.models import BY_NAME, ROOT, SHARED
from bench.tables import table

PAGE = Path(__file__).parent / "README.md"
TINYC = str(Path(sys.executable).parent / "tinyc")
HEAD = """\
# Measured figures

Written by `make bench` (`bench/measure.py`); do not edit. Cycles, stack and sizes are measured in
tinyc's emulator on images built by arm-none-eabi-gcc 12.2 and riscv64-unknown-elf-gcc 12.2 with the
flags of the targets, zero wait states; on the same images the emulator agrees to the cycle with
the project's validated cycle model (`tests/test_emulator.py`). Flash is text plus read-only data of
the generated files' objects. TFLM figures were measured for this project on the same models.
"""


def page(jobs: int) -> Iterator[str]:
    """The sections of bench/README.md."""
    yield HEAD
    with ProcessPoolExecutor(jobs) as pool:
        yield from cost_sections(pool)
        yield from float_section(pool)
        yield from answer_sections(pool)
    yield from time_section()


def time_section() -> Iterator[str]:
    yield "\n## Time on this machine (2 cores), cold process, best of three\n"
    yield "One commit took 1.35 s and, hours later, 1.49 s: compare commits side by side only.\n"
    rows = [("`tinyc --help`", f"{seconds([TINYC, '--help']):.2f} s")]
    for m in ("mobilenetv1_vww_int8_qdq", "fcae_toycar_h5_f32"):
        out = ROOT / ".cache" / "bench"
        command = [TINYC, "compile", str(BY_NAME[m].path), "--target", "cortex-m4", "-o", str(out)]
        rows.append((f"`tinyc compile {m}.onnx`", f"{seconds(command):.2f} s"))
    yield table("command | time", rows)


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    if not SHARED.exists():
        print(f"the real models are not here: {SHARED.name} is missing beside the project")
        return 1
    text = "\n".join(page(args.jobs)) + "\n"
    PAGE.write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
