"""Calls into onnx and protobuf on a user's file, which may be damaged in any way."""

from collections.abc import Callable
from typing import TypeVar

from tinyc.compiler.errors import CompileError

Result = TypeVar("Result")


def guarded(call: Callable[[], Result], code: str, message: str, where: str) -> Result:
    """The result of `call`, with whatever it raises as a CompileError.

    The one place that catches Exception: onnx's checker, inliner, converter and evaluator raise
    their own types, protobuf's, RuntimeError, IndexError, KeyError, TypeError, ValueError,
    AttributeError and NotImplementedError on damaged files, and no list of them is complete.
    """
    try:
        return call()
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(code, f"{message}: {first_line(error)}", where) from error


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, at most 200 characters."""
    lines = [line.strip(" .") for line in str(error).splitlines()]
    text = next((line for line in lines if line), type(error).__name__)
    return text if len(text) <= 200 else f"{text[:197]}..."
