"""What a pruned model loses by the samples that judge, and the samples that are made of others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.test_pruning import model_of, prepared_of
from tinyc.compiler.graph import Array
from tinyc.pruning.augmentation import augmented
from tinyc.pruning.channels import varying_axis
from tinyc.pruning.loss import as_sure, judge_of
from tinyc.quantization.layers import layers_of


def test_augmented_samples() -> None:
    ramp = np.arange(16, dtype=np.float32).reshape(1, 1, 1, 4, 4)
    mirrored = augmented({"x": np.tile(ramp, (8, 1, 1, 1, 1))}, ["flip"], 1)["x"]
    assert len(mirrored) == 16
    kinds = {x.tobytes() for x in mirrored[8:]}
    assert kinds == {ramp[0].tobytes(), ramp[0, ..., ::-1].tobytes()}
    vectors = np.random.default_rng(0).standard_normal((6, 1, 5)).astype(np.float32)
    mixed = augmented({"x": vectors}, ["mix", "flip"], 2)["x"]
    assert mixed.shape == (18, 1, 5) and (mixed[:6] == vectors).all()
    assert len(augmented({"x": vectors}, [], 2)["x"]) == 6


def test_light_and_parts_of_others() -> None:
    """Contrast and brightness stay within the images' range; a part is a rectangle of another."""
    levels = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1, 1)
    images = np.broadcast_to(levels, (8, 1, 3, 10, 10)).copy()
    lit = augmented({"x": images}, ["light"], 1)["x"][8:]
    assert 1 <= lit.min() and lit.max() <= 8 and not np.isin(lit, levels).all()
    assert (lit.std((3, 4)) < 1e-5).all()
    cut = augmented({"x": images}, ["cut"], 1)["x"][8:]
    assert np.isin(cut, levels).all()
    for image, own in zip(cut[:, 0], levels.reshape(-1), strict=True):
        other = (image != own).all(0)
        rows, columns = other.any(1).sum(), other.any(0).sum()
        assert rows * columns == other.sum() and len(np.unique(image)) <= 2
    assert max(len(np.unique(image)) for image in cut) == 2


@pytest.mark.parametrize(
    ("labels", "lost"),
    [
        (None, [0.6 - 0.4, 0, 0, 0]),
        (np.array([0, 0, 1, 0]), [-1, 0, 0, 0]),
        (np.array([1, 0, 1, 0]), [1, 0, 0, 0]),
    ],
)
def test_loss_of_an_answer_that_changes(
    labels: Array | None, lost: list[float], tmp_path: Path
) -> None:
    """By what the whole model held for likely; labels say for sure, and gains count. The mean and
    its standard error, in points; versions of a sample are one sample."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"], "dense"),
        helper.make_node("Softmax", ["z"], ["y"], "softmax"),
    ]
    constants = {"w": np.eye(2, dtype=np.float32), "b": np.zeros(2, np.float32)}
    prepared = prepared_of(model_of(nodes, constants, {"x": (1, 2)}, {"y": (1, 2)}), tmp_path)
    chances = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32)
    inputs = {"x": np.log(chances)[:, None]}
    judge = judge_of(prepared.model, prepared.execution.run(inputs, ["x", "z", "y"]), labels)
    assert judge.loss(prepared.execution) == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(as_sure(chances, np.log(chances) / 1.9), chances, atol=0.01)
    bias = np.array([0.5, 0.0], np.float32)  # the first answer changes
    (layer,) = layers_of(prepared.model)
    other = replace(prepared.execution, model=prepared.model.with_constants({layer.bias: bias}))
    after = chances * np.exp(bias) / (chances * np.exp(bias)).sum(1, keepdims=True)
    right = chances if labels is None else np.eye(2)[labels]
    fallen = (right * (chances - as_sure(chances, np.log(after)))).sum(1)
    expected = [np.mean(x) + np.std(x) / 2 for x in (lost, fallen)]
    assert judge.loss(other) == pytest.approx(100 * max(*expected, 0), abs=1e-3)
    doubled = {n: np.concatenate([a, a]) for n, a in judge.values.items()}
    twice = None if labels is None else np.tile(labels, 2)
    both = judge_of(prepared.model, doubled, twice, repeats=2)
    assert both.loss(other) == pytest.approx(judge.loss(other), abs=1e-3)


def test_a_scalar_beside_the_channels_changes_nothing() -> None:
    axis, along = varying_axis(np.zeros((), np.int64))

    assert axis == 0 and along.tolist() == [0]
