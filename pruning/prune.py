"""The pruner as one straight line: read, remove what is missed least, fit what is left, measure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Shape
from tinyc.pruning.augmentation import augmented, check_augmentations
from tinyc.pruning.channels import Channels, Group, channels_of
from tinyc.pruning.compensation import compensated
from tinyc.pruning.costs import BLOCK, Costs, costs_of
from tinyc.pruning.derivatives import unknown_nodes
from tinyc.pruning.distillation import Course, distilled
from tinyc.pruning.loss import Judge, judge_of
from tinyc.pruning.selection import least_missed, readings_of
from tinyc.pruning.surgery import without_channels
from tinyc.quantization.distortion import compared_tensors
from tinyc.quantization.execution import Execution, Values, real_tensors
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.images import Preprocessing
from tinyc.quantization.layers import layers_of
from tinyc.quantization.options import Options as Reading
from tinyc.quantization.preparation import Prepared, prepare
from tinyc.quantization.samples import Data
from tinyc.targets import Target

HELD_OUT = 4  # every so many samples judge what the others are fitted to
LEAST_SAMPLES = 8
BEYOND = 4.0  # times the allowed loss at which nothing that follows can win it back
RETRIES = 3  # steps back from the most pruned model that are fitted at length
SHORT, LONG = 2, 20  # epochs after a step, and of the last fit

Watch = Callable[[str, int, int], None]  # what is done, step, steps


def silent(text: str, step: int, steps: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may be lost, and how much is done to lose less.

    max_loss  points of accuracy on the samples that are held out (of models that are no
              classifiers: % of the output's deviation)
    augment   changes of samples that make more of them: "mix", "flip", "shift"
    copies    changed samples for each
    epochs    in which all layers are fitted together; 0: only one after the other
    """

    max_loss: float = 1.0
    augment: tuple[str, ...] = ("mix",)
    copies: int = 3
    epochs: int = LONG
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    images: Preprocessing | None = None

    def __post_init__(self) -> None:
        check_augmentations(self.augment)
        if not 0 <= self.max_loss < float("inf"):
            raise CompileError("wrong-option", "the loss is a number of points, 0 or more", "option max_loss")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A model on the way: channels removed, cycles, and what it loses on the held-out samples."""

    model: FloatModel
    removed: frozenset[int]
    cycles: float
    loss: float


@dataclass(frozen=True, slots=True)
class LayerChannels:
    """Output channels of a layer before and after."""

    name: str
    op: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """The smaller model, and what was found on the way.

    cycles         estimated, of the layers as int8 on the target: before, after
    loss           of the chosen step on the held-out samples, by the measure of `Judge.points`
    accuracy_loss  the same by counting answers; None: no classifier
    steps          loss and cycles of each step of the search
    """

    model: FloatModel
    target: str
    layers: tuple[LayerChannels, ...]
    weights: tuple[int, int]
    cycles: tuple[float, float]
    loss: float
    accuracy_loss: float | None
    judged: int
    labelled: bool
    steps: tuple[tuple[float, float], ...]
    warnings: tuple[str, ...]


def prune_model(
    path: Path, data: Data, target: Target, options: Options = Options(), watch: Watch = silent
) -> Pruned:
    """Remove channels of a float ONNX file as long as the loss allows it.

    Raises CompileError when the model or the data cannot be read, or nothing can be removed.
    """
    watch("running the float model", 0, 1)
    prepared = prepare(path, data, Reading(input_shapes=options.input_shapes, images=options.images))
    work = _work(prepared, target, options)
    steps = _searched(work, options, watch)
    chosen = _chosen(work, steps, options, watch)
    final = _refitted(work, chosen, options, watch)
    return _result(work, prepared, steps, chosen, final, target)


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What the search works with.

    fit      the whole model's tensors on the samples that are fitted to, changed ones among them
    judged   which of the samples are held out
    """

    execution: Execution
    channels: Channels
    costs: Costs
    judge: Judge
    fit: Values
    inputs: Values
    judged: Array
    options: Options
    can_distil: bool
    warnings: tuple[str, ...]

    @property
    def model(self) -> FloatModel:
        return self.execution.model



def _work(prepared: Prepared, target: Target, options: Options) -> Work:
    model = prepared.model
    if prepared.samples.count < LEAST_SAMPLES:
        raise CompileError(
            "bad-data",
            f"{prepared.samples.count} samples are too few to fit weights and to judge them",
            help=f"give {LEAST_SAMPLES} or more; 100 of every class are good",
        )
    channels = channels_of(model, {n: a.shape[1:] for n, a in prepared.values.items()})
    if not any(_removable(g, frozenset()) for g in channels.groups):
        raise CompileError(
            "nothing-to-prune",
            "no layer of the model has channels that can be removed",
            f"model '{model.name}'",
            f"layers need {2 * BLOCK} output channels or more that another layer reads",
        )
    judged = np.arange(prepared.samples.count) % HELD_OUT == 0
    inputs = {v.name: prepared.values.get(v.name, prepared.samples.inputs[v.name]) for v in model.inputs}
    unlike = [name for name in options.augment if name != "mix"]
    shown = augmented({n: a[judged] for n, a in inputs.items()}, unlike, options.copies)
    labels = prepared.samples.labels
    repeated = len(next(iter(shown.values()))) // int(judged.sum())
    answers = None if labels is None else np.tile(labels[judged], repeated)
    fit = augmented({n: a[~judged] for n, a in inputs.items()}, options.augment, options.copies)
    execution, tensors = prepared.execution, real_tensors(model)
    can = options.epochs > 0 and not unknown_nodes(model, compared_tensors(model))
    warnings = list(prepared.warnings)
    if options.epochs and not can:
        kinds = sorted({n.op_type for n in unknown_nodes(model, compared_tensors(model))})
        warnings.append(f"layers are fitted one by one only: no slopes of {', '.join(kinds)}")
    return Work(
        execution, channels, costs_of(execution, inputs, channels, target),
        judge_of(model, execution.run(shown, tensors), answers), execution.run(fit, tensors),
        inputs, judged, options, can, tuple(warnings),
    )  # fmt: skip


