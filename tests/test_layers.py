"""Imports point down: a module knows only the layers below its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# fmt: off
LAYERS = (  # lowest first; the longest prefix decides
    ("compiler.errors", "compiler.graph", "compiler.texts", "autotune.schedule"),
    ("targets", "compiler.ops", "compiler.kernels", "compiler.cprint", "compiler.names",
     "compiler.operator_table"),
    ("compiler.json_text",),
    ("compiler.interpreter", "compiler.artifact", "compiler.lower", "compiler.onnx_import",
     "compiler.tflite_import"),
    ("passes", "autotune"),
    ("compiler.program",),
    ("compiler.memory_map", "compiler.plans"),
    ("compiler.pages",),
    ("autotune.options", "autotune.selection", "autotune.single_kernels",
     "autotune.choice"),
    ("compiler.c_expressions", "compiler.emit", "compiler.emit_arena", "compiler.emit_binary",
     "compiler.emit_calls", "compiler.emit_functions", "compiler.emit_header",
     "compiler.emit_memory", "compiler.emit_rows", "compiler.emit_run", "compiler.emit_stages",
     "compiler.emit_state", "compiler.emit_tables", "compiler.emit_weights"),
    ("compiler.reporting", "compiler.reporting_memories"),
    ("compiler.interface_data", "compiler.options", "compiler.planning",
     "compiler.planning_graphs", "compiler.planning_memories"),
    ("compiler.pipeline",),
    ("compiler.bundle", "compiler.front", "compiler.reference_run", "compiler.running",
     "compiler.verification",
     "autotune.candidates"),
    ("autotune.measure", "autotune.tuner"),
    ("compiler.profiling", "compiler.tuning", "quantization"),
    ("pruning",),
    ("compiler.api", "compiler.show"),
    ("compiler.show_map", "compiler.show_operators", "compiler.show_profile",
     "compiler.show_run", "compiler.show_targets", "compiler.show_tuning",
     "quantization.showing", "pruning.showing"),
    ("compiler.show_plans",),
    ("compiler.argument_groups", "compiler.argument_texts", "compiler.arguments",
     "compiler.arguments_compile", "compiler.arguments_quantize", "compiler.chosen_options",
     "compiler.telling"),
    ("compiler.cli_compile", "compiler.cli_models"),
    ("compiler.cli",),
)
# fmt: on
SOURCES = [
    p
    for f in ("compiler", "passes", "targets", "autotune", "quantization", "pruning")
    for p in (ROOT / f).rglob("*.py")
]


def layer(module: str) -> int:
    ranks = {prefix: i for i, row in enumerate(LAYERS) for prefix in row}
    fits = [p for p in ranks if module == p or module.startswith(p + ".")]
    assert fits, f"'{module}' belongs to no layer"
    return ranks[max(fits, key=len)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "compiler":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyc."):
            imported = (node.module or "").removeprefix("tinyc.")
            if imported == "targets":  # `from tinyc.targets import runner` names a module
                imported = f"targets.{node.names[0].name}"
            assert layer(imported) <= layer(module), ast.unparse(node)
