"""Runs the test cases of ONNX: `python -m bench.conformance [--op Conv] [--sample 250]`."""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rich.progress import track

from bench.tables import table
from tests.conformance import KINDS, Outcome, cases, run_case

AT_ONCE = 8  # cases a task


def run_named(kind: str, names: Sequence[str]) -> list[Outcome]:
    return [run_case(cases(kind)[name]) for name in names]


def run_cases(wanted: Sequence[tuple[str, str]], jobs: int) -> list[Outcome]:
    """The outcomes of (kind, name), in their order."""
    parts = [
        (kind, [name for k, name in wanted if k == kind][i : i + AT_ONCE])
        for kind in dict.fromkeys(k for k, _ in wanted)
        for i in range(0, sum(k == kind for k, _ in wanted), AT_ONCE)
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = [pool.submit(run_named, kind, names) for kind, names in parts]
        return [o for f in track(futures, "cases", transient=True) for o in f.result()]


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many cases of each suite passed."""
    suites = {
        "node tests, set B": [o for o in outcomes if o.set in ("B", "C")],
        "set C": [o for o in outcomes if o.set == "C"],
        "all node tests": [o for o in outcomes if o.kind == "node"],
        **{kind: [o for o in outcomes if o.kind == kind] for kind in KINDS[1:]},
    }
    counts = {name: Counter(o.result for o in found) for name, found in suites.items()}
    rows = [
        (name, sum(c.values()), c["passed"], c["refused"], c["wrong"], c["crashed"])
        for name, c in counts.items()
        if c
    ]
    return table("suite | tests | passed | refused | wrong | crashed", rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--op", nargs="+", default=[], help="cases of these operators only")
    parser.add_argument("--name", nargs="+", default=[], help="cases whose names contain one")
    parser.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--set", default="", help="B, C, or all")
    parser.add_argument("--sample", type=int, default=0, help="so many of them, by a fixed seed")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args(arguments)
    wanted = [
        (kind, c.name)
        for kind in chosen.kind
        for c in cases(kind).values()
        if (not chosen.op or c.operator in chosen.op)
        and (not chosen.name or any(part in c.name for part in chosen.name))
        and (not chosen.set or (c.set in {"B": "BC", "C": "C"}[chosen.set] and c.set))
    ]
    if chosen.sample:
        wanted = random.Random(1).sample(wanted, min(chosen.sample, len(wanted)))
    outcomes = run_cases(wanted, chosen.jobs)
    for o in outcomes:
        if o.result != "passed":
            print(f"{o.result:8} {o.set or '-'} {o.name}: {o.reason}")
    print(summary(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
