"""Lowered TensorIR as C text: one table entry for each kind of node.

Expressions become strings, statements become lists of lines. A node without
an entry is a bug in the lowering, so it stops the compiler. Every conversion
is printed as a cast, so that the C is clean under -Wconversion.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tinyc.compiler.graph import TEXT_BYTES, DType

C_TYPES = {
    "bool": "bool",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float16": "uint16_t",  # its bits
    "bfloat16": "uint16_t",
    "float32": "float",
    "float64": "double",
    DType.TEXT: "tinyc_text",
    f"uint8x{TEXT_BYTES}": "tinyc_text",  # TensorIR's name of it
}
BEYOND_INT32 = ("uint32", "int64", "uint64")
HALVES = ("float16", "bfloat16")
INFIX = {
    "Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%",
    "LShift": "<<", "RShift": ">>", "BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^",
    "LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "EQ": "==", "NE": "!=", "And": "&&", "Or": "||",
}  # fmt: skip
OPERATOR_CALLS = {  # TensorIR's spelling of C operators that have no node kind
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
    "shift_left": "<<", "shift_right": ">>",
}  # fmt: skip
MATH = {  # TensorIR's names of functions of math.h
    **{name: name for name in (
        "acos acosh asin asinh atan atanh ceil cos cosh erf exp exp2 fabs floor fmod log log10 "
        "log1p log2 pow round sin sinh sqrt tan tanh trunc"
    ).split()},
    "nearbyint": "rint",
}  # fmt: skip
ASSIGNING = {"Add": "+=", "Sub": "-=", "Mul": "*="}
INDENT = "  "


def expr(e: Any) -> str:
    """The C expression for `e`, in parentheses where it is not atomic."""
    kind = type(e).__name__
    if kind in INFIX:
        return f"({expr(e.a)} {INFIX[kind]} {expr(e.b)})"
    return EXPRS[kind](e)


def stmt(s: Any, depth: int) -> list[str]:
    """The C lines for `s`, indented by `depth` levels."""
    return STMTS[type(s).__name__](s, depth)


def bare(e: Any) -> str:
    """The C expression for `e` without its outer parentheses."""
    text = expr(e)
    return text[1:-1] if type(e).__name__ in INFIX else text


def scalar_type(e: Any) -> str:
    """The C type of an expression's value."""
    return C_TYPES[str(e.ty)]


def _integer(e: Any) -> str:
    value, dtype = int(e.value), str(e.ty)
    if dtype == "bool":
        return "true" if value else "false"
    if dtype == "int32" and value == -(1 << 31):
        return "INT32_MIN"
    if dtype == "int64":
        return f"INT64_C({value})" if value > -(1 << 63) else "INT64_MIN"
    if dtype.startswith("uint"):
        return f"UINT64_C({value})" if dtype == "uint64" else f"{value}u"
    return str(value) if value >= 0 or dtype != "int32" else f"({value})"


def _float(e: Any) -> str:
    value, dtype = float(e.value), str(e.ty)
    if dtype in HALVES:
        return f"{int(np.array(value, dtype).view(np.uint16))}u"
    text = float_literal(value) if dtype == "float32" else double_literal(value)
    return f"({text})" if value < 0 else text


def float_literal(value: float) -> str:
    """A C float constant that reads back as the same float32."""
    text = f"{value:.9g}"
    if "." in text or "e" in text:
        return f"{text}f"
    return _unusual(value) or f"{text}.0f"


def double_literal(value: float) -> str:
    """A C double constant that reads back as the same float64."""
    return _unusual(value) or repr(float(value))


def _unusual(value: float) -> str:
    """What no digits stand for; "" for other numbers."""
    if math.isnan(value):
        return "NAN"
    return "" if math.isfinite(value) else "INFINITY" if value > 0 else "-INFINITY"


def c_identifier(e: Any) -> str:
    """The name of a buffer or variable; TVM's own kernels have dots in some."""
    return str(e.name).replace(".", "_")


def _call(e: Any) -> str:
    name = str(e.op.name).rpartition(".")[2]  # the dialect, "tirx" or "prim", says nothing more
    if name in OPERATOR_CALLS:
        return f"({expr(e.args[0])} {OPERATOR_CALLS[name]} {expr(e.args[1])})"
    if name == "bitwise_not":
        return f"(~{expr(e.args[0])})"
    if name == "address_of":
        return _address(e.args[0])
    if name == "if_then_else":
        return f"({expr(e.args[0])} ? {expr(e.args[1])} : {expr(e.args[2])})"
    if name == "isnan":
        return f"({expr(e.args[0])} != {expr(e.args[0])})"
    if name in MATH:
        suffix = "f" if str(e.ty) == "float32" else ""
        return f"{MATH[name]}{suffix}({', '.join(bare(a) for a in e.args)})"
    assert name in ("call_extern", "call_pure_extern"), f"no C for {name}"
    return f"{e.args[0].value}({', '.join(bare(a) for a in e.args[1:])})"


