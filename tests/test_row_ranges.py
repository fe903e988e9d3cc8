"""Operators that go element by element, or move, compute some rows as they compute all."""

import numpy as np
import pytest

from tests.harness import random_constant, random_inputs
from tests.row_parts import odd_parts, parts_of, run_parts
from tinyc.autotune.schedule import DEFAULT
from tinyc.compiler.graph import DType, Graph, Node, QParams, Shape, Tensor
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops import OPS, kernel_of
from tinyc.compiler.ops.cast import CastAttrs
from tinyc.compiler.ops.clamp import NO_CLAMP, Clamp
from tinyc.compiler.ops.concat import ConcatAttrs
from tinyc.compiler.ops.elementwise import BinaryAttrs
from tinyc.compiler.ops.interleave import InterleaveAttrs
from tinyc.compiler.ops.op import ROW, Call, Window, call_of
from tinyc.compiler.ops.pad import PadAttrs
from tinyc.compiler.ops.slice import SliceAttrs
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.compiler.planning import plan_program
from tinyc.passes.storage import Step
from tinyc.targets import load_target

pytestmark = pytest.mark.sampled

IMAGE: Shape = (1, 7, 3, 5)
EVEN: Shape = (1, 5, 2, 8)
Q1, Q2, QY = QParams((0.05,), (3,)), QParams((0.08,), (-7,)), QParams((0.11,), (1,))
INT8, FLOAT = DType.INT8, DType.FLOAT32
SE: Shape = (1, 1, 1, 5)


def tensor(name: str, shape: Shape, quant: QParams | None, dtype: DType | None = None) -> Tensor:
    return Tensor(name, shape, dtype or (FLOAT if quant is None else INT8), None, quant)


def node(op: str, attrs: object, inputs: tuple[Tensor, ...], y: Tensor) -> Graph:
    names = tuple(t.name for t in inputs)
    moving = tuple(t.name for t in inputs if t.data is None)
    tensors = {t.name: t for t in (*inputs, y)}
    return Graph("model", moving, ("y",), (Node("n", op, names, ("y",), attrs, ("n",)),), tensors)


def binary(op: str, a: Shape, b: Shape, *, floats: bool = False, fixed: bool = False,
           clamp: Clamp = NO_CLAMP) -> Graph:  # fmt: skip
    quants = (None, None, None) if floats else (Q1, Q2, QY)
    left, right = tensor("a", a, quants[0]), tensor("b", b, quants[1])
    if fixed:
        right = random_constant("b", b, right.dtype, 1, quants[1])
    y = tensor("y", np.broadcast_shapes(a, b), quants[2])
    return node(op, BinaryAttrs(clamp), (left, right), y)


def one(op: str, attrs: object, x: Shape, quants: tuple[QParams | None, QParams | None],
        y: Shape | None = None) -> Graph:  # fmt: skip
    return node(op, attrs, (tensor("x", x, quants[0]),), tensor("y", y or x, quants[1]))


def joined(axis: int, *shapes: Shape, quants: tuple[QParams | None, ...]) -> Graph:
    inputs = tuple(
        tensor(f"x{i}", s, q) for i, (s, q) in enumerate(zip(shapes, quants, strict=True))
    )
    shape = list(shapes[0])
    shape[axis] = sum(s[axis] for s in shapes)
    return node("Concat", ConcatAttrs(axis), inputs, tensor("y", tuple(shape), quants[0]))


