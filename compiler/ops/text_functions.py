"""What computes with texts: NormalizeTexts leaves some out, JoinTexts writes two behind each other.

Only ASCII letters have a small and a large form here: what others have fills more flash than a
small controller has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.graph import TEXT_BYTES, Array, DType, Shape, Tensor, read_only
from tinyc.compiler.ops import loops
from tinyc.compiler.ops.copying import broadcast_strides, dense_strides, strided_nest
from tinyc.compiler.ops.kernel import Constant, Kernel, Microkernel
from tinyc.compiler.ops.op import Call, Op, Type
from tinyc.targets import Target

CASES: dict[str, Callable[[bytes], bytes]] = {  # what they make of the letters of ASCII
    "NONE": bytes,
    "LOWER": bytes.lower,
    "UPPER": bytes.upper,
}


@dataclass(frozen=True, slots=True)
class NormalizeTextsAttrs:
    """shape  of the output: texts behind the last that is kept are empty, those without room lost
    stopwords  what is left out, without zeros, each short enough to be a text
    any_case   whether a stopword's letters may be small or large; `stopwords` are small then
    case       what letters become, of CASES
    """

    shape: Shape
    stopwords: tuple[bytes, ...] = ()
    any_case: bool = False
    case: str = "NONE"


def infer_normalized(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((attrs.shape, DType.TEXT),)


def normalized(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    a, count = call.attrs, call.output.elements
    texts = [
        text
        for text in arrays[0].reshape(-1).tolist()
        if (text.lower() if a.any_case else text) not in a.stopwords
    ]
    kept = [*map(CASES[a.case], texts), *[b""] * count][:count]
    return (np.array(kept, DType.TEXT.value).reshape(a.shape),)


def normalize_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    (x,), y, a = call.inputs, call.output, call.attrs
    table = np.frombuffer(b"".join(word + b"\0" for word in a.stopwords) or b"\0", np.uint8)
    words = Constant("stopwords", read_only(table))
    source, result = loops.buffer("x", x.elements, x.dtype), loops.buffer("y", y.elements, y.dtype)
    stopwords = loops.buffer(words.role, table.size, "uint8")
    run = loops.run(
        NORMALIZE.name, loops.pointer(source), x.elements, loops.pointer(result), y.elements,
        loops.pointer(stopwords), len(a.stopwords), int(a.any_case), list(CASES).index(a.case),
    )  # fmt: skip
    function = loops.function([source, result, stopwords], [run])
    return Kernel("normalize_texts", function, (words,), microkernels=(NORMALIZE,))


def infer_joined(inputs: tuple[Tensor, ...], attrs: Any) -> tuple[Type, ...]:
    return ((np.broadcast_shapes(*(t.shape for t in inputs)), DType.TEXT),)


def joined(call: Call, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """What there is no room for is cut off, before a character."""
    whole = [(bytes(a) + bytes(b))[:TEXT_BYTES] for a, b in np.broadcast(*arrays)]
    texts = [text.decode("utf-8", "ignore").encode() for text in whole]
    return (np.array(texts, DType.TEXT.value).reshape(call.output.shape),)


def join_kernel(call: Call, target: Target, schedule: Schedule) -> Kernel:
    y = call.output
    result = loops.buffer("y", y.elements, y.dtype)
    moving, fixed, operands, constants = [], [], [], []
    for letter, tensor in zip("ab", call.inputs, strict=True):
        if tensor.data is None:
            operands.append((loops.buffer(letter, tensor.elements, tensor.dtype), 1))
            moving.append(operands[-1][0])
        else:
            stored = read_only(tensor.data.reshape(-1).view(np.uint8))
            constants.append(Constant(f"texts_{letter}", stored))
            operands.append((loops.buffer(letter, stored.size, "uint8"), TEXT_BYTES))
            fixed.append(operands[-1][0])

    def join(to: Any, *places: Any) -> list[Any]:
        texts = [
            loops.pointer(operand, at * step)
            for (operand, step), at in zip(operands, places, strict=True)
        ]
        return [loops.run(JOIN.name, *texts, loops.pointer(result, to))]

    strides = [broadcast_strides(t.shape, y.shape) for t in call.inputs]
    body = strided_nest(y.shape, (dense_strides(y.shape), *strides), (0, 0, 0), join)
    function = loops.function([*moving, result, *fixed], body)
    return Kernel("join_texts", function, tuple(constants), microkernels=(JOIN,))


LENGTH = Microkernel("tinyc_text_length", """\
/* The bytes of a text before its zeros. */
static int32_t tinyc_text_length(const uint8_t *text) {
  int32_t length = 0;
  while (length < TINYC_TEXT_BYTES && text[length] != 0) {
    ++length;
  }
  return length;
}
""")  # fmt: skip

JOIN = Microkernel("tinyc_join_texts", """\
/* y = a, then as many characters of b as there is room for. */
static void tinyc_join_texts(const void *a, const void *b, void *y) {
  const uint8_t *more = b;
  const int32_t first = tinyc_text_length(a), length = tinyc_text_length(more);
  int32_t second = tinyc_min(length, TINYC_TEXT_BYTES - first);
  while (second > 0 && second < length && (more[second] & 0xC0u) == 0x80u) {
    --second;
  }
  uint8_t *to = y;
  memcpy(to, a, (uint32_t)first);
  memcpy(&to[first], more, (uint32_t)second);
  memset(&to[first + second], 0, (uint32_t)(TINYC_TEXT_BYTES - first - second));
}
""", (LENGTH,))  # fmt: skip

NORMALIZE = Microkernel("tinyc_normalize_texts", """\
/* A letter of ASCII made small (case 1) or large (case 2); other bytes stay. */
static uint8_t tinyc_letter(uint8_t c, int32_t letters) {
  const bool large = c >= 0x41u && c <= 0x5Au, small = c >= 0x61u && c <= 0x7Au;
  return ((letters == 1 && large) || (letters == 2 && small)) ? (uint8_t)(c ^ 0x20u) : c;
}

/* Whether a text is one of `count` words, each of which ends with a zero. */
static bool tinyc_is_word(const uint8_t *text, const uint8_t *words, int32_t count,
    int32_t letters) {
  const int32_t length = tinyc_text_length(text);
  for (; count > 0; --count) {
    int32_t same = 0;
    while (same < length && tinyc_letter(text[same], letters) == words[same]) {
      ++same;
    }
    if (same == length && words[same] == 0) {
      return true;
    }
    while (*words != 0) {
      ++words;
    }
    ++words;
  }
  return false;
}

/* Those texts that are no stopwords, in their order; what is behind them is empty. */
static void tinyc_normalize_texts(const void *x, int32_t texts, void *y, int32_t room,
    const uint8_t *stopwords, int32_t count, int32_t any_case, int32_t letters) {
  const uint8_t *text = x;
  uint8_t *to = y;
  for (; texts > 0 && room > 0; --texts, text += TINYC_TEXT_BYTES) {
    if (!tinyc_is_word(text, stopwords, count, any_case)) {
      for (int32_t i = 0; i < TINYC_TEXT_BYTES; ++i) {
        to[i] = tinyc_letter(text[i], letters);
      }
      to += TINYC_TEXT_BYTES;
      --room;
    }
  }
  memset(to, 0, (uint32_t)room * TINYC_TEXT_BYTES);
}
""", (LENGTH,))  # fmt: skip

TEXT_OPS = (
    Op("NormalizeTexts", infer_normalized, normalized, normalize_kernel),
    Op("JoinTexts", infer_joined, joined, join_kernel),
)
