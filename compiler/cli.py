"""The `tinyc` command: parse, call, print; nothing else."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from tinyc.compiler.arguments import Verb, make_parser
from tinyc.compiler.chosen_options import (
    augmentations,
    named_options,
    once,
    options_of,
    reading_options,
)
from tinyc.compiler.errors import CompileError
from tinyc.compiler.json_text import json_text


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused, or a schedule failed while tuning; 2 wrong usage (argparse),
    130 interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    args = make_parser(VERBS, in_json="--json" in arguments).parse_args(arguments)
    try:
        verb: Verb = args.verb
        return verb(args)
    except CompileError as error:
        if args.json:
            fields = {"code": error.code, "message": error.message}
            fields |= {"where": error.where, "help": error.help}
            print(json_text({"error": fields}))
        else:
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _compile(args: argparse.Namespace) -> int:
    if args.max_loss is not None and args.quantize is None:
        raise CompileError(
            "wrong-option", "there is nothing to lose without quantizing", "--max-loss",
            "give samples with --quantize, or leave --max-loss out",
        )  # fmt: skip
    if len(args.models) > 1 or len(args.name) > 1 or args.share_arena:
        return _compile_bundle(args)
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.show import show_report, show_written
    from tinyc.quantization.api import quantized_file
    from tinyc.quantization.mixed import Budget
    from tinyc.quantization.options import Options as QuantizationOptions
    from tinyc.quantization.showing import quantization_progress
    from tinyc.targets import load_target

    options = replace(
        options_of(args), name="".join(args.name), weights=args.weights, html=args.html,
        check_memory=args.check_memory,
    )  # fmt: skip
    target = load_target(args.target)
    reading = QuantizationOptions(input_shapes=options.input_shapes, dims=options.dims)
    budget = Budget(args.max_loss)
    with (
        quantization_progress(quiet=args.json) as watch,
        quantized_file(args.models[0], args.quantize, reading, watch, budget) as model,
    ):
        artifact = compile_model(model, target, options)
    artifact.write(args.output)
    return _tell(
        args,
        lambda: asdict(artifact.report),
        lambda: show_report(artifact),
        lambda: show_written(artifact.files, args.output),
    )


def _compile_bundle(args: argparse.Namespace) -> int:
    if args.quantize is not None:
        raise CompileError(
            "wrong-option", "several models are not quantized at once", "--quantize",
            "quantize each with `tinyc quantize`, and compile the results",
        )  # fmt: skip
    for option in ("html", "check_memory"):
        if getattr(args, option):
            raise CompileError(
                "wrong-option", "several models have no such report together",
                f"--{option.replace('_', '-')}", "compile each model alone for it",
            )  # fmt: skip
    from tinyc.compiler.bundle import compile_bundle
    from tinyc.compiler.show import show_bundle, show_written
    from tinyc.targets import load_target

    bundle = compile_bundle(
        args.models,
        load_target(args.target),
        replace(options_of(args), weights=args.weights),
        names=args.name,
        share_arena=args.share_arena,
    )
    bundle.write(args.output)
    return _tell(
        args,
        lambda: asdict(bundle.report),
        lambda: show_bundle(bundle),
        lambda: show_written(bundle.files, args.output),
    )


def _run(args: argparse.Namespace) -> int:
    from tinyc.compiler.interface_data import choose_inputs, load_arrays
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.running import run_artifact
    from tinyc.compiler.show import run_json, show_run
    from tinyc.targets import load_target

    target = load_target(args.target)
    arrays = load_arrays(args.input)
    artifact = compile_model(args.model, target, named_options(args))
    inputs = choose_inputs(artifact.report.inputs, arrays)
    inputs = {name: array[: args.limit] for name, array in inputs.items()}
    result = run_artifact(artifact, target, inputs, args.compiler)
    return _tell(args, lambda: run_json(artifact, result), lambda: show_run(artifact, result))


def _profile(args: argparse.Namespace) -> int:
    from tinyc.compiler.interface_data import load_arrays
    from tinyc.compiler.profiling import profile_model
    from tinyc.compiler.show_profile import profile_json, show_profile
    from tinyc.targets import load_target

    target = load_target(args.target)
    arrays = None if args.input is None else load_arrays(args.input)
    profile = profile_model(
        args.model,
        target,
        arrays,
        named_options(args),
        compiler=args.compiler,
        clock_hz=args.clock,
        seed=args.seed,
    )
    return _tell(
        args, lambda: profile_json(profile, args.sort), lambda: show_profile(profile, args.sort)
    )


def _verify(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_verification
    from tinyc.compiler.verification import verify_model
    from tinyc.targets import load_target

    verification = verify_model(
        args.model, load_target(args.target), args.data, args.limit, named_options(args)
    )
    return _tell(args, lambda: asdict(verification), lambda: show_verification(verification))


def _plan(args: argparse.Namespace) -> int:
    from tinyc.compiler.artifact import write_file
    from tinyc.compiler.front import plan_model
    from tinyc.compiler.pages.memory_map_svg import memory_map_svg
    from tinyc.compiler.pages.plan_page import plan_page
    from tinyc.compiler.show_plans import planning_status, plans_json, show_plans
    from tinyc.targets import load_target

    with planning_status(quiet=args.json):
        plans = plan_model(args.model, load_target(args.target), options_of(args))
    if args.svg is not None:
        write_file(args.svg, memory_map_svg(plans.map))
    if args.html is not None:
        write_file(args.html, plan_page(plans))
    return _tell(args, lambda: plans_json(plans), lambda: show_plans(plans))


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
            options=reading_options(args),
            watch=watch,
        )
    _tell(
        args,
        lambda: tuning_json(tuning),
        lambda: show_tuning(tuning, str(args.records or user_file())),
    )
    return 130 if not tuning.complete else 1 if tuning.failures else 0


def _quantize(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_written
    from tinyc.quantization.api import quantize
    from tinyc.quantization.showing import (
        quantization_json,
        quantization_progress,
        show_quantization,
    )

    with quantization_progress(quiet=args.json) as watch:
        quantization = quantize(
            args.model,
            args.data,
            ranges=args.ranges,
            per_tensor=args.per_tensor,
            equalize=args.equalize,
            share_scales=args.share_scales,
            correct_bias=args.bias_correction,
            adapt=args.adaptive_rounding,
            input_shapes=once(args.input_shape, "--input-shape"),
            dims=once(args.dim, "--dim"),
            images=args.images,
            judges=args.eval,
            max_loss=args.max_loss,
            max_ram=args.max_ram,
            max_flash=args.max_flash,
            max_cycles=args.max_cycles,
            target=args.target,
            watch=watch,
        )
    quantization.write(args.output, args.html)
    return _tell(
        args,
        lambda: quantization_json(quantization.report),
        lambda: show_quantization(quantization.report),
        lambda: show_written([args.output.name], args.output.parent),
    )


def _prune(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_written
    from tinyc.pruning.api import prune
    from tinyc.pruning.showing import pruning_json, show_pruning
    from tinyc.quantization.showing import quantization_progress

    with quantization_progress(quiet=args.json) as watch:
        pruning = prune(
            args.model,
            args.data,
            args.target,
            max_loss=args.max_loss,
            augment=augmentations(args.augment or ["mix"]),
            epochs=args.epochs,
            input_shapes=once(args.input_shape, "--input-shape"),
            dims=once(args.dim, "--dim"),
            images=args.images,
            watch=watch,
        )
    pruning.write(args.output)
    return _tell(
        args,
        lambda: pruning_json(pruning.report),
        lambda: show_pruning(pruning.report),
        lambda: show_written([args.output.name], args.output.parent),
    )


def _targets(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_targets, targets_json

    return _tell(args, targets_json, show_targets)


def _ops(args: argparse.Namespace) -> int:
    from tinyc.compiler.show_operators import ops_json, show_ops

    return _tell(args, ops_json, show_ops)


def _doctor(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_doctor
    from tinyc.targets.doctor import diagnose

    checks = diagnose()
    return _tell(args, lambda: [asdict(check) for check in checks], lambda: show_doctor(checks))


def _tell(
    args: argparse.Namespace, fields: Callable[[], object], *shows: Callable[[], None]
) -> int:
    """What came of a verb: its fields as JSON, or as `shows` print it; the exit status 0."""
    if args.json:
        print(json_text(fields()))
    else:
        for show in shows:
            show()
    return 0


VERBS: Mapping[str, Verb] = {
    "compile": _compile,
    "run": _run,
    "profile": _profile,
    "verify": _verify,
    "plan": _plan,
    "tune": _tune,
    "quantize": _quantize,
    "prune": _prune,
    "targets": _targets,
    "ops": _ops,
    "doctor": _doctor,
}
