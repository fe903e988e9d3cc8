"""Sequences of tensors: lists at compile time."""

from pathlib import Path

import numpy as np
import onnx
from onnx.helper import (
    make_graph,
    make_node,
)

from tests.harness import onnx_model
from tests.test_control_flow import BOOL, FLOAT, INT64, X, check, value


def test_sequences_are_lists_at_compile_time(tmp_path: Path) -> None:
    """Built, changed, carried through a loop, split, joined; a position of the run is a Gather."""
    append = make_graph(
        [
            make_node("Identity", ["go"], ["again"]),
            make_node("Mul", ["x", "x"], ["square"]),
            make_node("SequenceInsert", ["list", "square"], ["longer"]),
        ],
        "append",
        [
            value("i", INT64),
            value("go", BOOL),
            onnx.helper.make_tensor_sequence_value_info("list", FLOAT, None),
        ],
        [value("again", BOOL), onnx.helper.make_tensor_sequence_value_info("longer", FLOAT, None)],
    )
    model = onnx_model(
        [
            make_node("SequenceEmpty", [], ["none"]),
            make_node("SequenceInsert", ["none", "z"], ["one"]),
            make_node("SequenceConstruct", ["x", "z"], ["pair"]),
            make_node("SequenceErase", ["pair", "first"], ["rest"]),
            make_node("SequenceInsert", ["rest", "x", "first"], ["turned"]),
            make_node("Loop", ["two", "", "turned"], ["long"], body=append),
            make_node("SequenceAt", ["long", "at"], ["y"]),
            make_node("SequenceLength", ["long"], ["n"]),
            make_node("SequenceLength", ["one"], ["m"]),
            make_node("SplitToSequence", ["x"], ["columns"], axis=1, keepdims=0),
            make_node("SequenceAt", ["columns", "last"], ["column"]),
            make_node("ConcatFromSequence", ["columns"], ["stacked"], axis=0, new_axis=1),
        ],
        {"x": ("float32", (2, 3)), "z": ("float32", (2, 3)), "at": ("int64", ())},
        {
            "y": ("float32", (2, 3)), "n": ("int64", ()), "m": ("int64", ()),
            "column": ("float32", (2,)), "stacked": ("float32", (3, 2)),
        },
        {"first": np.array(0), "last": np.array(-1), "two": np.array(2)},
    )  # fmt: skip

    for at in (0, 1, 3, -3):
        check(model, {"x": X, "z": X - 1, "at": np.array(at)}, tmp_path)