CHANNELS = QParams((0.05, 0.1, 0.02, 0.3, 0.07), (0, 3, -4, 9, 1), 3)
COLUMNS = QParams((0.05, 0.1, 0.02), (0, 3, -4), 2)
SIDES = ((0, 0), (2, 1), (0, 1), (1, 0))
CASES: dict[str, tuple[Graph, tuple[Window | None, ...]]] = {
    "add": (binary("Add", IMAGE, IMAGE), (ROW, ROW)),
    "add, relu": (binary("Add", EVEN, EVEN, clamp=Clamp(0.0)), (ROW, ROW)),
    "add of channels": (binary("Add", IMAGE, SE), (ROW, None)),
    "add of a constant": (binary("Add", IMAGE, (5,), fixed=True), (ROW, None)),
    "add of an image that is constant": (binary("Add", IMAGE, IMAGE, fixed=True), (ROW, ROW)),
    "sub of a column": (binary("Sub", IMAGE, (1, 7, 1, 5)), (ROW, ROW)),
    "add of a row": (binary("Add", (1, 1, 3, 5), IMAGE), (None, ROW)),
    "mul of channels": (binary("Mul", IMAGE, SE), (ROW, None)),
    "mul of a number": (binary("Mul", EVEN, (1,), fixed=True), (ROW, None)),
    "mul of a mask": (binary("Mul", IMAGE, (1, 7, 3, 1)), (ROW, ROW)),
    "both broadcast": (binary("Mul", (1, 7, 1, 5), (1, 1, 3, 1)), (ROW, None)),
    "one value a row": (binary("Mul", (1, 7, 1, 1), (1, 7, 1, 1)), (ROW, ROW)),
    "floats": (binary("Div", IMAGE, SE, floats=True, clamp=Clamp(-1.0, 1.0)), (ROW, None)),
    "table": (one("Unary", UnaryAttrs("hard_swish"), IMAGE, (Q1, QY)), (ROW,)),
    "table, whole words": (one("Unary", UnaryAttrs("sigmoid"), EVEN, (Q1, QY)), (ROW,)),
    "table of few": (one("Unary", UnaryAttrs("tanh"), (1, 3, 1, 1), (Q1, QY)), (ROW,)),
    "relu of floats": (one("Unary", UnaryAttrs("identity", clamp=Clamp(0.0)), IMAGE,
                           (None, None)), (ROW,)),
    "quantize": (one("Quantize", None, IMAGE, (None, QY)), (ROW,)),
    "quantize channels": (one("Quantize", None, IMAGE, (None, CHANNELS)), (ROW,)),
    "dequantize": (one("Dequantize", None, IMAGE, (Q1, None)), (ROW,)),
    "dequantize columns": (one("Dequantize", None, IMAGE, (COLUMNS, None)), (ROW,)),
    "cast": (node("Cast", CastAttrs(INT8), (tensor("x", IMAGE, None),),
                  tensor("y", IMAGE, None, INT8)), (ROW,)),
    "concat of channels": (joined(3, IMAGE, (1, 7, 3, 2), quants=(Q1, Q2)), (ROW, ROW)),
    "concat of columns": (joined(2, IMAGE, (1, 7, 1, 5), quants=(Q1, Q1)), (ROW, ROW)),
    "concat of rows": (joined(1, IMAGE, (1, 1, 3, 5), (1, 2, 3, 5), quants=(Q1, Q2, Q1)),
                       (ROW, Window(before=7), Window(before=8))),
    "copy": (joined(0, IMAGE, quants=(Q1,)), (ROW,)),
    "pad": (one("Pad", PadAttrs(SIDES, value=0.1), IMAGE, (Q1, Q1), (1, 10, 4, 6)),
            (Window(before=2),)),
    "pad of floats": (one("Pad", PadAttrs(SIDES, value=-2.0), IMAGE, (None, None), (1, 10, 4, 6)),
                      (Window(before=2),)),
    "pad, reflected to the side": (one("Pad", PadAttrs(((0, 0), (0, 0), (2, 1), (0, 0)), "reflect"),
                                       IMAGE, (Q1, Q1), (1, 7, 6, 5)), (ROW,)),
    "slice": (one("Slice", SliceAttrs((0, 2, 0, 1), (1, 1, 1, 1), (1, 4, 3, 3)), IMAGE, (Q1, Q1),
                  (1, 4, 3, 3)), (Window(before=-2),)),
    "slice, every second": (one("Slice", SliceAttrs((0, 1, 2, 4), (1, 2, -1, -2), (1, 3, 3, 2)),
                                IMAGE, (Q1, Q1), (1, 3, 3, 2)), (Window(1, 2, -1),)),
    "phases": (one("Interleave", InterleaveAttrs((2, 3), (1, 1), (0, 0), (14, 8)), (1, 7, 3, 12),
                   (Q1, Q1), (1, 7, 16, 2)), (ROW,)),
    "phases, cut": (one("Interleave", InterleaveAttrs((2, 3), (1, 1), (1, 2), (12, 7)),
                        (1, 7, 3, 6), (None, None), (1, 6, 14, 1)), (Window(2),)),
}  # fmt: skip
WHOLE: dict[str, Graph] = {
    "edge above": one("Pad", PadAttrs(SIDES, "edge"), IMAGE, (Q1, Q1), (1, 10, 4, 6)),
    "from the bottom": one("Slice", SliceAttrs((0, 6, 0, 0), (1, -1, 1, 1), IMAGE), IMAGE,
                           (Q1, Q1)),
    "phases of unequal heights": one("Interleave", InterleaveAttrs((2, 1), (1, 1), (0, 0), (13, 3)),
                                     (1, 7, 3, 4), (Q1, Q1), (1, 13, 3, 2)),
    "two images": binary("Add", (2, 7, 3, 5), (2, 7, 3, 5)),
    "one row": binary("Add", (1, 1, 3, 5), (1, 1, 3, 5)),
    "no image": binary("Add", (7, 3, 5), (7, 3, 5)),
    "a scale a row": one("Dequantize", None, (1, 3, 5, 2), (QParams(COLUMNS.scale, (0, 3, -4), 1),
                                                            None)),
}  # fmt: skip


