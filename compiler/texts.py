"""Texts as a device stores them: UTF-8 in so many bytes, the rest zeros."""

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import TEXT_BYTES, Array, DType


def stored_texts(texts: Array, where: str) -> Array:
    """The `str` or `bytes` in `texts` as an array of DType.TEXT.

    Raises CompileError("too-large").
    """
    stored = [t if isinstance(t, bytes) else str(t).encode() for t in texts.reshape(-1).tolist()]
    longest = max(map(len, stored), default=0)
    if longest > TEXT_BYTES:
        raise CompileError(
            "too-large",
            f"a text has {longest} bytes of UTF-8, there is room for {TEXT_BYTES}",
            where,
            "shorten it",
        )
    return np.array(stored, DType.TEXT.value).reshape(texts.shape)
