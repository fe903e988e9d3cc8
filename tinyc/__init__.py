"""tinyc: ONNX models as plain C for microcontrollers. The public Python interface.

    artifact = tinyc.compile("kws.onnx", target="cortex-m4")
    artifact.write("out")
    result = tinyc.run(artifact, {"input_1": samples})

Everything is loaded when it is first used, so that `import tinyc` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyc.compiler.api import (
        LayerProfile,
        Plans,
        Point,
        Profile,
        Pruning,
        Quantization,
        RunResult,
        Tuning,
        Verification,
        compile,
        compile_bundle,
        plan,
        profile,
        prune,
        quantize,
        run,
        tune,
        verify,
    )
    from tinyc.compiler.artifact import Artifact, Layer, Port, Report
    from tinyc.compiler.bundle import Bundle, BundleReport
    from tinyc.compiler.errors import CompileError

__all__ = [
    "Artifact",
    "Bundle",
    "BundleReport",
    "CompileError",
    "Layer",
    "LayerProfile",
    "Plans",
    "Point",
    "Port",
    "Profile",
    "Pruning",
    "Quantization",
    "Report",
    "RunResult",
    "Tuning",
    "Verification",
    "compile",
    "compile_bundle",
    "plan",
    "profile",
    "prune",
    "quantize",
    "run",
    "tune",
    "verify",
]

_HOMES = {
    "Artifact": "artifact",
    "Bundle": "bundle",
    "BundleReport": "bundle",
    "CompileError": "errors",
    "Layer": "artifact",
    "Port": "artifact",
    "Report": "artifact",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'tinyc' has no attribute '{name}'")
    return getattr(import_module(f"tinyc.compiler.{_HOMES.get(name, 'api')}"), name)
