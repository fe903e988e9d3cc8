"""Loop nests in TensorIR, written by hand: buffers, loops, stores and calls.

Every kernel is built from these few functions, so a kernel reads like the C it becomes.
TVM is imported here, where it is printed and for TensorPrograms only.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from tinyc.compiler.graph import TEXT_BYTES, DType

Expr = Any  # a TensorIR expression, or an int
Stmt = Any  # a TensorIR statement
TEXT = f"uint8x{TEXT_BYTES}"  # what TensorIR moves as a whole, as C does a struct


@cache
def tirx() -> Any:
    """TVM's TensorIR, loaded with the first kernel: it takes longer than all the rest of tinyc."""
    from tvm import tirx

    return tirx


def buffer(name: str, elements: int, dtype: str) -> Any:
    """A flat buffer parameter of `elements` values."""
    own = TEXT if dtype == DType.TEXT else dtype
    return tirx().decl_buffer((max(elements, 1),), own, name=name)


def variable(name: str, dtype: str = "int32") -> Any:
    """A scalar parameter, int32 unless said."""
    return tirx().Var(name, dtype)


def const(value: float | int, dtype: str = "int32") -> Any:
    return tirx().const(value, dtype)


def load(source: Any, index: Expr, dtype: str | None = None) -> Any:
    """`source[index]`, converted to `dtype` when given."""
    value = tirx().BufferLoad(source, [index])
    return value if dtype is None else value.astype(dtype)


def store(target: Any, index: Expr, value: Expr) -> Stmt:
    """`target[index] = value`; the value is converted to the buffer's type."""
    return tirx().BufferStore(target, tirx().convert(value).astype(str(target.dtype)), [index])


def local(name: str, dtype: str = "int32", elements: int = 1) -> Any:
    """A variable (or small array) of the function; declare it with `declare` before use."""
    return tirx().decl_buffer((elements,), dtype, name=name, scope="local")


def declare(*buffers: Any) -> list[Stmt]:
    return [tirx().AllocBuffer(b) for b in buffers]


def view(part: Any, whole: Any, offset: Expr) -> Stmt:
    """Declares `part`, made by `buffer`, to lie in `whole` from element `offset` on."""
    return tirx().DeclBuffer(part, data=pointer(whole, offset))


def block(statements: Iterable[Stmt]) -> Stmt:
    """The statements one after the other."""
    flat = list(statements)
    return flat[0] if len(flat) == 1 else tirx().SeqStmt(flat)


def loop(name: str, extent: Expr, body: Callable[[Any], Iterable[Stmt]], begin: Expr = 0) -> Stmt:
    """`for (name = begin; name < begin + extent; ++name)`; a loop of one turn is its body."""
    return _for(name, extent, body, begin, tirx().ForKind.SERIAL)


def unrolled(
    name: str, extent: int, body: Callable[[Any], Iterable[Stmt]], begin: Expr = 0
) -> Stmt:
    """Like `loop`, written out."""
    return _for(name, extent, body, begin, tirx().ForKind.UNROLLED)


def _for(
    name: str, extent: Expr, body: Callable[[Any], Iterable[Stmt]], begin: Expr, kind: Any
) -> Stmt:
    first, count = (const(v) if isinstance(v, int) else v for v in (begin, extent))
    if isinstance(count, tirx().IntImm) and int(count.value) == 1:
        return block(body(first))
    var = tirx().Var(name, "int32")
    return tirx().For(var, first, count, kind, block(body(var)))


def when(condition: Expr, then: Iterable[Stmt], otherwise: Iterable[Stmt] | None = None) -> Stmt:
    """`if (condition) { then } else { otherwise }`."""
    return tirx().IfThenElse(
        condition, block(then), None if otherwise is None else block(otherwise)
    )


def call(function: str, *arguments: Expr, dtype: str = "int32") -> Any:
    """The value of a C function of `tinyc.h`, `math.h` or a microkernel."""
    return tirx().call_extern(dtype, function, *arguments)


def run(function: str, *arguments: Expr) -> Stmt:
    """A call as a statement, its value unused."""
    return tirx().Evaluate(tirx().call_extern("void", function, *arguments))


def pointer(target: Any, offset: Expr = 0) -> Any:
    """`&target[offset]`."""
    return tirx().address_of(tirx().BufferLoad(target, [offset]))


def maximum(a: Expr, b: Expr) -> Any:
    return tirx().max(a, b)


def minimum(a: Expr, b: Expr) -> Any:
    return tirx().min(a, b)


def end_pointer(target: Any) -> Any:
    """The address behind the last element of a buffer parameter."""
    return pointer(target, int(target.shape[0]))


def clamp(value: Expr, low: int, high: int) -> Any:
    """The int32 `value` limited to low..high (both included)."""
    if (low, high) == (-128, 127):
        return call("tinyc_saturate_int8", value)
    return tirx().min(tirx().max(value, const(low)), const(high))


def select(condition: Expr, yes: Expr, no: Expr) -> Any:
    """`condition ? yes : no`; both sides are evaluated, so neither may read out of bounds."""
    return tirx().Select(condition, yes, no)


def every(conditions: Sequence[Expr]) -> Any:
    """All of `conditions`, left to right, the rest not evaluated after a false one."""
    return tirx().all(*conditions) if conditions else const(1, DType.BOOL)


def equal(a: Expr, b: Expr) -> Any:
    """`a == b`."""
    return tirx().EQ(a, b)


def unequal(a: Expr, b: Expr) -> Any:
    """`a != b`."""
    return tirx().NE(a, b)


def either(a: Expr, b: Expr) -> Any:
    """`a || b`."""
    return tirx().any(a, b)


def negation(condition: Expr) -> Any:
    """`!condition`."""
    return tirx().Not(condition)


def function(parameters: Sequence[Any], body: Iterable[Stmt]) -> Any:
    """The TensorIR function of a kernel."""
    from tvm.ir import TupleType

    return tirx().PrimFunc(list(parameters), block(body), TupleType([]))


def quotient(value: Expr, divisor: int) -> Any:
    """The integer `value / divisor` as C divides, towards zero."""
    return tirx().truncdiv(value, const(divisor, str(value.ty)))


def remainder(value: Expr, divisor: int) -> Any:
    """`value % divisor`; value >= 0."""
    return tirx().truncmod(value, const(divisor))
