"""`tinyc compile`: one model or several, quantized first where there are samples."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyc.compiler.chosen_options import options_of
from tinyc.compiler.errors import CompileError
from tinyc.compiler.telling import tell

if TYPE_CHECKING:
    from tinyc.compiler.options import Options


def compile_verb(args: argparse.Namespace) -> int:
    for option in ("max_loss", "images"):
        if getattr(args, option) is not None and args.quantize is None:
            raise CompileError(
                "wrong-option", "nothing is quantized", f"--{option.replace('_', '-')}",
                "give samples with --quantize, or leave it out",
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
    with _quantized(args, options) as (model, settled):
        artifact = compile_model(model, target, settled)
    artifact.write(args.output)
    return tell(
        args,
        lambda: asdict(artifact.report),
        lambda: show_report(artifact),
        lambda: show_written(artifact.files, args.output),
    )


@contextmanager
def _quantized(args: argparse.Namespace, options: "Options") -> Iterator[tuple[Path, "Options"]]:
    """The model's file, or of it quantized: only then is the quantizer loaded; and its options."""
    if args.quantize is None:
        yield args.models[0], options
        return
    from tinyc.quantization.api import quantized_file
    from tinyc.quantization.showing import quantization_progress

    with (
        quantization_progress(quiet=args.json) as watch,
        quantized_file(
            args.models[0], args.quantize, options, args.images, args.max_loss, watch
        ) as quantized,
    ):
        yield quantized


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
