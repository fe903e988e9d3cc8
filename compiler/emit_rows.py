"""The public functions of a model whose caller hands in the input row by row."""

from collections.abc import Iterable


def state_lines(name: str, rows: Iterable[str], firsts: Iterable[str]) -> list[str]:
    """The type of what is remembered between two rows."""
    return [
        "/* What is remembered between two rows of the input. */",
        "typedef struct {",
        "  /* rows that have come, and rows that layers have computed */",
        *(f"  int32_t {field};" for field in rows),
        "  /* bytes that the windows begin with */",
        *(f"  int32_t {field};" for field in firsts),
        f"}} {name}_state;",
        "",
    ]


def begin_lines(name: str, prototype: str, place: str, unused: Iterable[str]) -> list[str]:
    """
    place  of the state
    """
    return [
        f"{prototype} {{",
        *unused,
        f"  memset({place}, 0, sizeof({name}_state));",
        "}",
        "",
    ]


def push_row_lines(
    prototype: str, rows: int, declarations: Iterable[str], pushed: str, push: Iterable[str]
) -> list[str]:
    """
    rows    of the input
    pushed  the variable that counts those that have come
    push    the statements that take one more, and run the layers that have their rows
    """
    return [
        f"{prototype} {{",
        *declarations,
        f"  if ({pushed} < {rows}) {{",
        *(f"    {line}" for line in push),
        "  }",
        f"  return tinyc_max({rows} - {pushed}, 0);",
        "}",
        "",
    ]


def finish_lines(
    prototype: str, rows: int, declarations: Iterable[str], pushed: str, body: Iterable[str]
) -> list[str]:
    """After the last row all layers of the first stage are done: the `body` is what follows."""
    return [
        f"{prototype} {{",
        *declarations,
        f"  if ({pushed} != {rows}) {{",
        "    return false;",
        "  }",
        f"  {pushed} = {rows + 1}; /* no rows until the next inference begins */",
        *body,
        "  return true;",
        "}",
        "",
    ]
