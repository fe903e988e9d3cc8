"""The pruner as one straight line: read, remove what is missed least, fit what is left, measure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.pruning.augmentation import OF_TWO, augmented
from tinyc.pruning.channels import Channels, Group, channels_of
from tinyc.pruning.compensation import compensated
from tinyc.pruning.costs import BLOCK, Costs, costs_of
from tinyc.pruning.derivatives import unknown_nodes
from tinyc.pruning.distillation import Course, distilled
from tinyc.pruning.loss import Judge, judge_of
from tinyc.pruning.options import DEFAULTS, Options
from tinyc.pruning.report import LayerChannels, PruningReport, Tried
from tinyc.pruning.selection import least_missed, readings_of
from tinyc.pruning.surgery import without_channels
from tinyc.quantization.distortion import compared_tensors
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.layers import Layer, layers_of
from tinyc.quantization.loss import label_warnings
from tinyc.quantization.options import Options as Reading
from tinyc.quantization.preparation import Prepared, prepare, values_of
from tinyc.quantization.samples import Data
from tinyc.targets import Target

HELD_OUT = 2  # every so many samples judge what the others are fitted to
LEAST_SAMPLES = 8
COMPARED = 100  # samples that groups are compared on,
PLACES = 8_192  # and places in the results of the layers that read them
FITTED = 400  # samples that least squares has at the least, changed ones among them
STEP = 8  # the part of a layer's channels that goes at once is 1 / STEP
BEYOND = 4.0  # points above the allowed loss that fitting all layers together may win back
RETRIES = 3  # steps back from the most pruned model that are fitted at length

Watch = Callable[[str, int, int], None]  # what is done, step, steps


def silent(text: str, step: int, steps: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A model on the way: channels removed, cycles, and what it loses on the held-out samples.

    together  whether all of its layers were fitted together
    """

    model: FloatModel
    removed: frozenset[int]
    cycles: float
    loss: float
    together: bool = False


def prune_model(
    path: Path, data: Data, target: Target, options: Options = DEFAULTS, watch: Watch = silent
) -> tuple[FloatModel, PruningReport]:
    """Remove channels of a float ONNX file as long as the loss allows it.

    Raises CompileError when the model or the data cannot be read, or nothing can be removed.
    """
    watch("running the float model", 0, 1)
    reading = Reading(input_shapes=options.input_shapes, dims=options.dims, images=options.images)
    prepared = prepare(path, data, reading)
    work = _work(prepared, target, options)
    steps = _searched(work, options, watch)
    chosen = _chosen(work, steps, options, watch)
    final = _refitted(work, chosen, steps, watch)
    return final, _report(work, path.name, steps, chosen, final, target)


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

    def together(self, step: "Step", every: bool = False) -> FloatModel:
        """All layers of a step's model fitted together; `every`: to the held-out samples too."""
        o = self.options
        given = {n: a if every else a[~self.judged] for n, a in self.inputs.items()}
        return distilled(
            self.execution, step.model, self.channels, step.removed, given,
            Course(o.epochs, augment=o.augment, copies=o.copies),
        )  # fmt: skip

    def loss(self, model: FloatModel) -> float:
        return self.judge.loss(replace(self.execution, model=model))


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
    inputs = {v.name: prepared.values[v.name] for v in model.inputs}
    unlike = [name for name in options.augment if name not in OF_TWO]
    shown = augmented({n: a[judged] for n, a in inputs.items()}, unlike, options.copies)
    labels = prepared.samples.labels
    repeated = len(next(iter(shown.values()))) // int(judged.sum())
    answers = None if labels is None else np.tile(labels[judged], repeated)
    fit = _many({n: a[~judged] for n, a in inputs.items()}, options)
    execution = prepared.execution
    judge = judge_of(model, values_of(execution, shown), answers, repeated)
    can = options.epochs > 0 and not unknown_nodes(model, compared_tensors(model))
    warnings = [*prepared.warnings, *label_warnings(labels, model.outputs[0].shape)]
    if options.epochs and not can:
        kinds = sorted({n.op_type for n in unknown_nodes(model, compared_tensors(model))})
        warnings.append(f"layers are fitted one by one only: no slopes of {', '.join(kinds)}")
    return Work(
        execution, channels, costs_of(execution, inputs, channels, target),
        judge, values_of(execution, fit),
        inputs, judged, options, can, tuple(warnings),
    )  # fmt: skip


