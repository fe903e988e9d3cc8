"""`tinyc quantize` from Python: a float model and samples in, a quantized model and report out."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Shape
from tinyc.compiler.options import Options as CompileOptions
from tinyc.quantization.costs import Limits
from tinyc.quantization.float_model import read_float_model
from tinyc.quantization.images import Preprocessing, parse_preprocessing
from tinyc.quantization.mixed import Budget, check_budget, mixed
from tinyc.quantization.options import Options
from tinyc.quantization.page import quantization_page
from tinyc.quantization.quantize import Quantized, Watch, quantize_model, silent
from tinyc.quantization.ranges import METHODS
from tinyc.quantization.report import Mixture, QuantizationReport, report_of
from tinyc.quantization.samples import Data, Samples, holds_images, read_samples
from tinyc.quantization.writing import write_in_folder, write_model
from tinyc.targets import load_target


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """A quantized model, as ONNX, and what was done."""

    model: onnx.ModelProto
    report: QuantizationReport

    def write(self, path: str | Path, html: str | Path | None = None) -> None:
        """Write the model, and a page about it where `html` names one.

        Raises CompileError("cannot-write").
        """
        write_model(self.model, Path(path))
        if html is not None:
            write_in_folder(Path(html), quantization_page(self.report))


def quantize(
    model: str | Path,
    data: Data,
    *,
    ranges: Sequence[str] = (),
    per_tensor: bool = False,
    equalize: bool = True,
    share_scales: bool = True,
    correct_bias: bool = True,
    adapt: bool = True,
    input_shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, int] | None = None,
    images: str | Preprocessing | None = None,
    judges: Data | None = None,
    max_loss: float | None = None,
    max_ram: int | None = None,
    max_flash: int | None = None,
    max_cycles: int | None = None,
    target: str = "",
    watch: Watch = silent,
) -> Quantization:
    """Quantize a float ONNX file to int8, as QuantizeLinear and DequantizeLinear.

    data          samples: an .npz file, a folder of .npy files or images, arrays by input name,
                  or an iterable of samples; labels as `y`, where there are any
    ranges        methods to choose each tensor's range from: minmax, mse, entropy, percentile 99.9,
                  percentile 99.99, percentile 99.999; all when empty
    per_tensor    one scale for all weights of a layer
    equalize, correct_bias, adapt  whether these steps are tried; each stays where it helps
    share_scales  whether operands of sums get scales that need no multiplication, where the noise
                  allows it
    input_shapes  shapes by input name, for dimensions that the model leaves open
    dims          sizes by name of an open dimension, wherever it stands
    images        what happens to pixels, as in "scale=1/255,mean=0.5,std=0.5"
    judges        samples of their own, as `data`, for which answers are compared in the report:
                  accuracy on what calibrated is flattering
    max_loss      percent that may be lost, of answers or of the signal's power; where int8 loses
                  more, some tensors get 16 bits, and some weights stay float
    max_ram, max_flash, max_cycles  of the model on `target`; some weights get 4 bits for it
    watch         is told what is being done

    Raises CompileError with a code, what is wrong, where, and what to do.
    """
    options = Options(
        ranges=_methods(ranges),
        per_tensor=per_tensor,
        equalize=equalize,
        share_scales=share_scales,
        correct_bias=correct_bias,
        adapt=adapt,
        input_shapes=input_shapes or {},
        dims=dims or {},
        images=preprocessing_of(images),
    )
    budget = Budget(
        max_loss, Limits(max_ram, max_flash, max_cycles), load_target(target) if target else None
    )
    judging = None if judges is None else _judging(Path(model), judges, options)
    quantized, mixture = quantized_within(Path(model), data, options, budget, watch)
    watch("measuring what each layer does", 0, 1)
    report = replace(report_of(quantized, judging), mixture=mixture)
    return Quantization(quantized.model.to_proto(), report)


def _judging(model: Path, judges: Data, options: Options) -> Samples:
    """Read before anything is quantized: what is wrong with it shall not come last."""
    inputs = read_float_model(model, options.input_shapes, options.dims).inputs
    return read_samples(judges, inputs, options.images if holds_images(judges) else None)


def quantized_within(
    model: Path, data: Data, options: Options, budget: Budget, watch: Watch
) -> tuple[Quantized, Mixture | None]:
    """The model as int8, or with the formats that a budget asks for."""
    check_budget(budget)
    quantized = quantize_model(model, data, options, watch)
    return mixed(quantized, budget, watch) if budget.any else (quantized, None)


@contextmanager
def quantized_file(
    model: Path, data: Data | None, asked: CompileOptions,
    images: str | Preprocessing | None = None, max_loss: float | None = None,
    watch: Watch = silent,
) -> Iterator[tuple[Path, CompileOptions]]:  # fmt: skip
    """A file of the model's name with the model quantized by `data`, and options to compile it.

    Its shapes are static, and its report repeats what is to be said of the quantization. Without
    data it is the model itself.
    """
    if data is None:
        yield model, asked
        return
    options = Options(
        input_shapes=asked.input_shapes, dims=asked.dims, images=preprocessing_of(images)
    )
    quantized, mixture = quantized_within(model, data, options, Budget(max_loss), watch)
    notes = (*quantized.prepared.warnings, *(() if mixture is None else mixture.notes))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / model.with_suffix(".onnx").name
        file.write_bytes(quantized.model.to_proto().SerializeToString(deterministic=True))
        yield file, replace(asked, input_shapes={}, dims={}, notes=notes)


def _methods(names: Sequence[str]) -> tuple[str, ...]:
    """The methods that names stand for; `percentile` stands for all of them."""
    chosen = tuple(m for m in METHODS if not names or any(m.startswith(n) for n in names))
    unknown = [n for n in names if not any(m.startswith(n) for m in METHODS)]
    if unknown:
        raise CompileError(
            "unknown-method", f"no method of ranges is named '{unknown[0]}'",
            help=f"use one of: {', '.join(METHODS)}",
        )  # fmt: skip
    return chosen


def preprocessing_of(images: str | Preprocessing | None) -> Preprocessing | None:
    """Raises CompileError("bad-preprocessing")."""
    if not isinstance(images, str):
        return images
    try:
        return parse_preprocessing(images)
    except (ValueError, ZeroDivisionError) as error:
        raise CompileError(
            "bad-preprocessing", f"the pre-processing is not understood: {error}",
            f"'{images}'", "state it as in scale=1/255,mean=0.5,std=0.5",
        ) from error  # fmt: skip
