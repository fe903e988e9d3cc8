"""Programs around generated code: one inference on a bare-metal image, many on this machine."""

from tinyc.targets.firmware.program import Port, Program

__all__ = ["Port", "Program"]
