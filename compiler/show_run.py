"""What `tinyc run` and `tinyc verify` print."""

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tinyc.compiler.artifact import Artifact
from tinyc.compiler.running import RunResult, cycles_by_layer
from tinyc.compiler.show import arena_text, console_of_output

if TYPE_CHECKING:
    from tinyc.compiler.verification import Verification

MOST_SHOWN = 8  # samples of a run


def show_run(artifact: Artifact, result: RunResult) -> None:
    """Outputs of the first samples, and the measured cost of one inference."""
    console = console_of_output()
    for name, values in result.outputs.items():
        console.print(f"{escape(name)}: {len(values)} sample{'s' if len(values) > 1 else ''}")
        for index, row in enumerate(values[:MOST_SHOWN]):
            flat = row.reshape(-1)
            shown = " ".join(f"{v:.6g}" if flat.dtype.kind == "f" else str(v) for v in flat[:16])
            more = f" ... {flat.size} values" if flat.size > 16 else ""
            best = (
                f"   largest: {int(flat.argmax())}"
                if 1 < flat.size <= 1024 and flat.dtype.kind != "U"
                else ""
            )
            console.print(f"  [{index}] {shown}{more}{best}", soft_wrap=True, markup=False)
        if len(values) > MOST_SHOWN:
            console.print(f"  ... {len(values) - MOST_SHOWN} more")
    for name, text in cost_rows(artifact, result).items():
        console.print(f"{name:9} {escape(text)}", soft_wrap=True)


def cost_rows(artifact: Artifact, result: RunResult) -> dict[str, str]:
    """The measured cost of one inference, for people; each with how it was obtained."""
    how = f"measured in the emulator, {result.compiler}"
    rows = {
        "arena": f"{arena_text(artifact.report)} (exact)",
        "flash": f"{result.text_bytes + result.rodata_bytes:,} B (measured: {result.text_bytes:,} "
        f"of code, {result.rodata_bytes:,} of tables, {result.compiler})",
    }
    if result.stack_bytes is not None:
        rows["stack"] = f"{result.stack_bytes:,} B ({how})"
    if result.cycles is not None:
        rows["cycles"] = f"{result.cycles:,} at zero wait states ({how})"
    return rows


def run_json(artifact: Artifact, result: RunResult) -> dict[str, Any]:
    """Everything of a run; outputs as nested lists."""
    return {
        "model": artifact.name,
        "target": artifact.report.target,
        "outputs": {name: values.tolist() for name, values in result.outputs.items()},
        "arena_bytes": artifact.report.arena_bytes,
        "text_bytes": result.text_bytes,
        "rodata_bytes": result.rodata_bytes,
        "stack_bytes": result.stack_bytes,
        "cycles": result.cycles,
        "instructions": result.instructions,
        "compiler": result.compiler,
        "cycles_by_function": dict(result.cycles_by_function),
        "cycles_by_layer": [
            {"layer": layer.name, "cycles": cycles}
            for layer, cycles in zip(
                artifact.report.layers, cycles_by_layer(artifact, result), strict=False
            )
        ],
    }


def show_verification(verification: "Verification") -> None:
    """Accuracy of both, the largest deviation, and where they part."""
    v, console = verification, console_of_output()
    console.print(f"{v.samples} samples on {v.target}, against onnxruntime")
    if v.accuracy is not None and v.reference_accuracy is not None:
        console.print(
            f"accuracy     tinyc {v.accuracy:.2%}, onnxruntime {v.reference_accuracy:.2%}"
        )
    console.print(f"same answer  {v.same_answers:.2%} of the samples")
    for output in v.outputs:
        unit = "steps" if output.dtype.startswith(("int", "uint")) else "absolute"
        console.print(
            f"output       {escape(output.name)}: largest deviation {output.largest:.6g} ({unit}), "
            f"{output.differing_share:.3%} of the values differ",
            soft_wrap=True,
        )
    if v.parting is not None:
        console.print(
            f"they part at {escape(v.parting.node)} ({v.parting.op}), sample {v.parting.sample}, "
            f"by {v.parting.largest:.6g}",
            soft_wrap=True,
        )
    if v.cycles is not None:
        console.print(f"cycles       {v.cycles:,} (measured in the emulator, zero wait states)")
