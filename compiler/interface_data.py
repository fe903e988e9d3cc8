"""Samples for a model's inputs: from files, and as an interface of stored integers takes them."""

import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tinyc.compiler.artifact import Port
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.ops.quantize import quantized
from tinyc.passes.tree_inputs import stored_features

LABELS = ("y", "label", "labels")
NOT_READ = OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, zlib.error


def load_arrays(path: str | Path) -> dict[str, Array]:
    """The arrays of an `.npz` file, or the one of an `.npy` file by the file's name.

    Raises CompileError("bad-data") when it is neither.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return {Path(path).stem: file}
        with file:
            return {name: file[name] for name in file.files}
    except NOT_READ as error:
        raise _unread(path, error) from error


def load_array(path: Path) -> Array:
    """The array of an `.npy` file.

    Raises CompileError("bad-data").
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except NOT_READ as error:
        raise _unread(path, error) from error


def _unread(path: str | Path, error: Exception) -> CompileError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return CompileError(
        "bad-data",
        f"the data cannot be read: {reason.lower() or 'no .npz or .npy file of numbers'}",
        f"file '{path}'",
        "give an .npz or .npy file, as numpy.savez and numpy.save write them",
    )


def labels_of(
    arrays: Mapping[str, Array], inputs: Collection[str], count: int, limit: int | None = None
) -> Array | None:
    """The classes of `count` samples by number; None where the data has none.

    Raises CompileError("bad-data") when there are more or fewer, or no numbers.
    """
    name = next((k for k in LABELS if k in arrays and k not in inputs), None)
    if name is None:
        return None
    labels = np.atleast_1d(arrays[name])[:limit]
    if len(labels) != count:
        raise CompileError(
            "bad-data",
            f"there are {len(labels)} labels for {count} samples",
            f"array '{name}'",
            "give one label for each sample, or leave them out",
        )
    if labels.dtype.kind not in "biuf":
        raise CompileError(
            "bad-data",
            f"labels are numbers of classes, the data has {labels.dtype}",
            f"array '{name}'",
            "give the place of each sample's class among the scores, from 0 on, or leave them out",
        )
    return _classes(labels)


def _classes(labels: Array) -> Array | None:
    """Numbers of classes, also of rows with a single 1; None of other targets."""
    rows = labels.reshape(len(labels), -1)
    if rows.shape[1] > 1 and np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all():
        return np.asarray(rows.argmax(axis=1))
    if rows.shape[1] != 1 or not np.isfinite(rows).all() or (rows != np.rint(rows)).any():
        return None
    return np.asarray(rows[:, 0].astype(np.int64))


def choose_inputs(
    ports: tuple[Port, ...],
    arrays: Mapping[str, Array],
    dtypes: Mapping[str, np.dtype[Any]] = MappingProxyType({}),
) -> dict[str, Array]:
    """The arrays that are inputs: by name, or the only one of the right type and shape.

    dtypes  what an input may have beside the port's type
    """
    chosen = {p.name: np.atleast_1d(arrays[p.name]) for p in ports if p.name in arrays}
    if len(chosen) == len(ports):
        return chosen
    if len(ports) == 1:
        (port,) = ports
        types = {np.dtype(port.dtype.value), dtypes.get(port.name)}
        fits = [
            n
            for n, a in arrays.items()
            if n not in LABELS and a.dtype in types and a.ndim > 0 and a[0].size == port.elements
        ]
        named_like_inputs = [n for n in fits if n.startswith("x")] or fits
        if len(named_like_inputs) == 1:
            samples = arrays[named_like_inputs[0]]
            return {port.name: samples.reshape(len(samples), *port.shape)}
    raise no_arrays([f"'{p.name}' {p.dtype}{list(p.shape)}" for p in ports], arrays)


def no_arrays(
    needed: Iterable[str], arrays: Mapping[str, Array], whose: str = "the data"
) -> CompileError:
    """The error of data without the arrays `needed`: name, type and shape of inputs."""
    held = ", ".join(f"'{n}' {a.dtype}{list(a.shape)}" for n, a in arrays.items())
    return CompileError(
        "wrong-input",
        f"the data has no arrays for the model's inputs: {', '.join(needed)}",
        f"arrays of {whose}: {held or 'none'}",
        "name the arrays like the model's inputs, with the samples along the first axis",
    )


def stored_samples(samples: Array, port: Port, dtype: np.dtype[Any]) -> Array:
    """Samples as the compiled model has them: stored integers for floats of the file.

    samples  [n, *shape], or one sample
    dtype    of the value in the model's file
    """
    if samples.dtype.kind != "f" or dtype.kind != "f" or port.dtype.is_float:
        return samples
    samples = samples.reshape(-1, *port.shape)
    if port.quant is not None and port.quant.axis is None:
        return quantized(samples, port.dtype, port.quant)
    return stored_features(samples, port.quant)  # `--io-dtype int16`


def real_samples(samples: Array, port: Port, dtype: np.dtype[Any]) -> Array:
    """Samples as the model's file has them: floats for stored integers of the compiled model."""
    if samples.dtype.kind not in "iu" or dtype.kind != "f":
        return samples
    samples = samples.reshape(-1, *port.shape)
    if port.quant is None:
        return samples.astype(dtype)
    shape = [1] * samples.ndim
    if port.quant.axis is not None:
        shape[1 + port.quant.axis] = -1
    steps = samples.astype(np.int64) - np.reshape(port.quant.zero_point, shape)
    return np.asarray(steps * np.reshape(port.quant.scale, shape), dtype)