def call(graph: Graph) -> Call:
    return call_of(graph, graph.nodes[0])


@pytest.mark.parametrize(("target", "on"), [("cortex-m4", "cortex-m4"), ("host", "host")])
@pytest.mark.parametrize("case", CASES)
def test_parts_give_the_same_bytes(case: str, target: str, on: str) -> None:
    graph, _ = CASES[case]
    inputs = random_inputs(graph)
    expected = run(graph, inputs)["y"]
    rows = kernel_of(call(graph), load_target(target), DEFAULT).rows
    assert rows == expected.shape[1]

    variants = [(DEFAULT, cuts) for cuts in ([0, rows], parts_of(rows, 1), odd_parts(rows))]
    (computed,) = run_parts(graph, [inputs], target, on, variants)

    for y in computed:
        np.testing.assert_array_equal(y, computed[0])
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", CASES)
def test_the_rows_that_a_row_reads(case: str) -> None:
    graph, windows = CASES[case]

    assert OPS[graph.nodes[0].op].windows(call(graph)) == windows


@pytest.mark.parametrize("case", WHOLE)
def test_what_has_no_rows_is_computed_whole(case: str) -> None:
    assert kernel_of(call(WHOLE[case]), load_target("host"), DEFAULT).rows == 0


def step_of(graph: Graph) -> Step:
    (step,) = plan_program(graph, load_target("host"), "arena").steps
    return step


def test_a_whole_run_goes_element_by_element_over_its_input() -> None:
    step = step_of(CASES["add of channels"][0])

    assert step.element_order and step.aligned_reads == {"a"}
    assert (step.rows, dict(step.windows), dict(step.input_rows)) == (7, {"a": (ROW,)}, {"a": 7})


def test_inputs_that_are_repeated_to_the_side_are_not_written_over() -> None:
    step = step_of(CASES["mul of a mask"][0])

    assert step.element_order and step.aligned_reads == {"a"}
    assert (step.rows, dict(step.windows)) == (7, {"a": (ROW,), "b": (ROW,)})
