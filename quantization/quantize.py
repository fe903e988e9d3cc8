"""The quantizer as one straight line: read, equalize, choose ranges, fit weights, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import Judge, decibels, judge_of
from tinyc.quantization.equalization import equalized
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.fitting import Fitted, Formats, Method, fitted
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid
from tinyc.quantization.layers import layers_of
from tinyc.quantization.options import DEFAULTS, Options
from tinyc.quantization.points import (
    Point,
    constant_operands,
    constant_tables,
    points_of,
    unequal_concats,
)
from tinyc.quantization.preparation import Prepared, input_scaling, prepare
from tinyc.quantization.ranges import Range, best_range, constant_grids, with_headroom
from tinyc.quantization.samples import FEW, Data

BALANCES = (0.5, 0.75)  # between activations and weights; more loses on unseen samples
JUDGED_SAMPLES = 64  # on which ranges are chosen
HELD_OUT = 4  # every so many samples judge what the others were fitted to
WORSE = 4.0  # an input whose rounding costs so much more than that of its scaled values stays real
HARMLESS = 1e-4  # distortion below which an input's rounding never matters
NEAREST = Method(correct=False, adapt=False, compensate=False)

Watch = Callable[[str, int, int], None]  # what is done, step, steps


def silent(text: str, step: int, steps: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """The range of each point, and the grids of all tensors."""

    points: tuple[Point, ...]
    by_point: Mapping[str, Range]
    grids: Mapping[str, Grid]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An equalization with its ranges.

    balance  of the equalization; None for the model as it was
    """

    prepared: Prepared
    balance: float | None
    ranges: Ranges


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """The result: a model with QDQ nodes, and all it came from.

    tried  distortion on held-out samples (dB) of what was tried, by its description
    """

    prepared: Prepared
    ranges: Ranges
    fitted: Fitted
    formats: Formats
    balance: float | None
    method: Method
    floating: tuple[str, ...]
    tried: Mapping[str, float]

    @property
    def model(self) -> FloatModel:
        return self.fitted.qdq()


def quantize_model(
    path: Path, data: Data, options: Options = DEFAULTS, watch: Watch = silent
) -> Quantized:
    """Quantize a float ONNX file to int8.

    Raises CompileError when the model or the data cannot be read.
    """
    watch("running the float model", 0, 1)
    return quantize_prepared(prepare(path, data, options), options, watch)


def quantize_prepared(
    prepared: Prepared, options: Options = DEFAULTS, watch: Watch = silent
) -> Quantized:
    """The same of a model that is read already."""
    floating = _floating_inputs(prepared, options)
    formats = _formats(prepared.model, floating, options)
    tried: dict[str, float] = {}
    best: Candidate | None = None
    for balance in (None, *BALANCES) if options.equalize else (None,):
        watch(f"choosing ranges, {_balance_text(balance)}", 0, 1)
        candidate = _candidate(prepared, balance, floating, options, watch)
        if candidate is None:
            continue
        method = Method(options.correct_bias, adapt=False, compensate=False)
        tried[_balance_text(balance)] = held_out(candidate, method, formats)
        if best is None or tried[_balance_text(balance)] > max(
            v for n, v in tried.items() if n != _balance_text(balance)
        ):
            best = candidate
    assert best is not None, "the model as it is is always a candidate"
    methods = methods_of(options)
    for step, method in enumerate(methods):
        watch(f"trying {method}", step, len(methods))
        tried[str(method)] = held_out(best, method, formats)
    method = max(methods, key=lambda m: tried[str(m)])
    watch("fitting weights to all samples", 0, 1)
    execution, values = best.prepared.execution, best.prepared.values
    result = fitted(execution, values, best.ranges.grids, method, formats)
    return Quantized(
        best.prepared, best.ranges, result, formats, best.balance, method, floating, tried
    )


def methods_of(options: Options) -> list[Method]:
    """The ways to round weights that the options leave."""
    methods = [NEAREST]
    if options.correct_bias:
        methods.append(Method(True, False, False))
    if options.adapt:
        methods.append(Method(options.correct_bias, True, False))
        if options.correct_bias:
            methods.append(Method(True, True, True))
    return methods


