"""C functions on integers where C's operators are undefined: division by 0 or -1, powers.

x / 0 and x % 0 are 0; results wrap around, so that INT32_MIN / -1 is INT32_MIN.
"""

from typing import Any

from tinyc.compiler.ops import loops
from tinyc.compiler.ops.kernel import Microkernel
from tinyc.compiler.ops.real import type_of

SIGNED = {
    "divide": ("a / b, towards zero", "(b == -1) ? ({t})(0u - ({u})a) : a / b"),
    "remainder": ("a - b * (a / b), of the sign of a", "(b == -1) ? 0 : a % b"),
    "modulo": (
        "a - b * floor(a / b), of the sign of b",
        "(b == -1) ? 0 : (a % b != 0 && ((a % b < 0) != (b < 0))) ? a % b + b : a % b",
    ),
}
UNSIGNED = {
    "divide": ("a / b", "a / b"),
    "remainder": ("a % b", "a % b"),
    "modulo": ("a % b", "a % b"),
}
DIVISION = """\
/* {what}; 0 where b is 0. */
static inline {t} tinyc_{name}_{kind}({t} a, {t} b) {{
  return (b == 0) ? 0 : {value};
}}
"""
POWER = """\
/* base to the power of exponent, modulo 2^{bits}; a power below 0 is truncated towards zero. */
static {t} tinyc_power_{kind}({t} base, {t} exponent) {{
  if (exponent < 0) {{
    return (base == 1) ? 1 : (base != -1) ? 0 : (exponent % 2 == 0) ? 1 : -1;
  }}
  {u} power = 1u, factor = ({u})base;
  for ({u} rest = ({u})exponent; rest > 0u; rest >>= 1) {{
    power *= ((rest & 1u) != 0u) ? factor : 1u;
    factor *= factor;
  }}
  return ({t})power;
}}
"""
MODULO = """\
/* a - b * floor(a / b), of the sign of b. */
static {t} tinyc_modulo_{t}({t} a, {t} b) {{
  const {t} rest = fmod{f}(a, b);
  if (rest == 0) {{
    return copysign{f}(rest, b);
  }}
  return ((rest < 0) != (b < 0)) ? rest + b : rest;
}}
"""


def computed_in(dtype: str) -> str:
    """The type of 32 or 64 bits that an integer type is computed in."""
    bits = "64" if "64" in dtype else "32"
    return f"uint{bits}" if dtype.startswith("u") else f"int{bits}"


def unsigned(dtype: str) -> str:
    """The type that wraps around as `dtype` does, as C computes it."""
    return "uint64" if "64" in dtype else "uint32"


def division(name: str, dtype: str) -> Microkernel:
    """`divide`, `remainder` or `modulo` of a type of 32 or 64 bits, or `modulo` of floats."""
    if dtype.startswith("float"):
        t, f = ("float", "f") if dtype == "float32" else ("double", "")
        return Microkernel(f"tinyc_modulo_{t}", MODULO.format(t=t, f=f))
    t, u = f"{dtype}_t", f"{unsigned(dtype)}_t"
    what, value = (UNSIGNED if dtype.startswith("u") else SIGNED)[name]
    text = DIVISION.format(what=what, name=name, kind=dtype, t=t, value=value.format(t=t, u=u))
    return Microkernel(f"tinyc_{name}_{dtype}", text)


def power(dtype: str) -> Microkernel:
    text = POWER.format(kind=dtype, t=f"{dtype}_t", u=f"{unsigned(dtype)}_t", bits=dtype[3:])
    return Microkernel(f"tinyc_power_{dtype}", text)


def called(function: Microkernel, dtype: str, *arguments: Any) -> Any:
    """The call of a function of `dtype`, converted from and to the arguments' own type."""
    own = type_of(arguments[0])
    value = loops.call(function.name, *(a.astype(dtype) for a in arguments), dtype=dtype)
    return value.astype(own)
