"""The public functions: what the command line does, from Python."""

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from tinyc.autotune.tuner import Tuning
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.bundle import Bundle
from tinyc.compiler.bundle import compile_bundle as compile_paths
from tinyc.compiler.front import plan_model
from tinyc.compiler.graph import Array
from tinyc.compiler.options import (
    BundleOptions,
    ChoosingOptions,
    CompileOptions,
    ReadingOptions,
    options_of,
)
from tinyc.compiler.pipeline import compile_model
from tinyc.compiler.plans import Plans, Point
from tinyc.compiler.profiling import LayerProfile, Profile, profile_model
from tinyc.compiler.running import RunResult, run_artifact
from tinyc.compiler.tuning import tune_model
from tinyc.compiler.verification import Verification, verify_model
from tinyc.pruning.api import Pruning, prune
from tinyc.quantization.api import Quantization, quantize, quantized_file
from tinyc.quantization.images import Preprocessing
from tinyc.quantization.samples import Data
from tinyc.targets import Target, load_target

__all__ = [
    "LayerProfile",
    "Plans",
    "Point",
    "Profile",
    "Pruning",
    "Quantization",
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


def compile(
    model: str | Path,
    target: str | Target,
    *,
    quantize: Data | None = None,
    images: str | Preprocessing | None = None,
    max_loss: float | None = None,
    **options: Unpack[CompileOptions],
) -> Artifact:
    """Compile an ONNX file to C for a target.

    name          prefix of all C names; "" takes the file's stem
    io            "caller": inputs and outputs are the caller's arrays; "arena": they live in the
                  arena and may be overwritten; "rows": the outputs do, and the caller hands in
                  the input row by row
    io_dtype      "model": the interface as in the file; "int8": without the Quantize at the
                  inputs and the Dequantize at the outputs; "int16": inputs of floats that trees
                  alone read are int16, in steps of a power of two
    optimize      what the plan is chosen for: "latency", "balanced", "size" (of flash) or "ram";
                  None: "balanced", or with `max_ram` or `max_flash` the fastest within them
    max_ram       the most bytes of the arena; None: what the target has
    max_flash     the most bytes of flash, about
    input_shapes  shapes by input name, for dimensions that the model leaves open
    dims          sizes by name of an open dimension, wherever it stands
    dump          folder for the graph after every pass; None: no dump
    weights       "c": the tables as C; "incbin": as a binary that an assembly source includes;
                  "bin": as a binary that the firmware puts anywhere and gives to each run
    html          whether there is a report.html too: memory map, layers, modes
    check_memory  whether the report says what was proved of the memory plan
    memory        the memories that the model may use, as in "sram=64K,psram=8M:slow"; "": the
                  target's
    stream        "x:1": a call takes one step of the input `x` along axis 1, "x:1:4" four of them;
                  "auto": along the first axis that works; "": the whole input
    tree_features "model": trees compare features of the type that the model has; "int16": ranks
                  of them, which decide alike
    quantize, images, max_loss  samples to quantize a float model with, what happens to pixels, and
                  what may be lost, all as `tinyc.quantize` takes them

    Raises CompileError with a code, what is wrong, where, and what to do.
    """
    asked = options_of(options, CompileOptions)
    with quantized_file(Path(model), quantize, asked, images, max_loss) as (file, settled):
        return compile_model(file, _target(target), settled)


def compile_bundle(
    models: Sequence[str | Path],
    target: str | Target,
    *,
    names: Sequence[str] = (),
    share_arena: bool = False,
    **options: Unpack[BundleOptions],
) -> Bundle:
    """Compile ONNX files for one firmware: their files side by side.

    names         prefix of each model's C names; the files' stems when there are none
    share_arena   whether the models run one after the other, and use the same bytes
    options       those of `compile`; max_ram, max_flash: for each model; input_shapes, dims: each
                  goes to the models that have an input, a dimension of its name
    """
    asked = options_of(options, BundleOptions)
    paths = [Path(model) for model in models]
    return compile_paths(paths, _target(target), asked, names=names, share_arena=share_arena)


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
    compiler: str | None = None,
    clock_hz: float | None = None,
    seed: int = 0,
    **options: Unpack[ChoosingOptions],
) -> Profile:
    """What each layer takes on an emulated core: cycles, RAM, flash.

    inputs    by name, of which the first sample counts; None: random data over each input's range
    clock_hz  for the time in milliseconds, at zero wait states
    seed      of the random data
    options   those of `compile`
    """
    return profile_model(
        Path(model),
        _target(target),
        inputs,
        options_of(options, ChoosingOptions),
        compiler=compiler,
        clock_hz=clock_hz,
        seed=seed,
    )


def plan(
    model: str | Path,
    target: str | Target,
    **options: Unpack[ChoosingOptions],
) -> Plans:
    """The plans of a model that are worth a choice: RAM against cycles against flash.

    options  those of `compile`; optimize: whose plan the memory map is of
    """
    return plan_model(Path(model), _target(target), options_of(options, ChoosingOptions))


def verify(
    model: str | Path,
    target: str | Target,
    data: str | Path | Mapping[str, Array],
    *,
    limit: int | None = None,
    **options: Unpack[ChoosingOptions],
) -> Verification:
    """Compare the compiled model with onnxruntime on data, sample by sample.

    data     an .npz file or its arrays: inputs by name, and labels as `y`, where there are any
    limit    only the first so many samples
    options  those of `compile`
    """
    asked = options_of(options, ChoosingOptions)
    return verify_model(Path(model), _target(target), data, limit, asked)


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
    **options: Unpack[ReadingOptions],
) -> Tuning:
    """Measure schedules of the model's kernels on the emulated core; `compile` uses the best.

    records  file that records are added to; None: the user's
    trials   schedules of each kernel workload; minutes of the whole, 0 for no limit
    jobs     processes of this machine; cluster: a Dask scheduler's address instead
    afresh   measure again what is on record
    options  those of `compile` that say how a model is read
    """
    return tune_model(
        Path(model), _target(target), file=None if records is None else Path(records),
        trials=trials, minutes=minutes, jobs=jobs, cluster=cluster, afresh=afresh,
        options=options_of(options, ReadingOptions),
    )  # fmt: skip


def _target(target: str | Target) -> Target:
    return load_target(target) if isinstance(target, builtins.str) else target