def choose_ranges(
    prepared: Prepared, floating: Sequence[str], methods: Sequence[str],
    dtypes: Mapping[str, str], watch: Watch = silent,
) -> Ranges:  # fmt: skip
    """The range of every point: of each method, the one that disturbs the output least.

    dtypes  by tensor, where it is not int8
    """
    judge = _judge(prepared.execution, prepared.values)
    apart = unequal_concats(prepared.model, prepared.values)
    points = points_of(prepared.model, floating, apart)
    found: dict[str, Range] = {}
    for step, point in enumerate(points):
        watch("choosing ranges", step, len(points))
        dtype = dtypes.get(point.name, "int8")
        found[point.name] = best_range(point, prepared.values, judge, methods, dtype)
    if prepared.samples.count < FEW:
        inputs = {value.name for value in prepared.model.inputs}
        found = {n: r if n in inputs else with_headroom(r) for n, r in found.items()}
    grids = {tensor: found[point.name].grid for point in points for tensor in point.tensors}
    grids |= constant_tables(prepared.model, grids)
    constants = constant_operands(prepared.model, grids)
    return Ranges(points, found, grids | constant_grids(constants, prepared.model.constants))


def held_out(candidate: Candidate, method: Method, formats: Formats) -> float:
    """Signal-to-noise ratio of the output (dB) on samples that the weights were not fitted to."""
    prepared = candidate.prepared
    judged = np.arange(prepared.samples.count) % HELD_OUT == 0
    fit = ~judged if judged.sum() > 1 else judged | True
    values = {name: array[fit] for name, array in prepared.values.items()}
    found = fitted(prepared.execution, values, candidate.ranges.grids, method, formats)
    return output_quality(prepared, found, judged)


def output_quality(prepared: Prepared, found: Fitted, judged: Array) -> float:
    """Signal-to-noise ratio of the compared tensors (dB), on some of the samples."""
    values = {name: array[judged] for name, array in prepared.values.items()}
    judge = judge_of(prepared.execution, values)
    quantized = replace(prepared.execution, model=found.qdq())
    inputs = {name: array[judged] for name, array in prepared.samples.inputs.items()}
    return decibels(judge.between(quantized.run(inputs, judge.compared)))


def _candidate(
    prepared: Prepared, balance: float | None, floating: Sequence[str], options: Options,
    watch: Watch,
) -> Candidate | None:  # fmt: skip
    """The model equalized and its ranges; None where there is nothing to equalize."""
    if balance is not None:
        model = equalized(prepared.model, prepared.values, balance, options.per_tensor)
        if all(np.array_equal(c, model.constants[n]) for n, c in prepared.model.constants.items()):
            return None
        prepared = prepared.with_model(model)
    ranges = choose_ranges(prepared, floating, options.ranges, {}, watch)
    return Candidate(prepared, balance, ranges)


def _floating_inputs(prepared: Prepared, options: Options) -> tuple[str, ...]:
    """Tensors that stay real: inputs of which only the scaled values fit int8."""
    judge = _judge(prepared.execution, prepared.values)
    floating: list[str] = []
    for before, after in input_scaling(prepared.model):
        costs = [
            best_range(Point((name,)), prepared.values, judge, options.ranges, "int8").distortion
            for name in (before[0], after)
        ]
        if costs[0] > max(WORSE * costs[1], HARMLESS):
            floating += before
    return tuple(floating)


def _formats(model: FloatModel, floating: Sequence[str], options: Options) -> Formats:
    real = {layer.name: "float32" for layer in layers_of(model) if layer.input in floating}
    return Formats(by_layer=real, per_tensor=options.per_tensor)


def _judge(execution: Execution, values: Values) -> Judge:
    count = len(next(iter(values.values())))
    step = max(-(-count // JUDGED_SAMPLES), 1)
    return judge_of(execution, {name: array[::step] for name, array in values.items()})


def _balance_text(balance: float | None) -> str:
    return "channels as they are" if balance is None else f"channels equalized {balance:g}"