def _address(element: Any) -> str:
    source, offset = element.source, element.indices[0]
    zero = type(offset).__name__ == "IntImm" and int(offset.value) == 0
    return c_identifier(source) if zero else f"&{c_identifier(source)}[{bare(offset)}]"


def _minmax(function: str) -> Callable[[Any], str]:
    """Prints a Min or Max as a call of a helper of tinyc.h (fminf, fmaxf for floats)."""

    def show(e: Any) -> str:
        dtype = str(e.ty)
        if dtype in BEYOND_INT32:
            a, b = expr(e.a), expr(e.b)
            return f"(({a} {'<' if function == 'min' else '>'} {b}) ? {a} : {b})"
        if dtype.startswith("float"):
            suffix = "f" if dtype == "float32" else ""
            return f"f{function}{suffix}({bare(e.a)}, {bare(e.b)})"
        helper = f"tinyc_{function}({bare(e.a)}, {bare(e.b)})"
        return helper if dtype == "int32" else f"({C_TYPES[dtype]}){helper}"

    return show


def _lvalue(b: Any, index: Any) -> str:
    return c_identifier(b) if _is_scalar(b) else f"{c_identifier(b)}[{bare(index)}]"


def _is_scalar(b: Any) -> bool:
    return str(b.scope()) == "local" and len(b.shape) == 1 and int(b.shape[0]) == 1


def _load(e: Any) -> str:
    return _lvalue(e.source, e.indices[0])


@cache
def _analyzer() -> Any:
    from tvm import sym

    return sym.Analyzer()


def _for(s: Any, depth: int) -> list[str]:
    i, stop = c_identifier(s.loop_var), bare(_analyzer().simplify(s.min + s.extent))
    head = f"for ({scalar_type(s.loop_var)} {i} = {bare(s.min)}; {i} < {stop}; ++{i}) {{"
    return [INDENT * depth + head, *stmt(s.body, depth + 1), INDENT * depth + "}"]


def _if(s: Any, depth: int) -> list[str]:
    lines = [f"{INDENT * depth}if ({bare(s.condition)}) {{", *stmt(s.then_case, depth + 1)]
    if s.else_case is not None:
        lines += [f"{INDENT * depth}}} else {{", *stmt(s.else_case, depth + 1)]
    return [*lines, INDENT * depth + "}"]


def _store(s: Any, depth: int) -> list[str]:
    target = _lvalue(s.buffer, s.indices[0])
    kind = type(s.value).__name__
    if kind in ASSIGNING and str(s.value.ty) in ("int32", "uint32", "float32"):
        if expr(s.value.a) == target:
            return [f"{INDENT * depth}{target} {ASSIGNING[kind]} {bare(s.value.b)};"]
    return [f"{INDENT * depth}{target} = {bare(s.value)};"]


def _alloc(s: Any, depth: int) -> list[str]:
    b = s.buffer
    size = "" if _is_scalar(b) else f"[{int(b.shape[0])}]"
    return [f"{INDENT * depth}{C_TYPES[str(b.dtype)]} {c_identifier(b)}{size};"]


def _view(s: Any, depth: int) -> list[str]:
    """A buffer that lies in another one."""
    pointer = f"{C_TYPES[str(s.buffer.dtype)]} *"
    return [f"{INDENT * depth}{pointer}{c_identifier(s.buffer)} = ({pointer}){expr(s.data)};"]


def _bind(s: Any, depth: int) -> list[str]:
    return [f"{INDENT * depth}const {scalar_type(s.var)} {c_identifier(s.var)} = {bare(s.value)};"]


EXPRS: dict[str, Callable[[Any], str]] = {
    "IntImm": _integer,
    "FloatImm": _float,
    "Var": c_identifier,
    "Cast": lambda e: f"({C_TYPES[str(e.ty)]}){expr(e.value)}",
    "TensorLoad": _load,
    "BufferLoad": _load,
    "Select": lambda e: f"({bare(e.condition)} ? {expr(e.true_value)} : {expr(e.false_value)})",
    "Not": lambda e: f"(!{expr(e.a)})",
    "Min": _minmax("min"),
    "Max": _minmax("max"),
    "Call": _call,
    "StringImm": lambda e: str(e.value),
}

STMTS: dict[str, Callable[[Any, int], list[str]]] = {
    "SeqStmt": lambda s, d: [line for child in s.seq for line in stmt(child, d)],
    "For": _for,
    "IfThenElse": _if,
    "AllocBuffer": _alloc,
    "AttrStmt": lambda s, d: stmt(s.body, d),  # hints that C has no use for
    "BufferStore": _store,
    "DeclBuffer": _view,
    "Bind": _bind,
    "Evaluate": lambda s, d: [f"{INDENT * d}{expr(s.value)};"],
}
