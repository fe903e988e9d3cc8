"""Options that several verbs have, each written once."""

from argparse import ArgumentParser
from pathlib import Path

from tinyc.compiler.argument_texts import byte_count, dim, percent, positive, shape


def add_float_model(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="ONNX file with a float model")


def add_samples(parser: ArgumentParser, more: str = "") -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PATH",
        help="samples: an .npz or .npy file, or a folder of .npy files or images; labels as 'y'"
        + more,
    )  # fmt: skip


def add_images(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--images", metavar="STEPS",
        help="what happens to pixels, as in scale=1/255,mean=0.5,std=0.5",
    )  # fmt: skip


def add_output_file(parser: ArgumentParser, what: str) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help=f"the {what} ONNX file"
    )


def add_quantizing_loss(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--max-loss", type=percent, metavar="PERCENT",
        help="what quantizing may lose: points of accuracy, or percent of the signal's power where "
        "there are no classes; what hurts most gets 16 bits or stays float",
    )  # fmt: skip


def add_byte_limits(parser: ArgumentParser, ram: str, flash: str, note: str) -> None:
    """ram, flash: what the bytes are; note: on both."""
    for option, what in (("--max-ram", ram), ("--max-flash", flash)):
        help = f"the most bytes {what}, {note}"
        parser.add_argument(option, type=byte_count, metavar="BYTES", help=help)


def add_sample_limit(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N samples")


def add_compiler(parser: ArgumentParser) -> None:
    parser.add_argument("--compiler", metavar="NAME", help="C compiler (see tinyc doctor)")


def add_compiled_model(parser: ArgumentParser) -> None:
    """What a verb has that compiles one model."""
    parser.add_argument("model", type=Path, help="ONNX or TensorFlow Lite file")
    parser.add_argument("--name", default="", help="prefix of all C names (default: file's stem)")
    add_reading(parser)
    add_choosing(parser)


def add_choosing(parser: ArgumentParser) -> None:
    """What a plan is chosen by."""
    parser.add_argument(
        "--memory", default="", metavar="LIST",
        help="memories and what the model may use of each, as in sram=64K,dtcm=16K,psram=8M:slow,"
        "flash=1M:wait=5; wait: cycles more for an access (default: the target's)",
    )  # fmt: skip
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
    add_byte_limits(parser, "the arena may take", "of flash, about", "as in 24K or 1M")


def add_reading(parser: ArgumentParser) -> None:
    """How a model is read, and for which target."""
    parser.add_argument(
        "--target", required=True, metavar="NAME", help="a name of `tinyc targets`, or a TOML file"
    )
    parser.add_argument(
        "--io-dtype",
        choices=("model", "int8", "int16"),
        default="model",
        help="interface as in the model; int8: quantized, for a model with float inputs; int16: "
        "for float inputs that trees alone read (default: model)",
    )
    parser.add_argument(
        "--tree-features",
        choices=("model", "int16"),
        default="model",
        help="what trees compare: features as in the model, or their ranks as int16, which decide "
        "alike (default: model)",
    )
    add_sizes(parser)
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


def add_sizes(parser: ArgumentParser) -> None:
    """Of dimensions that a model leaves open."""
    parser.add_argument(
        "--input-shape",
        type=shape,
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="shape of an input with open dimensions, as in x=1,3,96,96; may be repeated",
    )
    parser.add_argument(
        "--dim",
        type=dim,
        action="append",
        default=[],
        metavar="NAME=SIZE",
        help="size of an open dimension that has a name, wherever it stands, as in batch=1; may be "
        "repeated",
    )
