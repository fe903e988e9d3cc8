"""What a quantized model costs on a target, compiled; and what a change of formats costs, about."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from tinyc.compiler.pipeline import compile_model
from tinyc.targets import Target

# A multiply-accumulate against one of 8 bits: geometric means over the layers of bench/README.md,
# "Formats", on Cortex-M4. With 3x3 windows 8 bits and floats have transforms: there weights of 4
# bits and 16 bits take 3.5 times, else little more than 8 bits.
WORK = {"int8": 1.0, "int4": 1.6, "int16": 1.7, "float32": 2.7}
ROOM = 1 << 30  # bytes, more than any model needs
UNKNOWN_CYCLES = 5  # of a multiply-accumulate in a kernel without records


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each; None: no limit."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    cycles: int | None = None

    @property
    def any(self) -> bool:
        return any(v is not None for v in (self.ram_bytes, self.flash_bytes, self.cycles))


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of the arena, bytes of tables in flash, and cycles, of which some are estimates."""

    ram_bytes: int
    flash_bytes: int
    cycles: int

    def over(self, limits: Limits) -> tuple[str, ...]:
        """What is beyond its limit: "ram", "flash", "cycles"."""
        pairs = {
            "ram": (self.ram_bytes, limits.ram_bytes),
            "flash": (self.flash_bytes, limits.flash_bytes),
            "cycles": (self.cycles, limits.cycles),
        }
        return tuple(
            name for name, (used, most) in pairs.items() if most is not None and used > most
        )


def cost_on(model: onnx.ModelProto, target: Target) -> Cost:
    """Compile the model for `target` without its memory limits."""
    regions = tuple(replace(r, bytes=ROOM) for r in target.flat.regions)
    roomy = replace(target, regions=regions)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model.SerializeToString(deterministic=True))
        report = compile_model(file, roomy).report
    cycles = sum(
        layer.cycles if layer.cycles is not None else layer.macs * UNKNOWN_CYCLES
        for layer in report.layers
    )
    return Cost(report.arena_bytes, report.weights_bytes, cycles)
