"""TfIdfVectorizer of numbers; texts are for a computer to turn into numbers."""

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.grams import MODES, GramsAttrs

MOST_VALUES = 1 << 20  # of a row of the output


def read_tf_idf_vectorizer(build: Builder, node: ModelNode) -> Tensor:
    """The pool holds first the sequences of one number, then those of two, ..."""
    x, pool = build.operand(node, 0), node.integers("pool_int64s")
    if pool is None:
        node.refuse("sequences of texts are not supported", "give numbers to the model")
    starts, columns = node.integers("ngram_counts") or (), node.integers("ngram_indexes") or ()
    shortest, longest, skips = (
        node.integer(n, 0) for n in ("min_gram_length", "max_gram_length", "max_skip_count")
    )
    mode, weights = node.text("mode", "TF"), node.reals("weights") or ()
    width = max(columns, default=-1) + 1
    if (
        mode not in MODES
        or not 1 <= shortest <= longest
        or skips < 0
        or min(columns, default=-1) < 0
    ):
        node.malformed(f"mode '{mode}', lengths {shortest} to {longest}, {skips} skips")
    if not x.shape or len(x.shape) > 2 or width > MOST_VALUES:
        node.malformed(f"{list(x.shape)} cannot be counted into {width} columns")
    if weights and len(weights) != len(columns):
        node.malformed(f"{len(weights)} weights for {len(columns)} sequences")
    by_column = dict(zip(columns, weights, strict=True)) if weights else {}
    if any(by_column[c] != w for c, w in zip(columns, weights, strict=False)):
        node.refuse("sequences of one column with different weights are not supported")
    counted: dict[tuple[int, ...], int] = {}
    position = 0
    for size, start in enumerate(starts, 1):
        end = starts[size] if size < len(starts) else len(pool)
        if not 0 <= start <= end <= len(pool) or (end - start) % size:
            node.malformed(f"the pool has no sequences of {size} from {start} to {end}")
        for first in range(start, end, size):
            if position >= len(columns):
                node.malformed(f"{len(columns)} columns are too few for the pool")
            if shortest <= size <= longest:
                counted[pool[first : first + size]] = columns[position]
            position += 1
    own = tuple(by_column.get(c, 1.0) for c in range(width)) if weights else ()
    attrs = GramsAttrs(tuple(counted), tuple(counted.values()), width, skips + 1, mode, own)
    return build.add(node, "Grams", (x,), attrs)
