"""Programs around generated code: one inference on a bare-metal image, many on this machine."""

from tinyc.targets.firmware.program import Io, Port, Program, Weights

__all__ = ["Io", "Port", "Program", "Weights"]
