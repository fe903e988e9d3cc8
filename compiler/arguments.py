"""The options of the `tinyc` command, and how their texts are read."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from rich_argparse import RawDescriptionRichHelpFormatter

Verb = Callable[[argparse.Namespace], int]  # runs a verb; the exit status
EXAMPLES = """\
examples:
  tinyc compile kws.onnx --target cortex-m4
  tinyc compile kws.onnx vww.onnx --target cortex-m4 --share-arena
  tinyc run     kws.onnx --target cortex-m4 --input samples.npz
  tinyc profile kws.onnx --target cortex-m4 --clock 120MHz
  tinyc verify  kws.onnx --target rv32imc --data eval.npz
  tinyc plan    kws.onnx --target cortex-m4 --io arena
  tinyc tune    kws.onnx --target cortex-m4 --minutes 5
  tinyc quantize kws.onnx --data calib.npz -o kws_int8.onnx
  tinyc prune    kws.onnx --data calib.npz --target cortex-m4 --max-loss 1 -o kws_pruned.onnx
  tinyc doctor
"""
HERTZ = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


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


def _dim(text: str) -> tuple[str, int]:
    """`batch=1`."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal() or int(size) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=SIZE as in batch=1")
    return name, int(size)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 1 or more")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return int(text)


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = -1.0
    if not 0 <= points < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of points of 0 or more")
    return points


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes above 0")
    return minutes


def _percent(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is no percentage above 0")
    return value


def _bytes(text: str) -> int:
    """`24K` in bytes."""
    match = re.fullmatch(r"([0-9]+)([kKM]?)", text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes as in 24K or 1M")
    return int(match[1]) * {"": 1, "k": 1024, "K": 1024, "M": 1024 * 1024}[match[2]]


def _clock(text: str) -> float:
    """`120MHz` in Hz."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMG]?)Hz", text)
    hertz = 0.0 if match is None else float(match[1]) * HERTZ[match[2]]
    if not hertz:
        raise argparse.ArgumentTypeError(f"'{text}' is not a frequency as in 120MHz or 32.5kHz")
    return hertz


def make_parser(run: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser of the whole command; `args.verb` becomes the function of the verb in `run`."""
    parser = argparse.ArgumentParser(
        prog="tinyc",
        description="Compile ONNX and TensorFlow Lite models to plain C for microcontrollers.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="VERB")

    def verb(name: str, help: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name, help=help, description=help, formatter_class=RawDescriptionRichHelpFormatter
        )
        sub.add_argument("--json", action="store_true", help="print JSON instead of tables")
        sub.set_defaults(verb=run[name])
        return sub

    _add_compile(verb("compile", "write C files for a model, or for several of one firmware"))
    _add_run(verb("run", "run the compiled model on the emulated core: outputs, cycles, stack"))
    _add_profile(verb("profile", "say what each layer takes: cycles, RAM, flash"))
    _add_verify(verb("verify", "compare the compiled model with onnxruntime on data"))
    _add_plan(verb("plan", "list plans to choose from: RAM, cycles, flash; draw one's memory map"))
    _add_tune(verb("tune", "measure schedules of the model's kernels; compile uses the best"))
    _add_quantize(verb("quantize", "quantize a float model to int8 by samples: ONNX in, ONNX out"))
    _add_prune(
        verb("prune", "remove channels of a float model that matter least: ONNX in, ONNX out")
    )
    verb("targets", "list the targets")
    verb("ops", "list the ONNX operators, and how many of ONNX's test cases pass")
    verb("doctor", "say which compilers and emulators are here, and how to get the rest")
    return parser


def _add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="model", help="ONNX or TensorFlow Lite files"
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="prefix of all C names (default: file's stem); once for each of several models",
    )
    _add_reading_arguments(parser)
    _add_choosing_arguments(parser)
    parser.add_argument(
        "--quantize", type=Path, metavar="PATH",
        help="quantize a float model first, by the samples that `tinyc quantize` takes as --data",
    )  # fmt: skip
    _add_loss_argument(parser)
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


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX file with a float model")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="samples: an .npz file, or a folder of .npy files or images; labels as 'y'",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the quantized ONNX file"
    )
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
            f"--{option}", action=argparse.BooleanOptionalAction, default=True,
            help=f"{what}, where it helps on the samples",
        )  # fmt: skip
    _add_loss_argument(parser)
    for option, what in (
        ("--max-ram", "that the arena may take"), ("--max-flash", "of tables; weights get 4 bits"),
    ):  # fmt: skip
        parser.add_argument(
            option, type=_bytes, metavar="BYTES", help=f"the most bytes {what}, on the target"
        )
    parser.add_argument(
        "--max-cycles", type=_positive, metavar="N", help="the most cycles on the target, about"
    )
    parser.add_argument(
        "--target", default="", metavar="NAME", help="whose RAM, flash and cycles are limited"
    )
    parser.add_argument(
        "--images", metavar="STEPS",
        help="what happens to pixels, as in scale=1/255,mean=0.5,std=0.5",
    )  # fmt: skip
    _add_shape_argument(parser)


