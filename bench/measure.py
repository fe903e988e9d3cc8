"""Measures every figure of bench/README.md and writes the page anew: `make bench`."""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.answers import answer_sections
from bench.blocks import blocks_section
from bench.conformance import conformance_section
from bench.costs import cost_sections, float_section
from bench.estimates import estimates_section
from bench.mixed import mixed_section
from bench.models import BY_NAME, ROOT, SHARED
from bench.plans import plans_section
from bench.prune import prune_section
from bench.quantize import quantize_section
from bench.ram import ram_section
from bench.rule import rule_section
from bench.tables import table
from bench.trees import trees_section
from bench.tuning import tuning_section
from bench.tuning_rate import rate_section
from bench.weights import weights_section

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


SECTIONS: Mapping[str, Callable[[Executor], Iterator[str]]] = {
    "costs": cost_sections,
    "ram": ram_section,
    "floats": float_section,
    "mixed": mixed_section,
    "rule": rule_section,
    "estimates": estimates_section,
    "tuning": tuning_section,
    "rate": lambda pool: rate_section(),
    "answers": answer_sections,
    "times": lambda pool: time_section(),
    "weights": lambda pool: weights_section(),
    "trees": lambda pool: trees_section(),
    "blocks": lambda pool: blocks_section(),
    "plans": lambda pool: plans_section(),
    "conformance": conformance_section,
    "quantize": quantize_section,
    "prune": prune_section,
}


def page(names: Sequence[str], jobs: int) -> str:
    """bench/README.md with the named sections measured anew; the others stay as they are."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        new = {name: "\n".join(SECTIONS[name](pool)).strip("\n") for name in names}
    old = _sections(PAGE.read_text("utf-8")) if PAGE.exists() else {}  # another run may have ended
    texts = {**old, **new}
    parts = [f"{MARK.format(name)}\n\n{texts[name]}\n" for name in SECTIONS if name in texts]
    return "\n".join([HEAD, *parts])


MARK = "<!-- {} -->"


def _sections(text: str) -> dict[str, str]:
    """The sections of a page, by the name in the comment above each."""
    parts = re.split(r"^<!-- (\w+) -->$", text, flags=re.MULTILINE)[1:]
    return {n: t.strip("\n") for n, t in zip(parts[::2], parts[1::2], strict=True)}


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
    parser.add_argument("--only", nargs="*", choices=SECTIONS, help="measure these sections alone")
    args = parser.parse_args()
    if not SHARED.exists():
        print(f"the real models are not here: {SHARED.name} is missing beside the project")
        return 1
    text = page(args.only or list(SECTIONS), args.jobs)
    PAGE.write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
