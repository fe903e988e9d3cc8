"""Runs the test cases of ONNX: `python -m bench.conformance [--op Conv] [--sample 250] [--write]`.

--write puts what was found of the node tests into `compiler/operators.json`, where `tinyc ops`
reads it, and into `docs/operators.md`; of operators that were not run it stays as it is.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import onnx
from rich.progress import track

from bench.tables import table
from tests.conformance import KINDS, Outcome, cases, run_case
from tinyc.compiler.operator_table import Operator, operators, write_operators
from tinyc.compiler.show_operators import cells_of

AT_ONCE = 8  # cases a task
DOCUMENT = Path(__file__).parents[1] / "docs" / "operators.md"
DOCUMENT_HEAD = """# Operators

`make conformance` writes this page: it compiles the test cases that come with ONNX to C, runs them,
and compares with the outputs that ONNX expects. `tinyc ops` prints the same table. An operator is
compiled by one of three roads, which the report names for each layer:

- **own**: tinyc has kernels for it;
- **function**: ONNX defines it by simpler operators, and these are compiled;
- **tvm**: TVM's Relax computes it; taken only where that agrees with ONNX's own evaluator on random
  inputs.

What is refused is refused with an error that names the node. The values of inputs that are shapes,
axes or counts are in the model when it is compiled, as in models that exporters write.

"""


def run_named(kind: str, names: Sequence[str]) -> list[Outcome]:
    return [run_case(cases(kind)[name]) for name in names]


def run_cases(wanted: Sequence[tuple[str, str]], pool: Executor) -> list[Outcome]:
    """The outcomes of (kind, name), in their order."""
    parts = [
        (kind, [name for k, name in wanted if k == kind][i : i + AT_ONCE])
        for kind in dict.fromkeys(k for k, _ in wanted)
        for i in range(0, sum(k == kind for k, _ in wanted), AT_ONCE)
    ]
    futures = [pool.submit(run_named, kind, names) for kind, names in parts]
    return [o for f in track(futures, "cases", transient=True) for o in f.result()]


def conformance_section(pool: Executor) -> Iterator[str]:
    """All suites; renews the table of the operators too."""
    outcomes = run_cases([(kind, name) for kind in KINDS for name in cases(kind)], pool)
    _write(outcomes)
    yield "\n## ONNX's test cases, as C on the host\n"
    yield "By operator: [docs/operators.md](../docs/operators.md). Node tests are those of onnx "
    yield f"{onnx.__version__}; sets B and C are what tests/data/node_tests.csv says.\n"
    yield summary(outcomes)


def _write(outcomes: Sequence[Outcome]) -> None:
    write_operators(_operators_of(outcomes))
    DOCUMENT.write_text(document(operators()), "utf-8")


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
    parser.add_argument("--write", action="store_true", help="renew the table of the operators")
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
    with ProcessPoolExecutor(chosen.jobs, get_context("spawn")) as pool:
        outcomes = run_cases(wanted, pool)
    for o in outcomes:
        if o.result != "passed":
            print(f"{o.result:8} {o.set or '-'} {o.name}: {o.reason}")
    print(summary(outcomes))
    if chosen.write:
        _write(outcomes)
    return 0


def _operators_of(outcomes: Sequence[Outcome]) -> list[Operator]:
    """The table with what was found in it."""
    found = {operator.name: operator for operator in operators()}
    for name in {o.operator for o in outcomes if o.kind == "node"}:
        cases_of = [o for o in outcomes if o.kind == "node" and o.operator == name]
        roads = Counter(_road(o) for o in cases_of if o.result == "passed" and o.roads)
        failing = {o.name: _reason(o) for o in cases_of if o.result != "passed"}
        road = max(sorted(roads), key=roads.__getitem__) if roads else ""
        found[name] = Operator(name, len(cases_of), road, failing)
    return list(found.values())


def _reason(outcome: Outcome) -> str:
    """Without the node, and without what a C compiler says."""
    return f"{outcome.result}: {outcome.reason.splitlines()[0].split('; ')[0]}"


def _road(outcome: Outcome) -> str:
    """The farthest that a layer took."""
    return next(road for road in ("tvm", "function", "own") if road in outcome.roads)


def document(rows: Sequence[Operator]) -> str:
    """`docs/operators.md`."""
    cells = (map(_escaped, cells_of(operator)) for operator in rows)
    head = "operator | cases | passed | road | what does not pass, and why"
    return DOCUMENT_HEAD + table(head, [tuple(row) for row in cells]) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
