"""The `tinyc` command: parse, call, print; nothing else."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich_argparse import RawDescriptionRichHelpFormatter

from tinyc.compiler.errors import CompileError

if TYPE_CHECKING:  # the verbs load what they need: `tinyc --help` stays quick
    from tinyc.compiler.pipeline import Options

EXAMPLES = """\
examples:
  tinyc compile kws.onnx --target cortex-m4
  tinyc run     kws.onnx --target cortex-m4 --input samples.npz
  tinyc profile kws.onnx --target cortex-m4 --clock 120MHz
  tinyc verify  kws.onnx --target rv32imc --data eval.npz
  tinyc tune    kws.onnx --target cortex-m4 --minutes 5
  tinyc doctor
"""
HERTZ = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 the model was refused or answers differ, 2 wrong usage (argparse)."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        verb: Callable[[argparse.Namespace], int] = args.verb
        return verb(args)
    except CompileError as error:
        if args.json:
            fields = {"code": error.code, "message": error.message}
            fields |= {"where": error.where, "help": error.help}
            print(json.dumps({"error": fields}, indent=2))
        else:
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _compile(args: argparse.Namespace) -> int:
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.show import show_report
    from tinyc.targets import load_target

    artifact = compile_model(args.model, load_target(args.target), _options(args))
    artifact.write(args.output)
    if args.json:
        print(artifact.report.to_json(), end="")
    else:
        show_report(artifact, args.output)
    return 0


def _run(args: argparse.Namespace) -> int:
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.running import run_artifact
    from tinyc.compiler.show import run_json, show_run
    from tinyc.compiler.verification import choose_inputs, load_arrays
    from tinyc.targets import load_target

    target = load_target(args.target)
    arrays = load_arrays(args.input)
    artifact = compile_model(args.model, target, _options(args))
    inputs = choose_inputs(artifact.report.inputs, arrays)
    inputs = {name: array[: args.limit] for name, array in inputs.items()}
    result = run_artifact(artifact, target, inputs, args.compiler)
    if args.json:
        print(json.dumps(run_json(artifact, result), indent=2))
    else:
        show_run(artifact, result)
    return 0


def _profile(args: argparse.Namespace) -> int:
    from tinyc.compiler.profiling import profile_model
    from tinyc.compiler.show_profile import profile_json, show_profile
    from tinyc.compiler.verification import load_arrays
    from tinyc.targets import load_target

    target = load_target(args.target)
    arrays = None if args.input is None else load_arrays(args.input)
    profile = profile_model(
        args.model,
        target,
        arrays,
        _options(args),
        compiler=args.compiler,
        clock_hz=args.clock,
        seed=args.seed,
    )
    if args.json:
        print(json.dumps(profile_json(profile, args.sort), indent=2))
    else:
        show_profile(profile, args.sort)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tinyc.compiler.show import show_verification
    from tinyc.compiler.verification import verify_model
    from tinyc.targets import load_target

    verification = verify_model(
        args.model, load_target(args.target), args.data, args.limit, _options(args)
    )
    if args.json:
        print(json.dumps(asdict(verification), indent=2))
    else:
        show_verification(verification)
    return 0


def _tune(args: argparse.Namespace) -> int:
    from tinyc.autotune.records import user_file
    from tinyc.compiler.show_tuning import progress_bar, show_tuning, tuning_json
    from tinyc.compiler.tuning import tune_model
    from tinyc.targets import load_target

    with progress_bar(quiet=args.json) as watch:
        tuning = tune_model(
            args.model,
            load_target(args.target),
            file=args.records,
            trials=args.trials,
            minutes=args.minutes,
            jobs=args.jobs,
            cluster=args.cluster,
            afresh=args.afresh,
            options=_options(args),
            watch=watch,
        )
    if args.json:
        print(json.dumps(tuning_json(tuning), indent=2))
    else:
        show_tuning(tuning, str(args.records or user_file()))
    return 130 if not tuning.complete else 1 if tuning.failures else 0


def _targets(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_targets, targets_json

    if args.json:
        print(json.dumps(targets_json(), indent=2))
    else:
        show_targets()
    return 0


def _ops(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import ops_json, show_ops

    if args.json:
        print(json.dumps(ops_json(), indent=2))
    else:
        show_ops()
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tinyc.compiler.show import show_doctor
    from tinyc.targets.doctor import diagnose

    checks = diagnose()
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        show_doctor(checks)
    return 0


def _options(args: argparse.Namespace) -> "Options":
    from tinyc.compiler.pipeline import Options

    return Options(
        name=args.name,
        io=args.io,
        io_dtype=args.io_dtype,
        optimize=args.optimize,
        input_shapes=dict(args.input_shape),
        dump=args.dump,
    )


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`x=1,3,96,96`; names may hold `:` and `=`."""
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=SIZE,SIZE,... as in x=1,3,96,96")
    return name, shape


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 1 or more")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes above 0")
    return minutes


