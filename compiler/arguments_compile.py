"""The options of the verbs that compile: each what it has alone, beside the shared ones."""

from argparse import ArgumentParser
from pathlib import Path

from tinyc.compiler.argument_groups import (
    add_choosing,
    add_compiled_model,
    add_compiler,
    add_images,
    add_quantizing_loss,
    add_reading,
    add_sample_limit,
)
from tinyc.compiler.argument_texts import count, frequency, minutes, positive


def add_compile(parser: ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="model", help="ONNX or TensorFlow Lite files"
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="prefix of all C names (default: file's stem); once for each of several models",
    )
    add_reading(parser)
    add_choosing(parser)
    parser.add_argument(
        "--quantize", type=Path, metavar="PATH",
        help="quantize a float model first, by the samples that `tinyc quantize` takes as --data",
    )  # fmt: skip
    add_images(parser)
    add_quantizing_loss(parser)
    parser.add_argument(
        "--share-arena",
        action="store_true",
        help="one arena for several models that run one after the other",
    )
    parser.add_argument(
        "--weights",
        choices=("c", "incbin", "bin"),
        default="c",
        help="tables as C; as a binary that a .S file includes, which builds sooner; or as a "
        "binary that is not linked and lies anywhere, as in external flash (default: c)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="folder of the files (default: out)",
    )
    parser.add_argument(
        "--html", action="store_true", help="write report.html too: memory map, layers, modes"
    )
    parser.add_argument(
        "--check-memory", action="store_true",
        help="report what executing the memory plan proved: every byte read is the one written",
    )  # fmt: skip


def add_run(parser: ArgumentParser) -> None:
    add_compiled_model(parser)
    parser.add_argument(
        "--input", type=Path, required=True, metavar="NPZ", help="arrays named like the inputs"
    )
    add_sample_limit(parser)
    add_compiler(parser)


def add_profile(parser: ArgumentParser) -> None:
    add_compiled_model(parser)
    parser.add_argument(
        "--input",
        type=Path,
        metavar="NPZ",
        help="arrays named like the inputs; the first sample counts (default: random data)",
    )
    parser.add_argument(
        "--seed", type=count, default=0, metavar="N", help="of the random data (default: 0)"
    )
    parser.add_argument(
        "--clock",
        type=frequency,
        metavar="FREQUENCY",
        help="for the time in ms, as in 120MHz",
    )
    parser.add_argument(
        "--sort",
        choices=("order", "cycles"),
        default="order",
        help="layers as they execute, or the slowest first (default: order)",
    )
    add_compiler(parser)


def add_verify(parser: ArgumentParser) -> None:
    add_compiled_model(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="NPZ", help="inputs, and labels as 'y'"
    )
    add_sample_limit(parser)


def add_plan(parser: ArgumentParser) -> None:
    add_compiled_model(parser)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the memory map")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with the plans and the memory map"
    )


def add_tune(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX or TensorFlow Lite file")
    add_reading(parser)
    parser.add_argument(
        "--trials",
        type=positive,
        default=60,
        metavar="N",
        help="schedules to measure of each kernel workload (default: 60)",
    )
    parser.add_argument(
        "--minutes", type=minutes, default=0.0, metavar="M", help="stop after so many minutes"
    )
    parser.add_argument(
        "--jobs", type=positive, default=2, metavar="N",
        help="measuring processes (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--cluster", default="", metavar="ADDRESS", help="a Dask scheduler to measure on instead"
    )
    parser.add_argument(
        "--records", type=Path, metavar="FILE", help="write records here (default: the user's file)"
    )
    parser.add_argument(
        "--afresh", action="store_true", help="measure again what is on record already"
    )
