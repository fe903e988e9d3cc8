"""What the arguments of a verb say, as the options of the compiler."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tinyc.compiler.errors import CompileError

if TYPE_CHECKING:  # the verbs load what they need: `tinyc --help` stays quick
    from tinyc.compiler.options import Options

Value = TypeVar("Value")


def augmentations(names: list[str]) -> list[str]:
    if "none" in names and set(names) != {"none"}:
        raise CompileError(
            "wrong-option", "none is asked for together with others",
            f"--augment {' '.join(names)}", "leave out none, or the others",
        )  # fmt: skip
    return [name for name in names if name != "none"]


def once(pairs: list[tuple[str, Value]], option: str) -> dict[str, Value]:
    """What was given by name, each name with one value."""
    found: dict[str, Value] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise CompileError(
                "wrong-option", "two different values are given", f"{option} {name}",
                "give one of them",
            )  # fmt: skip
    return found


def named_options(args: argparse.Namespace) -> "Options":
    """What a verb has that compiles one model."""
    return replace(options_of(args), name=args.name)


def options_of(args: argparse.Namespace) -> "Options":
    reading = reading_options(args)
    return replace(
        reading, io=args.io, optimize=args.optimize, max_ram=args.max_ram,
        max_flash=args.max_flash, memory=args.memory,
    )  # fmt: skip


def reading_options(args: argparse.Namespace) -> "Options":
    """What a verb that reads a model, and compiles nothing, has."""
    from tinyc.compiler.options import Options

    shapes = once(args.input_shape, "--input-shape")
    dims = once(args.dim, "--dim")
    return Options(
        io_dtype=args.io_dtype, input_shapes=shapes, dims=dims, dump=args.dump, stream=args.stream,
        tree_features=args.tree_features,
    )  # fmt: skip