def _clock(text: str) -> float:
    """`120MHz` in Hz."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)Hz", text)
    hertz = 0.0 if match is None else float(match[1]) * HERTZ[match[2]]
    if not hertz:
        raise argparse.ArgumentTypeError(f"'{text}' is not a frequency as in 120MHz or 32.5kHz")
    return hertz


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyc",
        description="Compile ONNX models to plain C for microcontrollers.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name, help=help, description=help, formatter_class=RawDescriptionRichHelpFormatter
        )
        sub.add_argument("--json", action="store_true", help="print JSON instead of tables")
        sub.set_defaults(verb=run)
        return sub

    compile_ = verb("compile", _compile, "write C files for one model")
    _add_model_arguments(compile_)
    compile_.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="folder (default: out)",
    )
    run = verb("run", _run, "run the compiled model on the emulated core: outputs, cycles, stack")
    _add_model_arguments(run)
    run.add_argument(
        "--input", type=Path, required=True, metavar="NPZ", help="arrays named like the inputs"
    )
    run.add_argument("--limit", type=_positive, metavar="N", help="only the first N samples")
    run.add_argument("--compiler", metavar="NAME", help="C compiler (see tinyc doctor)")
    profile = verb("profile", _profile, "say what each layer takes: cycles, RAM, flash")
    _add_model_arguments(profile)
    profile.add_argument(
        "--input",
        type=Path,
        metavar="NPZ",
        help="arrays named like the inputs; the first sample counts (default: random data)",
    )
    profile.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the random data (default: 0)"
    )
    profile.add_argument(
        "--clock", type=_clock, metavar="FREQUENCY", help="for the time in ms, as in 120MHz"
    )
    profile.add_argument(
        "--sort",
        choices=("order", "cycles"),
        default="order",
        help="layers as they execute, or the slowest first (default: order)",
    )
    profile.add_argument("--compiler", metavar="NAME", help="C compiler (see tinyc doctor)")
    verify = verb("verify", _verify, "compare the compiled model with onnxruntime on data")
    _add_model_arguments(verify)
    verify.add_argument(
        "--data", type=Path, required=True, metavar="NPZ", help="inputs, and labels as 'y'"
    )
    verify.add_argument("--limit", type=_positive, metavar="N", help="only the first N samples")
    tune = verb("tune", _tune, "measure schedules of the model's kernels; compile uses the best")
    _add_model_arguments(tune)
    tune.add_argument(
        "--trials",
        type=_positive,
        default=60,
        metavar="N",
        help="schedules to measure of each kernel workload (default: 60)",
    )
    tune.add_argument(
        "--minutes", type=_minutes, default=0.0, metavar="M", help="stop after so many minutes"
    )
    tune.add_argument(
        "--jobs", type=_positive, default=2, metavar="N", help="measuring processes (default: 2)"
    )
    tune.add_argument(
        "--cluster", default="", metavar="ADDRESS", help="a Dask scheduler to measure on instead"
    )
    tune.add_argument(
        "--records", type=Path, metavar="FILE", help="write records here (default: the user's file)"
    )
    tune.add_argument(
        "--afresh", action="store_true", help="measure again what is on record already"
    )
    verb("targets", _targets, "list the targets")
    verb("ops", _ops, "list the ONNX operators that are read, and tinyc's own")
    verb("doctor", _doctor, "say which compilers and emulators are here, and how to get the rest")
    return parser


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="a name of `tinyc targets`, or a TOML file"
    )
    parser.add_argument("--name", default="", help="prefix of all C names (default: file's stem)")
    parser.add_argument(
        "--io",
        choices=("caller", "arena"),
        default="caller",
        help="inputs and outputs are the caller's arrays, or live in the arena (default: caller)",
    )
    parser.add_argument(
        "--io-dtype",
        choices=("model", "int8"),
        default="model",
        help="interface as in the model, or quantized for a model with float inputs",
    )
    parser.add_argument(
        "--optimize",
        choices=("latency", "balanced", "size"),
        default="balanced",
        help="choose kernels for the fewest cycles, a balance, or the least flash (default: "
        "balanced)",
    )
    parser.add_argument(
        "--input-shape",
        type=_shape,
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="shape of an input with open dimensions, as in x=1,3,96,96; may be repeated",
    )
    parser.add_argument(
        "--dump", type=Path, metavar="DIR", help="write the graph after every pass to a folder"
    )
