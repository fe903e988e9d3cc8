"""`tinyc quantize` and `tinyc prune`: from a model to another one."""

import argparse

from tinyc.compiler.chosen_options import augmentations, once
from tinyc.compiler.telling import tell


def quantize_verb(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_written
    from tinyc.quantization.api import quantize
    from tinyc.quantization.showing import (
        quantization_json,
        quantization_progress,
        show_quantization,
    )
    from tinyc.quantization.writing import check_place

    read = [args.model, args.data, args.eval]
    check_place(args.output, read)
    if args.html is not None:
        check_place(args.html, [*read, args.output])
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
    return tell(
        args,
        lambda: quantization_json(quantization.report),
        lambda: show_quantization(quantization.report),
        lambda: show_written([args.output.name], args.output.parent),
    )


def prune_verb(args: argparse.Namespace) -> int:
    from tinyc.compiler.show import show_written
    from tinyc.pruning.api import prune
    from tinyc.pruning.showing import pruning_json, show_pruning
    from tinyc.quantization.showing import quantization_progress
    from tinyc.quantization.writing import check_place

    check_place(args.output, [args.model, args.data])
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
    return tell(
        args,
        lambda: pruning_json(pruning.report),
        lambda: show_pruning(pruning.report),
        lambda: show_written([args.output.name], args.output.parent),
    )
