"""A model of whole sequences -> the model of one call, and what is remembered between two calls.

f(x[0 .. T]) -> f_call(x[n * rows .. n * rows + rows], state) for the calls n = 0, 1, ...

What the calls give, one after the other, are the rows of what the whole model gives.
"""

import re
from dataclasses import dataclass, replace
from math import lcm
from typing import NoReturn

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Graph
from tinyc.passes.rewrite import live_part
from tinyc.passes.streaming_flow import Flow, Indivisible, Stream, with_rows
from tinyc.passes.streaming_rules import step

AUTO = "auto"
MOST_ROWS = 4096  # of a call
HELP = "name the input, its axis of time, and the steps of a call: --stream x:1 or --stream x:1:4"


@dataclass(frozen=True, slots=True)
class Streaming:
    """An input, its axis of time, and the steps of a call; 0: as few as there can be."""

    input: str
    axis: int
    steps: int = 0


def stream_graph(graph: Graph, wanted: str) -> Graph:
    """The graph of one call.

    wanted  "x:1", "x:1:4", or AUTO for the first axis that works, from 1 on

    Raises CompileError("cannot-stream") naming the node that needs the whole sequence.
    """
    if wanted != AUTO:
        return _streamed(graph, _parsed(graph, wanted))
    if len(graph.inputs) != 1:
        _refuse(f"the model has {len(graph.inputs)} inputs", "inputs", HELP)
    (name,) = graph.inputs
    shape = graph.tensors[name].shape
    axes = [axis for axis in (*range(1, len(shape)), 0) if axis < len(shape) and shape[axis] > 1]
    errors: list[CompileError] = []
    for axis in axes:
        try:
            return _streamed(graph, Streaming(name, axis))
        except CompileError as error:
            errors.append(error)
    if not errors:
        _refuse("no axis of the input has several steps", f"input '{name}' {list(shape)}", HELP)
    raise max(errors, key=lambda error: _reached(graph, error))


def _reached(graph: Graph, error: CompileError) -> int:
    """The number of the node that an error names."""
    names = [" + ".join(node.origin) or node.name for node in graph.nodes]
    return max((i for i, name in enumerate(names) if error.where == f"node '{name}'"), default=-1)


def _parsed(graph: Graph, wanted: str) -> Streaming:
    for pattern in (r"(.+):(\d+):(\d+)", r"(.+):(\d+)"):
        match = re.fullmatch(pattern, wanted, re.DOTALL)
        if match and match[1] in graph.inputs:
            found = Streaming(match[1], *(int(number) for number in match.groups()[1:]))
            break
    else:
        names = ", ".join(repr(name) for name in graph.inputs)
        _refuse(f"'{wanted}' names no input of the model", f"inputs: {names}", HELP)
    shape = graph.tensors[found.input].shape
    if found.axis >= len(shape) or shape[found.axis] < 2:
        _refuse(f"axis {found.axis} has no steps", f"input '{found.input}' {list(shape)}", HELP)
    return found


def _streamed(graph: Graph, wanted: Streaming) -> Graph:
    rows = wanted.steps or 1
    while True:
        try:
            return _with_rows(graph, wanted, rows)
        except Indivisible as error:
            if wanted.steps or rows * error.factor > MOST_ROWS:
                at = " + ".join(error.node.origin) or error.node.name
                _refuse(
                    f"{error.node.op} leaves out steps of a call of {rows}", f"node '{at}'",
                    f"give a call {rows * error.factor} steps, or a multiple",
                )  # fmt: skip
            rows = lcm(rows, rows * error.factor)


def _with_rows(graph: Graph, wanted: Streaming, rows: int) -> Graph:
    x = graph.tensors[wanted.input]
    total = x.shape[wanted.axis]
    if rows > total:
        _refuse(f"the sequence has {total} steps, a call {rows}", f"input '{x.name}'", HELP)
    stream = Stream(graph, total // rows if total % rows == 0 else 0)
    for name, tensor in graph.tensors.items():
        if tensor.data is not None or name in graph.inputs:
            stream.tensors[name] = tensor
    stream.tensors[x.name] = replace(x, shape=with_rows(x.shape, wanted.axis, rows))
    stream.flows[x.name] = Flow(wanted.axis, rows, 0, total)
    for node in graph.nodes:
        step(stream, node)
    if not any(name in stream.flows for name in graph.outputs):
        _refuse("no output depends on this input", f"input '{x.name}'", HELP)
    return live_part(_graph(stream))


def _graph(stream: Stream) -> Graph:
    whole = stream.whole
    return replace(
        whole,
        inputs=(*whole.inputs, *(s.before for s in stream.states)),
        outputs=(*whole.outputs, *(s.after for s in stream.states)),
        nodes=tuple(stream.nodes),
        tensors=stream.tensors,
        notes=(*whole.notes, *_delays(stream)),
        states=tuple(stream.states),
        waits={name: wait for name, wait in stream.waits.items() if wait},
    ).with_nodes(stream.nodes)


def _delays(stream: Stream) -> list[str]:
    """Which rows of the whole model's outputs the calls give."""
    notes = []
    for name in stream.whole.outputs:
        flow = stream.flows.get(name)
        if flow is not None and flow.delay:
            what = (
                "is" if flow.axis is None else f"begins with row {-flow.delay} + n * {flow.rows},"
            )
            notes.append(
                f"output '{name}' of call n = 0, 1, ... {what} there from n = {flow.wait} on"
            )
    return notes


def _refuse(message: str, where: str, help: str) -> NoReturn:
    raise CompileError("cannot-stream", message, where, help)
