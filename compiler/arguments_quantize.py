"""The options of the verbs that write another model: quantize and prune."""

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path

from tinyc.compiler.argument_groups import (
    add_byte_limits,
    add_float_model,
    add_images,
    add_output_file,
    add_quantizing_loss,
    add_samples,
    add_sizes,
)
from tinyc.compiler.argument_texts import count, points, positive


def add_quantize(parser: ArgumentParser) -> None:
    add_float_model(parser)
    add_samples(parser)
    parser.add_argument(
        "--eval", type=Path, metavar="PATH",
        help="other samples, given like --data, for the accuracy that is reported",
    )  # fmt: skip
    add_output_file(parser, "quantized")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page about the layers")
    parser.add_argument(
        "--ranges",
        action="append",
        default=[],
        choices=("minmax", "percentile", "mse", "entropy"),
        help="choose ranges from this method only; may be repeated (default: from all, for each "
        "tensor the one that disturbs the output least)",
    )
    parser.add_argument(
        "--per-tensor", action="store_true", help="one scale for all weights of a layer"
    )
    for option, what in (
        ("equalize", "scaling channels so that one range suits all"),
        ("bias-correction", "taking the mean error off biases"),
        ("adaptive-rounding", "rounding weights by least squares"),
    ):
        parser.add_argument(
            f"--{option}", action=BooleanOptionalAction, default=True,
            help=f"{what}, where it helps on the samples",
        )  # fmt: skip
    parser.add_argument(
        "--share-scales",
        action=BooleanOptionalAction,
        default=True,
        help="scales of sums and their operands that need no multiplication, where the noise "
        "hardly grows",
    )
    add_quantizing_loss(parser)
    add_byte_limits(
        parser, "that the arena may take", "of tables; weights get 4 bits", "on the target"
    )
    parser.add_argument(
        "--max-cycles",
        type=positive,
        metavar="N",
        help="the most cycles on the target, about",
    )
    parser.add_argument(
        "--target", default="", metavar="NAME", help="whose RAM, flash and cycles are limited"
    )
    add_images(parser)
    add_sizes(parser)


def add_prune(parser: ArgumentParser) -> None:
    add_float_model(parser)
    add_samples(parser, ". Every other one judges what the rest is fitted to")
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="whose cycles are to be saved"
    )
    add_output_file(parser, "smaller")
    parser.add_argument(
        "--max-loss",
        type=points,
        default=1.0,
        metavar="POINTS",
        help="what the samples that judge may lose: points of right answers, and of their "
        "probability; where there are no classes, %% of the outputs' deviation (default: 1)",
    )
    parser.add_argument(
        "--augment",
        action="extend",
        nargs="+",
        choices=("mix", "flip", "shift", "light", "cut", "none"),
        help="changes that make more samples: mixtures of two; images mirrored left to right, "
        "shifted, in other light and colours, with a part of another one; what the model was "
        "trained to stand helps (default: mix)",
    )
    parser.add_argument(
        "--epochs",
        type=count,
        default=10,
        metavar="N",
        help="how long all layers are fitted together at last; 0: only one after the other "
        "(default: 10)",
    )
    add_images(parser)
    add_sizes(parser)
