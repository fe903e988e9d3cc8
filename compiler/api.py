"""The public functions: what the command line does, from Python."""

import builtins
from collections.abc import Mapping
from pathlib import Path

from tinyc.autotune.choice import Optimize
from tinyc.autotune.tuner import Tuning
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.graph import Array, Shape
from tinyc.compiler.pipeline import IoDtype, Options, compile_model
from tinyc.compiler.planning import plan_model
from tinyc.compiler.plans import Plans, Point
from tinyc.compiler.profiling import LayerProfile, Profile, profile_model
from tinyc.compiler.running import RunResult, run_artifact
from tinyc.compiler.tuning import tune_model
from tinyc.compiler.verification import Verification, verify_model
from tinyc.targets import Target, load_target
from tinyc.targets.firmware import Io

__all__ = [
    "LayerProfile",
    "Plans",
    "Point",
    "Profile",
    "RunResult",
    "Tuning",
    "Verification",
    "compile",
    "plan",
    "profile",
    "run",
    "tune",
    "verify",
]


def compile(
    model: str | Path,
    target: str | Target,
    *,
    name: str = "",
    io: Io = "caller",
    io_dtype: IoDtype = "model",
    optimize: Optimize = "balanced",
    input_shapes: Mapping[str, Shape] | None = None,
    dump: str | Path | None = None,
    html: bool = False,
) -> Artifact:
    """Compile an ONNX file to C for a target.

    name          prefix of all C names; the file's stem when empty
    io            "caller": inputs and outputs are the caller's arrays; "arena": they live in the
                  arena and may be overwritten
    io_dtype      "model", or "int8" for a quantized interface of a model with float inputs
    optimize      "latency", "balanced" or "size": what kernels are chosen for
    input_shapes  shapes by input name, for dimensions that the model leaves open
    dump          folder for the graph after every pass
    html          whether there is a report.html too: memory map, layers, modes

    Raises CompileError with a code, what is wrong, where, and what to do.
    """
    folder = None if dump is None else Path(dump)
    options = Options(name, io, io_dtype, optimize, input_shapes or {}, folder, html)
    return compile_model(Path(model), _target(target), options)


def run(
    artifact: Artifact,
    inputs: Mapping[str, Array],
    *,
    target: str | Target | None = None,
    compiler: str | None = None,
) -> RunResult:
    """Run a compiled model on its target: an emulated core, or this machine.

    inputs  by name; an array may hold several samples: [samples, ...]
    """
    return run_artifact(artifact, _target(target or artifact.report.target), inputs, compiler)


def profile(
    model: str | Path,
    target: str | Target,
    inputs: Mapping[str, Array] | None = None,
    *,
    io: Io = "caller",
    io_dtype: IoDtype = "model",
    optimize: Optimize = "balanced",
    input_shapes: Mapping[str, Shape] | None = None,
    compiler: str | None = None,
    clock_hz: float | None = None,
    seed: int = 0,
) -> Profile:
    """What each layer takes on an emulated core: cycles, RAM, flash.

    inputs    by name, of which the first sample counts; None: random data over each input's range
    clock_hz  for the time in milliseconds, at zero wait states
    seed      of the random data
    """
    return profile_model(
        Path(model),
        _target(target),
        inputs,
        Options(io=io, io_dtype=io_dtype, optimize=optimize, input_shapes=input_shapes or {}),
        compiler=compiler,
        clock_hz=clock_hz,
        seed=seed,
    )


def plan(
    model: str | Path,
    target: str | Target,
    *,
    io: Io = "caller",
    io_dtype: IoDtype = "model",
    optimize: Optimize = "balanced",
    input_shapes: Mapping[str, Shape] | None = None,
) -> Plans:
    """The plans of a model that are worth a choice: RAM against cycles against flash.

    optimize  whose plan the memory map is of
    """
    options = Options(io=io, io_dtype=io_dtype, optimize=optimize, input_shapes=input_shapes or {})
    return plan_model(Path(model), _target(target), options)


def verify(
    model: str | Path,
    target: str | Target,
    data: str | Path | Mapping[str, Array],
    *,
    limit: int | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Verification:
    """Compare the compiled model with onnxruntime on data, sample by sample.

    data   an .npz file or its arrays: inputs by name, and labels as `y`, where there are any
    limit  only the first so many samples
    """
    return verify_model(
        Path(model), _target(target), data, limit, Options(input_shapes=input_shapes or {})
    )


def tune(
    model: str | Path,
    target: str | Target,
    *,
    records: str | Path | None = None,
    trials: int = 60,
    minutes: float = 0.0,
    jobs: int = 2,
    cluster: str = "",
    afresh: bool = False,
) -> Tuning:
    """Measure schedules of the model's kernels on the emulated core; `compile` uses the best.

    records  file that records are added to; None: the user's
    trials   schedules of each kernel workload; minutes of the whole, 0 for no limit
    jobs     processes of this machine; cluster: a Dask scheduler's address instead
    afresh   measure again what is on record
    """
    return tune_model(
        Path(model), _target(target), file=None if records is None else Path(records),
        trials=trials, minutes=minutes, jobs=jobs, cluster=cluster, afresh=afresh,
    )  # fmt: skip


def _target(target: str | Target) -> Target:
    return load_target(target) if isinstance(target, builtins.str) else target
