"""Trees as tables that one loop walks: arrays of features, thresholds and children."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array, DType, read_only
from tinyc.compiler.ops.kernel import Constant, Microkernel
from tinyc.compiler.ops.op import Call

LOOP_BYTES = 170  # of the walker's code; measured: 156 to 236 on Cortex-M4


@dataclass(frozen=True, slots=True, eq=False)
class TreeTables:
    """constants  features, thresholds, (which threshold), yes, no, roots, (targets), weights
    nan        "yes", "no": where all go that are no number; "flag": the feature's highest bit
    shared     thresholds are a table of the different ones, `which` has their positions
    pairs      weights of a leaf; 0: one for each target, in order
    """

    constants: tuple[Constant, ...]
    nan: str
    shared: bool
    pairs: int

    @property
    def bytes(self) -> int:
        return sum(c.array.nbytes for c in self.constants)

    @property
    def total_bytes(self) -> int:
        return self.bytes + LOOP_BYTES


def tables_of(call: Call) -> TreeTables:
    """The smallest tables for the trees of a call.

    A child is how many splits further it lies, or -1 - leaf; leaves with equal weights are one.
    """
    a, real = call.attrs, call.output.dtype.value
    trees = a.trees
    pairs = _pairs(trees.leaves, a.targets)
    rows = [_weights(leaf, pairs, a.aggregate, a.targets) for leaf in trees.leaves]
    unique = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    leaf_of = [unique[row] for row in rows]

    def child(at: int, to: int) -> int:
        return to - at if to >= 0 else -1 - leaf_of[~to]

    count = len(trees.features)
    yes = [child(at, trees.yes[at]) for at in range(count)]
    no = [child(at, trees.no[at]) for at in range(count)]
    roots = [r if r >= 0 else -1 - leaf_of[~r] for r in trees.roots]
    mixed = len(set(trees.nan)) > 1
    features: Array = np.array(trees.features, np.int64)
    kind = _unsigned(int(features.max(initial=0)) * (2 if mixed else 1) + mixed)
    if mixed:
        features = features + np.array(trees.nan) * (1 << (8 * np.dtype(kind).itemsize - 1))
    compared = real if call.inputs[0].dtype.is_float else _whole(trees.thresholds)
    thresholds = np.array(trees.thresholds, compared)
    different, which = np.unique(thresholds, return_inverse=True)
    index = _unsigned(different.size - 1)
    shared = different.nbytes + which.size * np.dtype(index).itemsize < thresholds.nbytes
    constants = [_constant("features", features, kind)]
    if shared:
        constants += [
            _constant("thresholds", different, compared),
            _constant("which", which, index),
        ]
    else:
        constants.append(_constant("thresholds", thresholds, compared))
    steps = _signed(yes + no)
    constants += [_constant("yes", yes, steps), _constant("no", no, steps)]
    constants.append(_constant("roots", roots, _signed(roots)))
    if pairs:
        targets = [target for row in unique for target, _ in row]
        constants.append(_constant("targets", targets, _unsigned(a.targets - 1)))
    constants.append(_constant("weights", [w for row in unique for _, w in row], real))
    nan = "flag" if mixed else "yes" if True in trees.nan else "no"
    return TreeTables(tuple(constants), nan, shared, pairs)


def _pairs(leaves: tuple[tuple[tuple[int, float], ...], ...], targets: int) -> int:
    """The most weights of a leaf; 0 when every leaf has as many as there are targets."""
    full = tuple(range(targets))
    if all(tuple(sorted(t for t, _ in leaf)) == full for leaf in leaves):
        return 0
    return max(len(leaf) for leaf in leaves)


def _weights(
    leaf: tuple[tuple[int, float], ...], pairs: int, aggregate: str, targets: int
) -> tuple[tuple[int, float], ...]:
    """The pairs of a leaf as they lie in the tables; what is missing changes nothing."""
    if not pairs:
        return tuple(sorted(leaf))
    spare = (leaf[0][0], 0.0 if aggregate in ("sum", "average") else leaf[0][1])
    return (*leaf, *(spare for _ in range(pairs - len(leaf))))


def _constant(role: str, values: npt.ArrayLike, dtype: str) -> Constant:
    return Constant(role, read_only(np.array(values).reshape(-1), dtype))


def _unsigned(largest: int) -> str:
    return next(t for t in ("uint8", "uint16", "uint32") if largest <= np.iinfo(t).max)


def _signed(values: list[int]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    types = ("int8", "int16", "int32")
    return next(t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)


def _whole(values: tuple[float, ...]) -> str:
    """The smallest type for whole numbers."""
    low, high = int(min(values, default=0)), int(max(values, default=0))
    return "uint8" if low >= 0 and high <= np.iinfo("uint8").max else _signed([low, high])


def walker(
    tables: TreeTables, targets: int, aggregate: str, features: DType, dtype: DType
) -> Microkernel:
    """`name(x, y, <the tables>, trees)`: the weights of one row of x, aggregated into y."""
    types = {c.role: C_TYPES[str(c.array.dtype)] for c in tables.constants}
    real, single = C_TYPES[dtype], targets == 1 and not tables.pairs
    zero = "0.0f" if dtype == DType.FLOAT32 else "0.0"
    first = {"min": "INFINITY", "max": "-INFINITY"}.get(aggregate, zero)
    words = [aggregate if aggregate in ("min", "max") else "sum", tables.nan, str(tables.pairs)]
    words += [str(targets)] if not single else ["1"]
    words += ["shared"] if tables.shared else []
    words += [] if features.is_float else [str(features)]
    words += [t.removesuffix("_t") for t in types.values()]
    parameters = ", ".join(f"const {t} *{role}" for role, t in types.items())
    text = WALK.format(
        name=(name := f"tinyc_trees_{'_'.join(words)}"),
        real=real,
        given=C_TYPES[features],
        value=real if features.is_float else "int32_t",
        parameters=parameters,
        begin=_begin(single, targets, real, first),
        **_decision(tables, types["features"]),
        add=_add(tables.pairs, targets, aggregate, single),
        end=_end(tables.pairs, targets, aggregate, single, first, zero),
    )
    return Microkernel(name, text)


WALK = """\
/* Of one row: the weights of the leaves that all trees lead to. */
static void {name}(const {given} *x, {real} *y,
    {parameters}, int32_t trees) {{
{begin}
  for (int32_t t = 0; t < trees; ++t) {{
    int32_t at = (int32_t)roots[t];
    while (at >= 0) {{
      const {value} value = x[{feature}];
      const bool below = {below};
      const int32_t step = (int32_t)(below ? yes[at] : no[at]);
      at = (step > 0) ? (at + step) : step;
    }}
    const int32_t leaf = -1 - at;
{add}
  }}
{end}}}
"""


def _decision(tables: TreeTables, feature_type: str) -> dict[str, str]:
    threshold = "thresholds[which[at]]" if tables.shared else "thresholds[at]"
    inside, outside = f"value <= {threshold}", f"!(value > {threshold})"
    if tables.nan != "flag":
        return {"feature": "features[at]", "below": inside if tables.nan == "no" else outside}
    bit = {"uint8_t": "0x80u", "uint16_t": "0x8000u", "uint32_t": "0x80000000u"}[feature_type]
    return {
        "feature": f"features[at] & ~{bit}",
        "below": f"((features[at] & {bit}) != 0u) ? {outside} : ({inside})",
    }


def _begin(single: bool, targets: int, real: str, first: str) -> str:
    if single:
        return f"  {real} result = {first};"
    return f"  for (int32_t k = 0; k < {targets}; ++k) {{\n    y[k] = {first};\n  }}"


def _add(pairs: int, targets: int, aggregate: str, single: bool) -> str:
    def into(place: str, weight: str) -> str:
        if aggregate in ("min", "max"):
            sign = "<" if aggregate == "min" else ">"
            return f"{place} = ({weight} {sign} {place}) ? {weight} : {place};"
        return f"{place} += {weight};"

    if single:
        return f"    {into('result', 'weights[leaf]')}"
    if pairs == 1:
        return f"    {into('y[targets[leaf]]', 'weights[leaf]')}"
    count = pairs or targets
    place = f"y[targets[(leaf * {count}) + k]]" if pairs else "y[k]"
    line = into(place, f"weights[(leaf * {count}) + k]")
    return f"    for (int32_t k = 0; k < {count}; ++k) {{\n      {line}\n    }}"


def _end(pairs: int, targets: int, aggregate: str, single: bool, first: str, zero: str) -> str:
    if single:
        return "  y[0] = result;\n"
    if aggregate not in ("min", "max") or not pairs:
        return ""
    return (
        f"  for (int32_t k = 0; k < {targets}; ++k) {{\n"
        f"    y[k] = (y[k] == {first}) ? {zero} : y[k];\n  }}\n"
    )
