"""What is known of each ONNX operator: how many of ONNX's own test cases pass, by which road.

`operators.json` is written by `make conformance`, which compiles and runs the cases.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "operators.json"


@dataclass(frozen=True, slots=True)
class Operator:
    """name as ONNX has it, with its domain before it where that is not the standard's.

    cases    test cases that come with ONNX
    road     of most of them: "own", "function", "tvm", as in the report; "" where none passes
    failing  cases that do not pass, and why
    """

    name: str
    cases: int
    road: str
    failing: Mapping[str, str]

    @property
    def passed(self) -> int:
        return self.cases - len(self.failing)

    @property
    def note(self) -> str:
        """The most frequent reason of those that do not pass, in short."""
        reasons = sorted(self.failing.values())
        return max(reasons, key=reasons.count) if reasons else ""


def operators() -> tuple[Operator, ...]:
    """The table, by name."""
    if not FILE.exists():
        return ()
    rows = json.loads(FILE.read_text("utf-8"))
    return tuple(
        Operator(name, row["cases"], row["road"], row["failing"]) for name, row in rows.items()
    )


def write_operators(found: Iterable[Operator]) -> None:
    """Write the table anew."""
    rows = {
        o.name: {"cases": o.cases, "road": o.road, "failing": dict(sorted(o.failing.items()))}
        for o in sorted(found, key=lambda o: o.name)
    }
    FILE.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
