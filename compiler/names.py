"""Names of the model as names of C: valid, unique, never a keyword; and short ones for people."""

import re
from collections.abc import Container, Iterable, Sequence

KEYWORDS = frozenset(
    # C11 6.4.1, C++11 2.12, and what the headers we include define
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool catch "
    "char16_t char32_t class compl const_cast constexpr decltype delete dynamic_cast explicit "
    "export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq "
    "private protected public reinterpret_cast static_assert static_cast template this "
    "thread_local throw true try typeid typename using virtual wchar_t xor xor_eq arena main "
    "NULL INFINITY NAN errno isinf isnan memcpy memset memmove memcmp "
    # math.h, 7.12, and what compilers know of it without a header
    "abs acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 "
    "expm1 fabs fdim floor fma fmax fmin fmod frexp gamma hypot ilogb j0 j1 jn ldexp lgamma "
    "log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter pow remainder remquo "
    "rint round scalbln scalbn signbit sin sinh sqrt tan tanh tgamma trunc y0 y1 yn".split()
)
MOST_SHORT_CHARACTERS = 28
MOST_LISTED = 3  # of several names


def c_name(name: str) -> str:
    """`name` with every character that C does not allow replaced; "StatefulCall:0" -> "_0"."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    text = re.sub(r"__+", "_", text)
    if not text.strip("_"):
        text = "x"
    if text[0].isdigit() or text[0] == "_":  # leading underscores are the implementation's
        text = f"x{text}" if text[0] == "_" else f"x_{text}"
    return f"{text}_" if text in KEYWORDS else text


def unique_name(name: str, taken: Container[str]) -> str:
    """A C name like `name` that is not in `taken`."""
    base = candidate = c_name(name)
    number = 2
    while candidate in taken:
        candidate, number = f"{base}_{number}", number + 1
    return candidate


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A C name for each of `names`, all different and none in `taken`."""
    used = set(taken)
    unique: dict[str, str] = {}
    for name in names:
        unique[name] = unique_name(name, used)
        used.add(unique[name])
    return unique


def short_name(name: str) -> str:
    """The part of the name of a node or tensor that tells most.

    Of fused nodes the last one; converters join whole paths, of which the first is its own.
    """
    last = name.partition("\t")[0].rpartition(" + ")[2].partition(";")[0]
    last = last.removesuffix("_quantize").removesuffix("_prequant")
    return last if len(last) <= MOST_SHORT_CHARACTERS else f"...{last[3 - MOST_SHORT_CHARACTERS :]}"


def short_names(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    listed, more = ", ".join(map(short_name, names[:MOST_LISTED])), len(names) - MOST_LISTED
    return f"{listed} and {more} more" if more > 0 else listed
