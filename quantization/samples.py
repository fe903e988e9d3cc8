"""Calibration samples: an .npz file, a folder of .npy files or images, or Python arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array
from tinyc.compiler.interface_data import LABELS, labels_of, load_arrays, no_arrays
from tinyc.quantization.float_model import Value
from tinyc.quantization.images import Preprocessing, image_files, read_images

Data = str | Path | Mapping[str, Array] | Iterable[Any]
FEW = 32  # samples below which ranges are guesses
COVERED = 0.25  # of the range: what the last third of samples may add without a warning


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs by name, [samples, *shape of the input], and labels where there are some."""

    inputs: Mapping[str, Array]
    labels: Array | None

    @property
    def count(self) -> int:
        return len(next(iter(self.inputs.values())))

    def part(self, chosen: Array) -> "Samples":
        labels = None if self.labels is None else self.labels[chosen]
        return Samples({n: a[chosen] for n, a in self.inputs.items()}, labels)


def read_samples(
    data: Data, inputs: tuple[Value, ...], images: Preprocessing | None = None
) -> Samples:
    """Samples for the inputs of a model.

    Raises CompileError("bad-data") or ("wrong-input").
    """
    if isinstance(data, str | Path):
        path = Path(data)
        arrays = _folder(path, inputs, images) if path.is_dir() else load_arrays(path)
    elif isinstance(data, Mapping):
        arrays = {name: np.asarray(array) for name, array in data.items()}
    else:
        arrays = _stacked(list(data), inputs)
    chosen = _chosen(inputs, arrays)
    counts = {name: len(array) for name, array in chosen.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise CompileError(
            "bad-data", "the inputs need as many samples each, and one at the least", str(counts)
        )
    return Samples(chosen, labels_of(arrays, chosen, min(counts.values())))


def sample_warnings(samples: Samples, values: Mapping[str, Array]) -> list[str]:
    """What is doubtful: too few samples, or ranges that the last third still widened."""
    warnings: list[str] = []
    if samples.count < FEW:
        warnings.append(
            f"{samples.count} samples are few: ranges may not cover what the model will meet; "
            f"give {FEW} or more, of every class"
        )
    first = samples.count * 2 // 3
    if not first:
        return warnings
    widened: dict[str, float] = {}
    for name, array in values.items():
        low, high = float(array[:first].min()), float(array[:first].max())
        beyond = max(float(array.max()) - high, low - float(array.min()), 0.0)
        if beyond > COVERED * max(high - low, 1e-30):
            widened[name] = beyond / max(high - low, 1e-30)
    if widened:
        worst = max(widened, key=lambda name: widened[name])
        warnings.append(
            f"the last third of the samples widened the range of {len(widened)} of {len(values)} "
            f"tensors (most: '{worst}' by {widened[worst]:.0%}): give more samples, and more "
            "different ones"
        )
    return warnings


def _folder(
    path: Path, inputs: tuple[Value, ...], images: Preprocessing | None
) -> dict[str, Array]:
    """Files of a folder: `<input>.npy` with all samples, or a sample in each file."""
    arrays = sorted(path.glob("*.npy"))
    pictures = image_files(path)
    if arrays:
        loaded = {file.stem: _load_npy(file) for file in arrays}
        if {v.name for v in inputs} <= set(loaded):
            return loaded
        labels = {name: loaded.pop(name) for name in LABELS if name in loaded}
        return _stacked(list(loaded.values()), inputs) | labels
    if pictures and len(inputs) == 1:
        return {inputs[0].name: read_images(pictures, inputs[0].shape, images)}
    raise CompileError(
        "bad-data",
        "the folder has neither .npy files nor images for the model's one input",
        f"folder '{path}'",
        "give a folder of .npy, .png, .jpg, .bmp, .ppm or .pgm files, or an .npz file",
    )


def _load_npy(file: Path) -> Array:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CompileError("bad-data", "the file is no .npy array", f"file '{file}'") from error


def _stacked(samples: Sequence[Any], inputs: tuple[Value, ...]) -> dict[str, Array]:
    """Samples one by one, each an array or the arrays of all inputs by name."""
    if not samples:
        raise CompileError("bad-data", "there are no samples")
    if isinstance(samples[0], Mapping):
        return {v.name: np.stack([np.asarray(s[v.name]) for s in samples]) for v in inputs}
    if len(inputs) != 1:
        raise CompileError(
            "wrong-input",
            f"the model has {len(inputs)} inputs, and a sample is one array",
            help="give each sample as a dictionary by input name",
        )
    return {inputs[0].name: np.stack([np.asarray(s) for s in samples])}


def _chosen(inputs: tuple[Value, ...], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of the inputs: by name, or the only one of the right size."""
    chosen = {v.name: arrays[v.name] for v in inputs if v.name in arrays}
    if len(chosen) < len(inputs) and len(inputs) == 1:
        fits = [
            n
            for n, a in arrays.items()
            if n not in LABELS and a.ndim and _size(a.shape[1:]) == _size(inputs[0].shape)
        ]
        named = [n for n in fits if n.startswith("x")] or fits
        if len(named) == 1:
            chosen = {inputs[0].name: arrays[named[0]]}
    if len(chosen) < len(inputs):
        raise no_arrays([f"'{v.name}' {v.dtype}{list(v.shape)}" for v in inputs], arrays)
    return {v.name: _shaped(chosen[v.name], v) for v in inputs}


def _shaped(array: Array, value: Value) -> Array:
    if array.dtype.kind not in "biuf":
        raise CompileError(
            "wrong-input",
            f"the model needs {value.dtype}, the data is {array.dtype}",
            f"input '{value.name}'",
            "give real numbers",
        )
    if array.size % max(_size(value.shape), 1):
        raise CompileError(
            "wrong-input",
            f"samples of {list(value.shape)} are needed, the data has {list(array.shape)}",
            f"input '{value.name}'",
        )
    shaped = np.ascontiguousarray(array.reshape(-1, *value.shape).astype(value.dtype))
    if shaped.dtype.kind == "f" and not np.isfinite(shaped).all():
        raise CompileError(
            "bad-data", "the samples hold values that are not finite", f"input '{value.name}'"
        )
    return shaped


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
