"""What `tinyc ops` prints: the ONNX operators and how well they are covered."""

from dataclasses import asdict
from typing import Any

from rich.markup import escape

from tinyc.compiler.onnx_import.operators import MICROSOFT, READERS
from tinyc.compiler.operator_table import Operator, operators
from tinyc.compiler.ops import OPS
from tinyc.compiler.show import console_of_output, table_of


def ops_json() -> dict[str, Any]:
    """Every operator of ONNX's test cases; those that are read; tinyc's own that they become."""
    rows = [{**asdict(o), "passed": o.passed, "note": o.note} for o in operators()]
    return {
        "operators": rows,
        "onnx": sorted({name for _, name in READERS}),
        "microsoft": sorted(MICROSOFT),
        "tinyc": sorted(OPS),
    }


def show_ops() -> None:
    console, table = console_of_output(), table_of("ONNX operators, by the test cases of ONNX")
    for heading in ("operator", "cases", "passed", "road", "what does not pass"):
        table.add_column(
            heading,
            justify="right" if heading in ("cases", "passed") else "left",
            no_wrap=heading != "what does not pass",
        )
    for operator in operators():
        table.add_row(*map(escape, cells_of(operator)))
    console.print(table)
    console.print("road: own kernel; function: the body that ONNX defines it by; tvm: TVM's kernel")
    tested = {operator.name for operator in operators()}
    others = sorted({name for domain, name in READERS if not domain} - tested)
    if others:
        console.print(f"without test cases of their own: {', '.join(others)}")
    console.print(f"of com.microsoft: {', '.join(sorted(MICROSOFT))}")
    console.print("Operators on constants and shapes are folded, whatever they are.")


def cells_of(operator: Operator) -> tuple[str, str, str, str, str]:
    numbers = (str(operator.cases), str(operator.passed))
    return (operator.name, *numbers, operator.road, operator.note)
