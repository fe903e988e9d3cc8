"""What a pruned model loses on samples that it was not fitted to."""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import compared_tensors, distortion
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel
from tinyc.quantization.loss import is_classifier

FACTORS = np.geomspace(0.5, 2.0, 41)  # of all scores, 1 among them


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The whole model's tensors on the samples that judge, and what is right.

    chances  of each class to be right [samples, classes]: 1 where a label says so, else what the
             whole model says; None: it is no classifier
    repeats  versions of each sample, one after the other all samples
    """

    values: Values
    chances: Array | None
    labelled: bool
    repeats: int = 1

    @property
    def measure(self) -> str:
        if self.chances is None:
            return "% of the outputs' deviation"
        whose = "the labels" if self.labelled else "the whole model's probabilities"
        return f"points of right answers, or of their probability, by {whose}"

    def loss(self, execution: Execution) -> float:
        """Points of right answers, or of their probability, whichever loses more; 0 or more.

        The mean over samples and its standard error: few samples shall not pass by chance.
        An answer that changes where the whole model was in doubt is less of a loss, and may be a
        gain. A probability falls before an answer changes, and says of few samples what counting
        does not; that all are a little less or more sure is no loss of answers, and is taken
        out. Of models that are no classifiers it is the error, in % of the
        outputs' deviation.
        """
        found = self._run(execution)
        if self.chances is None:
            return 100 * float(np.sqrt(distortion(self.values, found, found)))
        (name,) = found
        places = np.arange(len(self.chances))
        before = probabilities(self.values[name])
        after = as_sure(before, found[name])
        best, other = (self.chances[places, p.argmax(axis=1)] for p in (before, after))
        sure = (self.chances * (before - after)).sum(axis=1)
        return 100 * max(self._at_most(best - other), self._at_most(sure), 0.0)

    def _at_most(self, losses: Array) -> float:
        each = losses.reshape(self.repeats, -1).mean(axis=0)
        return float(each.mean() + each.std() / np.sqrt(len(each)))

    def distortion(self, execution: Execution) -> float:
        found = self._run(execution)
        return distortion(self.values, found, found)

    def _run(self, execution: Execution) -> dict[str, Array]:
        model = execution.model
        inputs = {v.name: self.values[v.name] for v in model.inputs}
        return execution.run(inputs, compared_tensors(model))


def judge_of(model: FloatModel, values: Values, labels: Array | None, repeats: int = 1) -> Judge:
    """`labels` of all versions of the samples."""
    names = compared_tensors(model)
    scores = probabilities(values[names[0]])
    classes = scores.shape[1]
    tells_class = is_classifier(model, values[names[0]].shape[1:], labels)
    if len(names) != 1 or classes < 2 or not tells_class:
        return Judge(values, None, False)
    if labels is None or labels.max() >= classes or labels.min() < 0:
        return Judge(values, scores, False, repeats)
    return Judge(values, np.eye(classes)[labels.astype(np.int64)], True, repeats)


def as_sure(before: Array, scores: Array) -> Array:
    """Probabilities of scores times the one factor that makes them as high as those of before."""
    tried = [probabilities(scores * factor) for factor in FACTORS]
    off = [abs(float((before.max(axis=1) - p.max(axis=1)).mean())) for p in tried]
    return tried[int(np.argmin(off))]


def probabilities(scores: Array) -> Array:
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    powers = np.exp(flat - flat.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
