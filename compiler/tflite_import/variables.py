"""Resource variables: what a model reads before it assigns it is a state of the caller's.

CALL_ONCE names the subgraph whose assignments are the values after a reset.
"""

from tinyc.compiler.tflite_import.building import OnnxGraph, Variable
from tinyc.compiler.tflite_import.lite_model import LiteOperator, LiteTensor

ONCE = "convert the model with initial values that are constants"


def read_handle(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    graph.handles[op.output().name] = _key(op)
    graph.variables.setdefault(_key(op), Variable())
    return ()


def read_call_once(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    body = graph.bodies.get(op.integer("init_subgraph_index"))
    if body is None:
        op.malformed("there is no subgraph of initial values")
    handles: dict[str, str] = {}
    for inner in body:
        if inner.kind == "VAR_HANDLE":
            handles[inner.output().name] = _key(inner)
        elif inner.kind == "ASSIGN_VARIABLE" and inner.input(1).data is not None:
            variable = graph.variables.setdefault(_known(op, handles, inner.input(0)), Variable())
            if variable.before or variable.now:
                op.refuse("initial values that come after the first use are not supported")
            variable.initial = inner.input(1).data
        else:
            op.refuse(f"initial values that {inner.kind} computes are not supported", ONCE)
    return ()


def read_read(graph: OnnxGraph, op: LiteOperator) -> str:
    key = _known(op, graph.handles, op.input(0))
    variable, y = graph.variables[key], op.output()
    if not variable.now and not variable.before:
        if variable.initial is None:
            op.refuse("a variable without initial values is not supported", ONCE)
        variable.before = graph.state(key, variable.initial)
    stored = variable.now or variable.before
    return stored if y.quant is None else graph.dequantized(stored, y.dtype, y.quant)


def read_assign(graph: OnnxGraph, op: LiteOperator) -> tuple[str, ...]:
    variable, value = graph.variables[_known(op, graph.handles, op.input(0))], op.input(1)
    first = variable.initial
    if first is not None and (first.shape, first.dtype.name) != (value.shape, value.dtype):
        op.refuse(
            f"a variable that is {first.dtype}{list(first.shape)} at first, then "
            f"{value.dtype}{list(value.shape)}, is not supported"
        )
    variable.now = graph.value(value)
    return ()


def end_variables(graph: OnnxGraph) -> None:
    """What a run assigned to variables that it read before is their value in the next run."""
    for key, variable in sorted(graph.variables.items()):
        if variable.before and variable.now:
            graph.operator = key
            graph.remember(variable.before, graph.add("Identity", variable.now))


def _key(op: LiteOperator) -> str:
    names = (op.text("container"), op.text("shared_name"))
    return "/".join(name for name in names if name) or op.name


def _known(op: LiteOperator, handles: dict[str, str], tensor: LiteTensor) -> str:
    if tensor.name not in handles:
        op.refuse(f"the variable '{tensor.name}' is not one of this graph")
    return handles[tensor.name]
