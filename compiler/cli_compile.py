"""`tinyc compile`: one model or several, quantized first where there are samples."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from tinyc.compiler.chosen_options import once, options_of
from tinyc.compiler.errors import CompileError
from tinyc.compiler.telling import tell


def compile_verb(args: argparse.Namespace) -> int:
    if args.max_loss is not None and args.quantize is None:
        raise CompileError(
            "wrong-option", "there is nothing to lose without quantizing", "--max-loss",
            "give samples with --quantize, or leave --max-loss out",
        )  # fmt: skip
    if len(args.models) > 1 or len(args.name) > 1 or args.share_arena:
        return _compile_bundle(args)
    from tinyc.compiler.pipeline import compile_model
    from tinyc.compiler.show import show_report, show_written
    from tinyc.targets import load_target

    options = replace(
        options_of(args), name="".join(args.name), weights=args.weights, html=args.html,
        check_memory=args.check_memory,
    )  # fmt: skip
    target = load_target(args.target)
    with _quantized(args) as model:
        artifact = compile_model(model, target, options)
    artifact.write(args.output)
    return tell(
        args,
        lambda: asdict(artifact.report),
        lambda: show_report(artifact),
        lambda: show_written(artifact.files, args.output),
    )


@contextmanager
def _quantized(args: argparse.Namespace) -> Iterator[Path]:
    """The file of the model, or of it quantized: only then is the quantizer loaded."""
    if args.quantize is None:
        yield args.models[0]
        return
    from tinyc.quantization.api import quantized_file
    from tinyc.quantization.mixed import Budget
    from tinyc.quantization.options import Options
    from tinyc.quantization.showing import quantization_progress

    reading = Options(
        input_shapes=once(args.input_shape, "--input-shape"), dims=once(args.dim, "--dim")
    )
    budget = Budget(args.max_loss)
    with (
        quantization_progress(quiet=args.json) as watch,
        quantized_file(args.models[0], args.quantize, reading, watch, budget) as model,
    ):
        yield model


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
    return tell(
        args,
        lambda: asdict(bundle.report),
        lambda: show_bundle(bundle),
        lambda: show_written(bundle.files, args.output),
    )
