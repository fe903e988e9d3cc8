"""Trees as nested branches: smaller than tables where there are few splits, and faster.

Measured on Cortex-M4: 137 cycles as branches, 627 as tables, for 6 trees of 78 splits.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

from tinyc.compiler.cprint import C_TYPES, double_literal, float_literal
from tinyc.compiler.graph import DType
from tinyc.compiler.ops.kernel import Microkernel

if TYPE_CHECKING:
    from tinyc.compiler.ops.trees import Trees

SPLIT_BYTES, WEIGHT_BYTES = 22, 12  # of code; within 25 % of 84 to 3132 bytes on Cortex-M4
WHOLE_SPLIT_BYTES = 12  # where features are int16; measured: 3 to 19, most with small leaves


def branches_bytes(trees: "Trees", features: DType) -> int:
    """Bytes of code, about; splits that several lead to are written several times."""
    sizes: dict[int, int] = {}
    split = SPLIT_BYTES if features.is_float else WHOLE_SPLIT_BYTES

    def size(at: int) -> int:
        return sizes[at] if at >= 0 else WEIGHT_BYTES * len(trees.leaves[~at])

    for at in reversed(range(len(trees.features))):
        sizes[at] = split + size(trees.yes[at]) + size(trees.no[at])
    return sum(map(size, trees.roots))


def branches(trees: "Trees", targets: int, features: DType, dtype: DType) -> Microkernel:
    """`name(x, y)`: the sums of the weights of one row of x into y."""
    real = C_TYPES[dtype]
    zero = "0.0f" if dtype == DType.FLOAT32 else "0.0"
    lines = [f"  {real} y_{k} = {zero};" for k in range(targets)]
    for root in trees.roots:
        lines += _lines(trees, root, features, dtype, 1)
    lines += [f"  y[{k}] = y_{k};" for k in range(targets)]
    body = "\n".join(lines)
    name = f"tinyc_trees_{sha256(body.encode()).hexdigest()[:8]}"
    return Microkernel(
        name,
        f"/* Of one row: the sums of the weights of the leaves that all trees lead to. */\n"
        f"static void {name}(const {C_TYPES[features]} *x, {real} *y) {{\n{body}\n}}\n",
    )


def _lines(trees: "Trees", at: int, features: DType, dtype: DType, depth: int) -> list[str]:
    indent = "  " * depth
    if at < 0:
        kept = [(t, w) for t, w in trees.leaves[~at] if w != 0]
        return [f"{indent}y_{t} += {_number(w, dtype)};" for t, w in kept]
    value, threshold = f"x[{trees.features[at]}]", _number(trees.thresholds[at], features)
    condition = f"!({value} > {threshold})" if trees.nan[at] else f"{value} <= {threshold}"
    yes = _lines(trees, trees.yes[at], features, dtype, depth + 1)
    no = _lines(trees, trees.no[at], features, dtype, depth + 1)
    otherwise = [f"{indent}}} else {{", *no] if no else []
    return [f"{indent}if ({condition}) {{", *yes, *otherwise, f"{indent}}}"]


def _number(value: float, dtype: DType) -> str:
    if not dtype.is_float:
        return str(int(value))
    return float_literal(value) if dtype == DType.FLOAT32 else double_literal(value)