def _many(inputs: Values, options: Options) -> Values:
    """Samples and changed ones, FITTED or more."""
    count = len(next(iter(inputs.values())))
    return augmented(inputs, options.augment, max(options.copies, FITTED // count - 1))


def _removable(group: Group, removed: frozenset[int]) -> int:
    """How many channels go next: an eighth, so that whole blocks are left; 0: none may."""
    left = len([c for c in group.classes if c not in removed])
    step = max(left // STEP // BLOCK * BLOCK, BLOCK)
    count = step if left % BLOCK == 0 else left % BLOCK
    return count if left - count >= BLOCK and group.consumers else 0


def _searched(work: Work, options: Options, watch: Watch) -> list[Step]:
    """Steps from the whole model to one that loses too much, each the best in loss for cycles."""
    steps = [Step(work.model, frozenset(), work.costs.cycles(), 0.0)]
    while True:
        last = steps[-1]
        watch(
            f"{_gain(steps[0], last):.0f} % fewer cycles, {last.loss:.1f} points lost",
            len(steps),
            0,
        )
        removed = _next(work, last)
        if removed is None:
            return steps
        model = compensated(_cut(work, last, removed), work.channels, removed, work.fit)
        steps.append(Step(model, removed, work.costs.cycles(removed), work.loss(model)))
        if steps[-1].loss > options.max_loss + (BEYOND if work.can_distil else 0.0):
            return steps


def _next(work: Work, last: Step) -> frozenset[int] | None:
    """The channels of the group that costs the least distortion for the cycles it saves."""
    execution = replace(work.execution, model=last.model)
    few = {n: a[:COMPARED] for n, a in work.fit.items()}
    values = values_of(execution, {v.name: few[v.name] for v in last.model.inputs})
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
        cut = _cut(work, last, removed)
        model = compensated(cut, work.channels, removed, few, group.consumers, PLACES)
        worse = work.judge.distortion(replace(work.execution, model=model)) - before
        price = max(worse, 1e-9) / saved
        if best is None or price < best[0]:
            best = price, removed
    return None if best is None else best[1]


def _cut(work: Work, last: Step, removed: frozenset[int]) -> Execution:
    """The next model, not fitted yet."""
    model = without_channels(last.model, work.channels.without(last.removed), removed)
    return replace(work.execution, model=model)


def _chosen(work: Work, steps: list[Step], options: Options, watch: Watch) -> Step:
    """The most pruned step within the loss; fitting all layers together may bring it there."""
    good = max(i for i, step in enumerate(steps) if step.loss <= options.max_loss)
    if not work.can_distil:
        return steps[good]
    low, high, best = good, len(steps), steps[good]
    for attempt in range(RETRIES):
        middle = (low + high) // 2
        if middle == low:
            break
        step = steps[middle]
        text = f"fitting all layers, {_gain(steps[0], step):.0f} % fewer cycles"
        watch(text, attempt, RETRIES)
        model = work.together(step)
        loss = work.loss(model)
        if loss <= options.max_loss:
            low, best = middle, replace(step, model=model, loss=loss, together=True)
        else:
            high = middle
    return best


def _refitted(work: Work, chosen: Step, steps: list[Step], watch: Watch) -> FloatModel:
    """Fitted as the chosen step was, to all samples, those that judged among them."""
    if not chosen.removed:
        return chosen.model
    watch("fitting to all samples", 0, 1)
    before = next(step for step in steps if step.removed == chosen.removed)
    if chosen.together:
        return work.together(before, every=True)
    given = _many(work.inputs, work.options)
    values = values_of(work.execution, given)
    execution = replace(work.execution, model=chosen.model)
    return compensated(execution, work.channels, chosen.removed, values)


def _gain(first: Step, step: Step) -> float:
    return 100 * (1 - step.cycles / first.cycles)


def _report(
    work: Work, name: str, steps: list[Step], chosen: Step, final: FloatModel, target: Target
) -> PruningReport:
    after_by_name = {layer.name: _outputs(final, layer) for layer in layers_of(final)}
    layers = tuple(
        LayerChannels(
            layer.name, layer.node.op_type, _outputs(work.model, layer), after_by_name[layer.name]
        )
        for layer in layers_of(work.model)
    )
    before, after = (sum(c.size for c in m.constants.values()) for m in (work.model, final))
    return PruningReport(
        name, target.name, layers, before, after, round(steps[0].cycles), round(chosen.cycles),
        work.options.max_loss, chosen.loss, work.judge.measure,
        int((~work.judged).sum()), int(work.judged.sum()),
        tuple(Tried(round(s.cycles), s.loss) for s in steps),
        work.warnings + _nothing_removed(steps, chosen),
    )  # fmt: skip


def _outputs(model: FloatModel, layer: Layer) -> int:
    return int(model.constants[layer.weights[0]].shape[layer.axis])


def _nothing_removed(steps: list[Step], chosen: Step) -> tuple[str, ...]:
    """What the user can do where no step stayed within the loss."""
    if chosen.removed:
        return ()
    if len(steps) < 2:
        return (
            "nothing was removed: fewer channels save no cycles, or the layers that read them "
            "cannot be fitted: these are Conv without groups, and Gemm",
        )
    first = steps[1]
    return (
        f"nothing was removed: the first step would lose {first.loss:.1f} points for "
        f"{_gain(steps[0], first):.1f} % fewer cycles; allow that with --max-loss, give more "
        "samples, or let more be made of them with --augment",
    )
