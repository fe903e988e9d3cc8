"""C expressions of integers, which know when they need parentheses as a part of others."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an expression; it is `whole` when it can be a part of any other as it is.

    Names, numbers, calls and what has parentheses are whole; sums and products are not.
    """

    text: str
    whole: bool = True

    def __str__(self) -> str:
        return self.text

    def __mul__(self, factor: int) -> "Expression":
        return self if factor == 1 else Expression(f"{self._part()} * {factor}", whole=False)

    def __add__(self, offset: int) -> "Expression":
        if offset == 0:
            return self
        sign = "-" if offset < 0 else "+"
        return Expression(f"{self.text} {sign} {abs(offset)}", whole=False)

    def __rsub__(self, minuend: int) -> "Expression":
        return Expression(f"{minuend} - {self._part()}", whole=False)

    def _part(self) -> str:
        return self.text if self.whole else f"({self.text})"


def smallest(first: Expression, *others: Expression | int) -> Expression:
    for other in others:
        first = Expression(f"tinyc_min({first}, {other})")
    return first


def largest(one: Expression, other: int) -> Expression:
    return Expression(f"tinyc_max({one}, {other})")


def either(condition: str, then: Expression, otherwise: int) -> Expression:
    """`then` where the condition holds."""
    return Expression(f"(({condition}) ? {then} : {otherwise})")