def _removable(group: Group, removed: frozenset[int]) -> int:
    """How many channels go next, so that whole blocks are left; 0: none may."""
    left = len([c for c in group.classes if c not in removed])
    count = (left - 1) % BLOCK + 1
    return count if left - count >= BLOCK and group.consumers else 0


def _searched(work: Work, options: Options, watch: Watch) -> list[Step]:
    """Steps from the whole model to one that loses too much, each the cheapest in loss for cycles."""
    steps = [Step(work.model, frozenset(), work.costs.cycles(), 0.0)]
    while True:
        last = steps[-1]
        watch(f"{_gain(steps[0], last):.0f} % fewer cycles, {last.loss:.1f} points lost", len(steps), 0)
        removed = _next(work, last)
        if removed is None:
            return steps
        model = _fitted_to(work, last, removed)
        step = Step(model, removed, work.costs.cycles(removed), 0.0)
        if work.can_distil:
            step = replace(step, model=work.together(step, SHORT))
        steps.append(replace(step, loss=work.loss(step.model)))
        if steps[-1].loss > options.max_loss * (BEYOND if work.can_distil else 1) + 1e-9:
            return steps


def _next(work: Work, last: Step) -> frozenset[int] | None:
    """The channels of the group that costs the least distortion for the cycles it saves."""
    execution = replace(work.execution, model=last.model)
    values = execution.run(
        {v.name: work.fit[v.name] for v in last.model.inputs}, real_tensors(last.model)
    )
    layers = {layer.name: layer for layer in layers_of(last.model)}
    before = work.judge.distortion(execution)
    best: tuple[float, frozenset[int]] | None = None
    for group in work.channels.groups:
        count = _removable(group, last.removed)
        if not count or any(not layers[n].is_product for n in group.consumers):
            continue
        readings = readings_of(last.model, layers, work.channels, group, last.removed, values)
        left = [c for c in group.classes if c not in last.removed]
        removed = last.removed | frozenset(least_missed(readings, left, count))
        saved = last.cycles - work.costs.cycles(removed)
        if saved <= 0:
            continue
        model = _fitted_to(work, last, removed, group.consumers)
        worse = work.judge.distortion(replace(work.execution, model=model)) - before
        price = max(worse, 1e-9) / saved
        if best is None or price < best[0]:
            best = price, removed
    return None if best is None else best[1]


def _fitted_to(
    work: Work, last: Step, removed: frozenset[int], only: Sequence[str] | None = None
) -> FloatModel:
    """The next model: cut, and fitted by least squares."""
    model = without_channels(last.model, work.channels.without(last.removed), removed)
    execution = replace(work.execution, model=model)
    return compensated(execution, work.channels, removed, work.fit, only)


def _chosen(work: Work, steps: list[Step], options: Options, watch: Watch) -> Step:
    """The most pruned step within the loss, where fitting at length may bring it there."""
    good = max(i for i, step in enumerate(steps) if step.loss <= options.max_loss)
    if not work.can_distil:
        return steps[good]
    low, high, best = good, len(steps), steps[good]
    for attempt in range(RETRIES):
        middle = (low + high) // 2
        if middle == low:
            break
        watch(f"fitting all layers, {_gain(steps[0], steps[middle]):.0f} % fewer cycles", attempt, RETRIES)
        step = steps[middle]
        model = work.together(step, options.epochs)
        loss = work.loss(model)
        if loss <= options.max_loss:
            low, best = middle, replace(step, model=model, loss=loss)
        else:
            high = middle
    return best


def _refitted(work: Work, chosen: Step, options: Options, watch: Watch) -> FloatModel:
    """Fitted to all samples, those that judged among them."""
    if not chosen.removed or not work.can_distil:
        return chosen.model
    watch("fitting to all samples", 0, 1)
    return work.together(chosen, options.epochs, every=True)


def _gain(first: Step, step: Step) -> float:
    return 100 * (1 - step.cycles / first.cycles)


def _result(
    work: Work, prepared: Prepared, steps: list[Step], chosen: Step, final: FloatModel,
    target: Target,
) -> Pruned:  # fmt: skip
    layers = tuple(
        LayerChannels(
            layer.name, layer.node.op_type,
            *(int(m.constants[layer.weights[0]].shape[layer.axis]) for m in (work.model, final)),
        )
        for layer in layers_of(work.model)
    )  # fmt: skip
    sizes = [sum(c.size for c in m.constants.values()) for m in (work.model, final)]
    return Pruned(
        final, target.name, layers, (sizes[0], sizes[1]), (steps[0].cycles, chosen.cycles),
        chosen.loss, work.judge.wrong(replace(work.execution, model=chosen.model)),
        len(next(iter(work.judge.values.values()))), work.judge.labelled,
        tuple((s.loss, s.cycles) for s in steps), work.warnings,
    )  # fmt: skip
