"""What a user may ask of a compilation: by keyword, and as a record that was checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from tinyc.autotune.choice import Optimize
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Shape
from tinyc.targets.firmware import Io, Weights

IoDtype = Literal["model", "int8", "int16"]
TreeFeatures = Literal["model", "int16"]


class ReadingOptions(TypedDict, total=False):
    """Keywords of what reads a model; what each says is said once, at `tinyc.compile`."""

    io_dtype: IoDtype
    input_shapes: Mapping[str, Shape] | None
    dims: Mapping[str, int] | None
    dump: str | Path | None
    stream: str
    tree_features: TreeFeatures


class ChoosingOptions(ReadingOptions, total=False):
    """Keywords of what chooses a plan."""

    io: Io
    optimize: Optimize | None
    max_ram: int | None
    max_flash: int | None
    memory: str


class BundleOptions(ChoosingOptions, total=False):
    """Keywords of what compiles several models."""

    weights: Weights


class CompileOptions(BundleOptions, total=False):
    """Keywords of what compiles one model."""

    name: str
    html: bool
    check_memory: bool


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `tinyc.compile`, which says what each means; as the command line has them.

    notes  what the report says of the model beside its own, as of its quantization

    Raises CompileError("wrong-option").
    """

    name: str = ""
    io: Io = "caller"
    io_dtype: IoDtype = "model"
    optimize: Optimize | None = None
    max_ram: int | None = None
    max_flash: int | None = None
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    dump: Path | None = None
    weights: Weights = "c"
    html: bool = False
    check_memory: bool = False
    memory: str = ""
    stream: str = ""
    tree_features: TreeFeatures = "model"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option, value, kinds in (
            ("io", self.io, Io),
            ("io_dtype", self.io_dtype, IoDtype),
            ("optimize", self.mode, Optimize),
            ("weights", self.weights, Weights),
            ("tree_features", self.tree_features, TreeFeatures),
        ):
            if value not in get_args(kinds):
                raise CompileError(
                    "wrong-option",
                    f"there is no '{value}'",
                    f"option {option}",
                    f"use one of: {', '.join(get_args(kinds))}",
                )

        if self.stream and self.io == "rows":
            raise CompileError(
                "wrong-option",
                "rows and steps cannot be handed in one by one at the same time",
                "options io and stream",
                "use --io caller or --io arena with --stream",
            )

    @property
    def mode(self) -> Optimize:
        """What the plan is chosen for."""
        limited = self.max_ram is not None or self.max_flash is not None
        return self.optimize or ("latency" if limited else "balanced")


DEFAULTS = Options()


def options_of(keywords: ReadingOptions, kind: type[ReadingOptions]) -> Options:
    """The keywords of a function that has those of `kind`; one that is None has its default.

    Raises TypeError for others, as Python does.
    """
    if unknown := sorted(keywords.keys() - kind.__annotations__.keys()):
        raise TypeError(f"unexpected keyword arguments: {', '.join(unknown)}")
    given: dict[str, Any] = {name: v for name, v in keywords.items() if v is not None}
    if "dump" in given:
        given["dump"] = Path(given["dump"])
    return Options(**given)
