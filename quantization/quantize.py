"""The quantizer as one straight line: read, equalize, choose ranges, fit weights, write."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyc.quantization.distortion import Judge, decibels, judge_of
from tinyc.quantization.equalization import equalized
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.fitting import Fitted, Formats, Method, fitted
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.grids import Grid
from tinyc.quantization.layers import RECURRENT, layers_of
from tinyc.quantization.options import DEFAULTS, Options
from tinyc.quantization.points import (
    Point,
    constant_operands,
    constant_tables,
    points_of,
    unequal_concats,
)
from tinyc.quantization.preparation import Prepared, input_scaling, prepare, recurrent_inputs
from tinyc.quantization.ranges import (
    Range,
    Trial,
    best_range,
    constant_grids,
    insured,
    plain_grid,
)
from tinyc.quantization.samples import FEW, Data
from tinyc.quantization.shared_scales import shared_scales, sums_of

BALANCES = (0.5, 0.75)  # between activations and weights; more loses on unseen samples
JUDGED_SAMPLES = 128  # on which ranges are chosen
HELD_OUT = 4  # every so many samples judge what the others were fitted to, in as many turns
HEADROOM = 1.25  # of ranges that few samples show
ROOMS = (1.0, 1.1, 1.25, 1.5)  # of those that enough samples show
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
    balance, tried = _best_balance(prepared, floating, formats, options, watch)
    if balance is not None:
        prepared = prepared.with_model(_equalized(prepared, balance, floating, options))
    ranges = choose_ranges(prepared, floating, options.ranges, {}, watch, options.share_scales)
    methods = methods_of(options)
    for step, method in enumerate(methods):
        watch(f"trying {method}", step, len(methods))
        tried[str(method)] = held_out(prepared, ranges.grids, method, formats)
    method = max(methods, key=lambda m: tried[str(m)])
    watch("fitting weights to all samples", 0, 1)
    result = fitted(prepared.execution, prepared.values, ranges.grids, method, formats)
    return Quantized(prepared, ranges, result, formats, balance, method, floating, tried)


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
    dtypes: Mapping[str, str], watch: Watch = silent, share: bool = True,
) -> Ranges:  # fmt: skip
    """The range of every point: of each method, the one that disturbs the output least.

    dtypes  by tensor, where it is not int8
    share   whether scales of sums and their operands are matched
    """
    judge = _judge(prepared.execution, prepared.values)
    points = _points(prepared, floating)
    inputs = {value.name for value in prepared.model.inputs}
    found: dict[str, Range] = {}
    for step, point in enumerate(points):
        watch("choosing ranges", step, len(points))
        dtype = dtypes.get(point.name, "int8")
        trial = _trial(prepared.samples.count, point.name in inputs)
        found[point.name] = best_range(point, prepared.values, judge, methods, dtype, trial)
    free = [point for point in points if point.name not in inputs and point.fixed is None]
    if prepared.samples.count >= FEW:
        whole = sum(chosen.distortion for chosen in found.values())
        found |= {p.name: insured(p, found[p.name], judge, whole) for p in free}
    if share:
        found = shared_scales(sums_of(prepared.model, free, prepared.values), free, found, judge)
    grids = {tensor: found[point.name].grid for point in points for tensor in point.tensors}
    return Ranges(points, found, _with_constants(prepared.model, grids))


def held_out(
    prepared: Prepared, grids: Mapping[str, Grid], method: Method, formats: Formats
) -> float:
    """Signal-to-noise ratio of the output (dB) on samples that the weights were not fitted to."""

    def noise(fit: Prepared, judged: Prepared) -> float:
        found = fitted(fit.execution, fit.values, grids, method, formats)
        return output_noise(judged, found)

    return decibels(float(np.mean([noise(*parts) for parts in _turns(prepared)])))


def output_noise(judged: Prepared, found: Fitted) -> float:
    """Distortion of the compared tensors."""
    judge = judge_of(judged.execution, judged.values)
    quantized = replace(judged.execution, model=found.qdq())
    return judge.between(quantized.run(judged.samples.inputs, judge.compared))


def _turns(prepared: Prepared) -> Iterator[tuple[Prepared, Prepared]]:
    """The samples in two parts, to fit and to judge; all of them where there are too few."""
    if prepared.samples.count < 2 * HELD_OUT:
        yield prepared, prepared
        return
    for turn in range(HELD_OUT):
        judged = np.arange(prepared.samples.count) % HELD_OUT == turn
        yield prepared.part(~judged), prepared.part(judged)


def _best_balance(
    prepared: Prepared, floating: Sequence[str], formats: Formats, options: Options, watch: Watch
) -> tuple[float | None, dict[str, float]]:
    """The balance of the equalization that does best on samples it was not made from, and all."""
    method = Method(options.correct_bias, adapt=False, compensate=False)
    found: dict[float | None, float] = {}
    changes = _equalized(prepared, BALANCES[0], floating, options).constants
    has_chains = any(c is not changes[n] for n, c in prepared.model.constants.items())
    balances = (None, *BALANCES) if options.equalize and has_chains else (None,)
    for step, balance in enumerate(balances):
        watch(f"trying {_balance_text(balance)}", step, len(balances))
        noises = [
            _noise_of_balance(fit, judged, balance, floating, method, formats, options)
            for fit, judged in _turns(prepared)
        ]
        found[balance] = decibels(float(np.mean(noises)))
    best = max(found, key=lambda balance: found[balance])
    return best, {_balance_text(balance): quality for balance, quality in found.items()}


def _noise_of_balance(
    fit: Prepared, judged: Prepared, balance: float | None, floating: Sequence[str],
    method: Method, formats: Formats, options: Options,
) -> float:  # fmt: skip
    """Of a balance, with plain ranges."""
    if balance is not None:
        fit = fit.with_model(_equalized(fit, balance, floating, options))
    inputs = {value.name for value in fit.model.inputs}
    grids: dict[str, Grid] = {}
    for point in _points(fit, floating):
        room = 1.0 if point.name in inputs else ROOMS[1]
        grid = plain_grid(point, fit.values, options.ranges[0], room)
        grids |= dict.fromkeys(point.tensors, grid)
    grids = _with_constants(fit.model, grids)
    return output_noise(judged, fitted(fit.execution, fit.values, grids, method, formats))


def _equalized(
    prepared: Prepared, balance: float, floating: Sequence[str], options: Options
) -> FloatModel:
    return equalized(prepared.model, prepared.values, balance, options.per_tensor, floating)


def _points(prepared: Prepared, floating: Sequence[str]) -> tuple[Point, ...]:
    apart = unequal_concats(prepared.model, prepared.values)
    return points_of(prepared.model, floating, apart)


def _with_constants(model: FloatModel, grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """The grids of tensors, and those of the constants beside them."""
    whole = {**grids, **constant_tables(model, grids)}
    return whole | constant_grids(constant_operands(model, whole), model.constants)


def _floating_inputs(prepared: Prepared, options: Options) -> tuple[str, ...]:
    """Tensors that stay real: inputs of which only the scaled values fit int8."""
    judge = _judge(prepared.execution, prepared.values)
    floating = recurrent_inputs(prepared.model)
    for before, after in input_scaling(prepared.model):
        trial = _trial(prepared.samples.count, is_input=True)
        costs = [
            best_range(
                Point((n,)), prepared.values, judge, options.ranges, "int8", trial
            ).distortion
            for n in (before[0], after)
        ]
        if costs[0] > max(WORSE * costs[1], HARMLESS):
            floating += before
    return tuple(floating)


def _formats(model: FloatModel, floating: Sequence[str], options: Options) -> Formats:
    """Weights beside a real input are real; not of recurrent layers, whose kernels want it so."""
    layers = (layer for layer in layers_of(model) if layer.node.op_type not in RECURRENT)
    real = {layer.name: "float32" for layer in layers if layer.input in floating}
    return Formats(by_layer=real, per_tensor=options.per_tensor)


def _judge(execution: Execution, values: Values) -> Judge:
    step = _judged_step(len(next(iter(values.values()))))
    return judge_of(execution, {name: array[::step] for name, array in values.items()})


def _judged_step(count: int) -> int:
    return max(-(-count // JUDGED_SAMPLES), 1)


def _trial(count: int, is_input: bool) -> Trial:
    """Of enough samples a quarter is left out in turn; few give all, and get more room."""
    if count < FEW:
        return Trial((np.ones(count, bool),), (1.0 if is_input else HEADROOM,))
    kept = np.ones((HELD_OUT, count), bool)
    step = _judged_step(count)
    for turn in range(HELD_OUT):
        kept[turn, turn * step :: HELD_OUT * step] = False
    return Trial(tuple(kept), ROOMS)


def _balance_text(balance: float | None) -> str:
    return "channels as they are" if balance is None else f"channels equalized {balance:g}"