def _add_loss_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-loss", type=_percent, metavar="PERCENT",
        help="what quantizing may lose: points of accuracy, or percent of the signal's power where "
        "there are no classes; what hurts most gets 16 bits or stays float",
    )  # fmt: skip


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX file with a float model")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="samples: an .npz file, or a folder of .npy files or images; labels as 'y'. Every "
        "other one judges what the rest is fitted to",
    )
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="whose cycles are to be saved"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the smaller ONNX file"
    )
    parser.add_argument(
        "--max-loss",
        type=_points,
        default=1.0,
        metavar="POINTS",
        help="what the samples that judge may lose: points of right answers, and of their "
        "probability; where there are no classes, %% of the outputs' deviation (default: 1)",
    )
    parser.add_argument(
        "--augment",
        action="extend",
        nargs="+",
        choices=("mix", "flip", "shift", "none"),
        help="changes that make more samples: mixtures of two, images mirrored left to right, "
        "images shifted; what the model was trained to stand helps (default: mix)",
    )
    parser.add_argument(
        "--epochs",
        type=_count,
        default=40,
        metavar="N",
        help="how long all layers are fitted together at last; 0: only one after the other "
        "(default: 40)",
    )
    parser.add_argument(
        "--images", metavar="STEPS",
        help="what happens to pixels, as in scale=1/255,mean=0.5,std=0.5",
    )  # fmt: skip
    _add_shape_argument(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    parser.add_argument(
        "--input", type=Path, required=True, metavar="NPZ", help="arrays named like the inputs"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N samples")
    parser.add_argument("--compiler", metavar="NAME", help="C compiler (see tinyc doctor)")


def _add_profile(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    parser.add_argument(
        "--input",
        type=Path,
        metavar="NPZ",
        help="arrays named like the inputs; the first sample counts (default: random data)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the random data (default: 0)"
    )
    parser.add_argument(
        "--clock", type=_clock, metavar="FREQUENCY", help="for the time in ms, as in 120MHz"
    )
    parser.add_argument(
        "--sort",
        choices=("order", "cycles"),
        default="order",
        help="layers as they execute, or the slowest first (default: order)",
    )
    parser.add_argument("--compiler", metavar="NAME", help="C compiler (see tinyc doctor)")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="NPZ", help="inputs, and labels as 'y'"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N samples")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the memory map")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with the plans and the memory map"
    )


def _add_tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX or TensorFlow Lite file")
    _add_reading_arguments(parser)
    parser.add_argument(
        "--trials",
        type=_positive,
        default=60,
        metavar="N",
        help="schedules to measure of each kernel workload (default: 60)",
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=0.0, metavar="M", help="stop after so many minutes"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=2, metavar="N", help="measuring processes (default: 2)"
    )
    parser.add_argument(
        "--cluster", default="", metavar="ADDRESS", help="a Dask scheduler to measure on instead"
    )
    parser.add_argument(
        "--records", type=Path, metavar="FILE", help="write records here (default: the user's file)"
    )
    parser.add_argument(
        "--afresh", action="store_true", help="measure again what is on record already"
    )


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What a verb has that compiles one model."""
    parser.add_argument("model", type=Path, help="ONNX or TensorFlow Lite file")
    parser.add_argument("--name", default="", help="prefix of all C names (default: file's stem)")
    _add_reading_arguments(parser)
    _add_choosing_arguments(parser)


def _add_choosing_arguments(parser: argparse.ArgumentParser) -> None:
    _add_memory_argument(parser)
    parser.add_argument(
        "--io",
        choices=("caller", "arena", "rows"),
        default="caller",
        help="inputs and outputs are the caller's arrays; or live in the arena, where a run may "
        "overwrite them; or only the outputs do, and the caller hands in the input row by row "
        "(default: caller)",
    )
    parser.add_argument(
        "--optimize",
        choices=("latency", "balanced", "size", "ram"),
        help="the fewest cycles; a balance of cycles, flash and RAM; the least flash; or the least "
        "RAM (default: balanced, or with --max-ram or --max-flash the fastest within them)",
    )
    for option, what in (("--max-ram", "the arena may take"), ("--max-flash", "of flash, about")):
        parser.add_argument(
            option, type=_bytes, metavar="BYTES", help=f"the most bytes {what}, as in 24K or 1M"
        )


def _add_memory_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory",
        default="",
        metavar="LIST",
        help="memories and what the model may use of each, as in sram=64K,dtcm=16K,psram=8M:slow,"
        "flash=1M:wait=5; wait: cycles more for an access (default: the target's)",
    )


def _add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="a name of `tinyc targets`, or a TOML file"
    )
    parser.add_argument(
        "--io-dtype",
        choices=("model", "int8"),
        default="model",
        help="interface as in the model, or quantized for a model with float inputs",
    )
    _add_shape_argument(parser)
    parser.add_argument(
        "--dump", type=Path, metavar="DIR", help="write the graph after every pass to a folder"
    )
    parser.add_argument(
        "--stream",
        default="",
        metavar="INPUT:AXIS[:STEPS]",
        help="one call for each step of the input along the axis of time, as in x:1, or for "
        "several, as in x:1:4; or auto. What has to be remembered is a struct of the caller's",
    )


def _add_shape_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input-shape",
        type=_shape,
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="shape of an input with open dimensions, as in x=1,3,96,96; may be repeated",
    )
    parser.add_argument(
        "--dim",
        type=_dim,
        action="append",
        default=[],
        metavar="NAME=SIZE",
        help="size of an open dimension that has a name, wherever it stands, as in batch=1; may be "
        "repeated",
    )
