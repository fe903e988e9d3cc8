"""What a pruned model loses on samples that it was not fitted to."""

from dataclasses import dataclass

import numpy as np

from tinyc.compiler.graph import Array
from tinyc.quantization.distortion import compared_tensors, distortion
from tinyc.quantization.execution import Execution, Values
from tinyc.quantization.float_model import FloatModel


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The whole model's tensors on the samples that judge, and the right answers.

    answers  labels; where there are none, what the whole model answers; None: it is no classifier
    """

    values: Values
    answers: Array | None
    labelled: bool

    @property
    def measure(self) -> str:
        if self.answers is None:
            return "% of the outputs' deviation"
        whose = "right answer's" if self.labelled else "whole model's answer's"
        return f"points of right answers, or of the {whose} probability"

    def loss(self, execution: Execution) -> float:
        """Points of right answers, or of their probability, whichever loses more; 0 or more.

        Only where the whole model was right: what is won elsewhere is chance on few samples. A
        probability falls before an answer changes, and says of few samples what counting does
        not. Of models that are no classifiers it is the error, in % of the outputs' deviation.
        """
        found = self._run(execution)
        if self.answers is None:
            return 100 * float(np.sqrt(distortion(self.values, found, found)))
        (name,) = found
        places = np.arange(len(self.answers))
        before, after = (_probabilities(v) for v in (self.values[name], found[name]))
        right, still = (p.argmax(axis=1) == self.answers for p in (before, after))
        sure = (before[places, self.answers] - after[places, self.answers])[right].sum()
        return 100 * max(float(sure), float((right & ~still).sum()), 0.0) / len(places)

    def distortion(self, execution: Execution) -> float:
        found = self._run(execution)
        return distortion(self.values, found, found)

    def _run(self, execution: Execution) -> dict[str, Array]:
        model = execution.model
        inputs = {v.name: self.values[v.name] for v in model.inputs}
        return execution.run(inputs, compared_tensors(model))


def judge_of(model: FloatModel, values: Values, labels: Array | None) -> Judge:
    names = compared_tensors(model)
    scores = values[names[0]]
    scores = scores.reshape(len(scores), -1)
    squashed = names[0] != model.outputs[0].name
    if len(names) != 1 or scores.shape[1] < 2 or not (labels is not None or squashed):
        return Judge(values, None, False)
    if labels is None or labels.ndim != 1 or labels.max() >= scores.shape[1] or labels.min() < 0:
        return Judge(values, scores.argmax(axis=1), False)
    return Judge(values, labels.astype(np.int64), True)


def _probabilities(scores: Array) -> Array:
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    powers = np.exp(flat - flat.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
