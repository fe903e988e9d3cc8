"""TfIdfVectorizer of numbers; StringNormalizer and StringConcat of short texts."""

import numpy as np

from tinyc.compiler.graph import TEXT_BYTES, DType, Shape, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode
from tinyc.compiler.ops.grams import MODES, GramsAttrs
from tinyc.compiler.ops.text_functions import CASES, NormalizeTextsAttrs
from tinyc.compiler.texts import stored_texts

MOST_VALUES = 1 << 20  # of a row of the output
OTHER_LETTERS = ("az", "tr")  # languages whose i and I are two letters


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


def read_string_normalizer(build: Builder, node: ModelNode) -> Tensor:
    """How many texts are left the run decides: there is room for as many as the model says."""
    x = build.operand(node, 0)
    case, any_case = (
        node.text("case_change_action", "NONE"),
        not node.integer("is_case_sensitive", 0),
    )
    words = tuple(word.encode() for word in node.texts("stopwords") or ())
    if x.dtype != DType.TEXT or len(x.shape) not in (1, 2) or x.shape[:-1] not in ((), (1,)):
        node.malformed(f"it normalizes {x.dtype}{list(x.shape)}")
    if case not in CASES:
        node.malformed(f"there is no case '{case}'")
    if any_case and any(not word.isascii() for word in words):
        node.refuse(
            "stopwords in any case that are not of ASCII letters are not supported",
            "compare them as they are, by is_case_sensitive",
        )
    if case != "NONE" or (any_case and words):
        if node.text("locale", "")[:2] in OTHER_LETTERS:
            node.refuse("its locale's small and large letters are not supported")
        build.notes.append(f"{node.where} takes only ASCII letters as small and large ones")
    possible = tuple(w for w in words if len(w) <= TEXT_BYTES and b"\0" not in w)
    small = tuple(dict.fromkeys(w.lower() if any_case else w for w in possible))
    shape = _room_for_texts(build, node, x.shape) if words else x.shape
    attrs = NormalizeTextsAttrs(shape, small, any_case, case)
    return build.add(node, "NormalizeTexts", (x,), attrs)


def _room_for_texts(build: Builder, node: ModelNode, given: Shape) -> Shape:
    shape = build.declared.get(node.outputs[0])
    if 0 in given:
        node.refuse("an input without texts is not supported", "leave the node out")
    if shape is None:
        node.refuse(
            "how many texts are left is known at run time only",
            "declare the shape of its output in the model: texts behind the last one are empty",
        )
    if len(shape) != len(given) or shape[:-1] != given[:-1] or shape[-1] < 1:
        node.malformed(f"its output is declared as {list(shape)}, its input has {list(given)}")
    build.notes.append(
        f"{node.where} gives the first {shape[-1]} texts that are left, as the model says; "
        "those behind the last one are empty"
    )
    return shape


def read_string_concat(build: Builder, node: ModelNode) -> Tensor:
    a, b = (_texts(build, node, index) for index in range(2))
    if a.data is not None and b.data is not None and a.elements and b.elements:
        node.refuse("both of its inputs are constants", "make its output a constant")
    build.notes.append(f"{node.where} cuts texts off at {TEXT_BYTES} bytes of UTF-8")
    return build.binary(node, "JoinTexts", a, b)


def _texts(build: Builder, node: ModelNode, index: int) -> Tensor:
    """An operand as texts; constants are held as positions among their different ones."""
    x = build.operand(node, index)
    if x.name in build.beside.texts and x.data is not None:
        texts = np.array(build.beside.texts[x.name], object)[x.data]
        return build.constant(f"{x.name}/texts", stored_texts(texts, node.where), DType.TEXT)
    if x.dtype != DType.TEXT:
        node.refuse("only texts of the model's inputs and constants are supported")
    return x
