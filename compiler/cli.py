"""The `tinyc` command: parse, call, print; nothing else."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict

from tinyc.compiler.arguments import Verb, make_parser
from tinyc.compiler.chosen_options import named_options, options_of, reading_options
from tinyc.compiler.cli_compile import compile_verb
from tinyc.compiler.cli_models import prune_verb, quantize_verb
from tinyc.compiler.errors import CompileError
from tinyc.compiler.json_text import json_text
from tinyc.compiler.telling import tell


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


def _run(args: argparse.Namespace) -> int:
    from tinyc.compiler.interface_data import choose_inputs, load_arrays
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.running import run_artifact
    from tinyc.compiler.show_run import run_json, show_run
    from tinyc.targets import load_target

    target = load_target(args.target)
    arrays = load_arrays(args.input)
    artifact = compile_model(args.model, target, named_options(args))
    inputs = choose_inputs(artifact.report.inputs, arrays)
    inputs = {name: array[: args.limit] for name, array in inputs.items()}
    result = run_artifact(artifact, target, inputs, args.compiler)
    return tell(args, lambda: run_json(artifact, result), lambda: show_run(artifact, result))


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
    return tell(
        args, lambda: profile_json(profile, args.sort), lambda: show_profile(profile, args.sort)
    )


def _verify(args: argparse.Namespace) -> int:
    from tinyc.compiler.show_run import show_verification
    from tinyc.compiler.verification import verify_model
    from tinyc.targets import load_target

    verification = verify_model(
        args.model, load_target(args.target), args.data, args.limit, named_options(args)
    )
    return tell(args, lambda: asdict(verification), lambda: show_verification(verification))


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
    return tell(args, lambda: plans_json(plans), lambda: show_plans(plans))


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
    tell(
        args,
        lambda: tuning_json(tuning),
        lambda: show_tuning(tuning, str(args.records or user_file())),
    )
    return 130 if not tuning.complete else 1 if tuning.failures else 0


def _targets(args: argparse.Namespace) -> int:
    from tinyc.compiler.show_targets import show_targets, targets_json

    return tell(args, targets_json, show_targets)


def _ops(args: argparse.Namespace) -> int:
    from tinyc.compiler.show_operators import ops_json, show_ops

    return tell(args, ops_json, show_ops)


def _doctor(args: argparse.Namespace) -> int:
    from tinyc.compiler.show_targets import show_doctor
    from tinyc.targets.doctor import diagnose

    checks = diagnose()
    return tell(args, lambda: [asdict(check) for check in checks], lambda: show_doctor(checks))


VERBS: Mapping[str, Verb] = {
    "compile": compile_verb,
    "run": _run,
    "profile": _profile,
    "verify": _verify,
    "plan": _plan,
    "tune": _tune,
    "quantize": quantize_verb,
    "prune": prune_verb,
    "targets": _targets,
    "ops": _ops,
    "doctor": _doctor,
}
