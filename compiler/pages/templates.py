"""The templates of the pages, and how they are filled in."""

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from tinyc.compiler.names import short_name, short_names


def _source(template: str) -> str:
    return (files("tinyc.compiler.pages") / template).read_text("utf-8")


def _printed(value: object) -> object:
    """Coordinates in few characters, anything else as it is."""
    return f"{round(value, 1):g}" if isinstance(value, float) else value


def _thousands(value: int) -> str:
    return f"{value:,}"


ENVIRONMENT = Environment(
    loader=FunctionLoader(_source),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    finalize=_printed,
)
ENVIRONMENT.filters |= {"short": short_name, "listed": short_names, "thousands": _thousands}


def filled(template: str, values: Mapping[str, object]) -> str:
    """The text of a template of this folder; what is not marked as safe is escaped."""
    return ENVIRONMENT.get_template(template).render(values)
