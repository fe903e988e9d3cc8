"""TensorProgram: a node of the user's model as TVM's Relax computes it, for what has no operator.

The node is a model of its own with static shapes. Relax turns it into a few TensorIR functions,
which become one; their temporaries lie in the scratch, and it is printed like our own kernels.
"""

import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any

import numpy as np
import onnx

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import Array, DType, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Constant, Kernel
from tinyc.compiler.ops.onnx_evaluator import onnx_evaluator
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target

ALIGNMENT = 16  # bytes of each temporary in the scratch
ON_STACK = 64  # bytes of a temporary that may be a local array


@dataclass(frozen=True, slots=True)
class TensorProgramAttrs:
    """operator is ONNX's name; model the node as a model, serialized; types its outputs."""

    operator: str
    model: bytes
    types: tuple[Type, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """function takes buffers: inputs, outputs, constants, scratch; whole is it before lowering."""

    function: Any
    constants: tuple[Array, ...]
    scratch_bytes: int
    whole: Any


def infer(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    types: tuple[Type, ...] = attrs.types
    return types


def reference(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return evaluated(call.attrs.model, arrays)


def evaluated(model: bytes, arrays: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of the model by ONNX's own definition."""
    evaluator = evaluator_of(model)
    with np.errstate(all="ignore"):
        results = evaluator.run(None, dict(zip(evaluator.input_names, arrays, strict=True)))
    return tuple(np.asarray(r) for r in results)


def evaluator_of(model: bytes) -> Any:
    """Raises whatever ONNX raises for an operator that it has no evaluator of."""
    return onnx_evaluator(onnx.load_from_string(model))


def kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    lowered = lowered_program(call.attrs.model)
    constants = tuple(Constant("constants", array.reshape(-1)) for array in lowered.constants)
    floats = any(t.dtype.is_float for t in (*call.inputs, *call.outputs))
    return Kernel(
        f"onnx_{call.attrs.operator.lower()}",  # no name of math.h
        lowered.function,
        constants,
        lowered.scratch_bytes,
        float_code=floats,
        note="TVM",
    )


def executed(lowered: Lowered, arrays: Sequence[Array], types: Sequence[Type]) -> tuple[Array, ...]:
    """The outputs of the function on this machine, by TVM's own code generator."""
    import tvm

    results = [np.zeros(shape, dtype.value) for shape, dtype in types]
    values = [tvm.runtime.tensor(a) for a in (*arrays, *lowered.constants, *results)]
    _native(lowered)["whole"](*values)
    return tuple(value.numpy() for value in values[-len(results) :])


@cache
def _native(lowered: Lowered) -> Any:
    """The function as code of this machine: one for all that it is tried on."""
    import tvm

    return tvm.compile(lowered.whole.with_attr("global_symbol", "whole"), target="llvm")


@cache
def lowered_program(model: bytes) -> Lowered:
    """The only node of the model as one flat TensorIR function.

    Raises whatever TVM raises for what it cannot do.
    """
    from tvm import IRModule, relax
    from tvm.ir.transform import Sequential
    from tvm.relax.frontend.onnx import from_onnx

    with redirect_stdout(StringIO()):  # it prints its errors
        module = from_onnx(onnx.load_from_string(model), keep_params_in_input=False)
    module = relax.transform.FoldConstant()(relax.transform.LegalizeOps()(module))
    function, constants = _one_function(module)
    (lowered,) = Sequential(_lowering())(IRModule({"main": function})).functions.values()
    return _flat(lowered, function, len(module["main"].params), constants)


def _one_function(module: Any) -> tuple[Any, tuple[Array, ...]]:
    """The TensorIR functions that `main` calls as one; its constants are further inputs."""
    from tvm import IRModule, relax

    main, constants = _with_constants_as_inputs(module["main"])
    others = {name: f for name, f in module.functions.items() if name.name_hint != "main"}
    build = relax.BlockBuilder(IRModule(others))
    whole = build.add_func(main.with_attr("Primitive", True), "whole")
    inputs = [relax.Var(v.name, v.ty) for v in main.params]
    with build.function("main", inputs):
        with build.dataflow():
            result = build.emit_output(build.emit(relax.Call(whole, inputs)))
        build.emit_func_output(result)
    fused = relax.transform.FuseTIR()(build.get())
    (function,) = (f for name, f in fused.functions.items() if name.name_hint != "main")
    return function, constants


def _with_constants_as_inputs(main: Any) -> tuple[Any, tuple[Array, ...]]:
    from tvm import relax

    found: list[Any] = []

    @relax.expr_functor.mutator
    class Lift(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
        def visit_generic_const_(self, constant: Any) -> Any:
            found.append((relax.Var(f"constant{len(found)}", constant.ty), constant))
            return found[-1][0]

    body = Lift().visit_expr(main.body)
    inputs = [*main.params, *(variable for variable, _ in found)]
    lifted = relax.Function(inputs, body, main.ret_ty, main.is_pure)
    return lifted, tuple(read_only(c.value.numpy()) for _, c in found)


def _lowering() -> list[Any]:
    from tvm.s_tir import transform as schedules
    from tvm.target import Target as Machine
    from tvm.tirx import transform as tensors

    return [
        tensors.BindTarget(Machine({"kind": "c"})),
        schedules.CanonicalizeLoop(),
        schedules.LowerInitBlock(),
        schedules.PlanAndUpdateBufferAllocationLocation(),
        schedules.ConvertBlocksToOpaque(),
        schedules.CompactBufferAllocation(),
        schedules.LowerMatchBuffer(),
        schedules.StmtSimplify(),
        schedules.LowerOpaqueBlock(),
        tensors.FlattenBuffer(),
        tensors.NarrowDataType(32),
        schedules.LoopPartition(),
        tensors.VectorizeLoop(False),
        tensors.StorageRewrite(),  # also moves all temporaries to the beginning
        schedules.HoistIfThenElse(),
        tensors.UnrollLoop(),
        tensors.StmtSimplify(),
        tensors.RemoveNoOp(),
        tensors.LowerIntrin(),
    ]


def _flat(function: Any, whole: Any, inputs: int, constants: tuple[Array, ...]) -> Lowered:
    """The function with its temporaries in the scratch, its parameters in a kernel's order."""
    from tvm import tirx

    params, body = list(function.params), function.body
    statements = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    scratch = tirx.decl_buffer((1,), "uint8", name="scratch")
    names, kept, used = {p.name for p in params}, [], 0
    for statement in statements:
        if isinstance(statement, tirx.DeclBuffer) and statement.buffer.name in names:
            continue  # the same memory under another shape
        if isinstance(statement, tirx.AllocBuffer):
            buffer = statement.buffer
            assert buffer.name not in names, f"two temporaries are called {buffer.name}"
            names.add(buffer.name)
            size = math.prod(int(n) for n in buffer.shape) * DType(str(buffer.dtype)).size
            if size > ON_STACK:
                place = tirx.address_of(tirx.BufferLoad(scratch, [used]))
                statement = tirx.DeclBuffer(buffer, data=place)
                used += -(-size // ALIGNMENT) * ALIGNMENT
        kept.append(statement)
    ordered = [
        *params[:inputs],
        *params[inputs + len(constants) :],
        *params[inputs : inputs + len(constants)],
        *([scratch] if used else []),
    ]
    program = tirx.PrimFunc(ordered, loops.block(kept), function.ret_type)
    return Lowered(program, constants, used, whole)


TENSOR_PROGRAM = Op("TensorProgram", infer, reference, kernel)
