"""Calibration samples: an .npz file, a folder of .npy files or images, or Python arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Shape
from tinyc.compiler.interface_data import LABELS, labels_of, load_array, load_arrays, no_arrays
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
    if images is not None and not holds_images(data):
        raise CompileError(
            "wrong-option", "only images are pre-processed, and the samples are arrays", "--images",
            "leave it out and give arrays as the model takes them, or give a folder of images",
        )  # fmt: skip
    if isinstance(data, str | Path):
        path = Path(data)
        arrays = _folder(path, inputs, images) if path.is_dir() else load_arrays(path)
    elif isinstance(data, Mapping):
        arrays = {name: np.asarray(array) for name, array in data.items()}
    else:
        arrays = _stacked([(f"sample {i}", sample) for i, sample in enumerate(data)], inputs)
    chosen = _chosen(inputs, arrays)
    counts = {name: len(array) for name, array in chosen.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise CompileError(
            "bad-data",
            "the inputs need as many samples each, and one at the least",
            ", ".join(f"'{name}' has {count}" for name, count in counts.items()),
            "give a sample of every input each time",
        )
    return Samples(chosen, labels_of(arrays, chosen, min(counts.values())))


def holds_images(data: Data) -> bool:
    """Whether the samples are a folder of images."""
    if not isinstance(data, str | Path):
        return False
    path = Path(data)
    return path.is_dir() and not any(path.glob("*.npy")) and bool(image_files(path))


def sample_warnings(samples: Samples, values: Mapping[str, Array]) -> list[str]:
    """What is doubtful: too few samples, all alike, or ranges that the last third still widened."""
    warnings: list[str] = []
    if samples.count < FEW:
        few = "1 sample is" if samples.count == 1 else f"{samples.count} samples are"
        warnings.append(
            f"{few} few: ranges may not cover what the model will meet; "
            f"give {FEW} or more, of every class"
        )
    for name, array in samples.inputs.items():
        if samples.count > 1 and (array == array[:1]).all():
            warnings.append(f"all samples of '{name}' are the same: give what the model will meet")
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
        loaded = {file.stem: load_array(file) for file in arrays}
        if {v.name for v in inputs} <= set(loaded):
            return loaded
        labels = {name: loaded.pop(name) for name in LABELS if name in loaded}
        files = [(f"file '{path / stem}.npy'", array) for stem, array in loaded.items()]
        return _stacked(files, inputs) | labels
    if pictures and len(inputs) == 1:
        return {inputs[0].name: read_images(pictures, inputs[0].shape, images)}
    raise CompileError(
        "bad-data",
        "the folder has neither .npy files nor images for the model's one input",
        f"folder '{path}'",
        "give a folder of .npy, .png, .jpg, .bmp, .ppm or .pgm files, or an .npz file",
    )


def _stacked(samples: Sequence[tuple[str, Any]], inputs: tuple[Value, ...]) -> dict[str, Array]:
    """Samples one by one or in batches, each an array or the arrays of all inputs by name.

    samples  where each comes from, and what it is
    """
    if not samples:
        raise CompileError("bad-data", "there are no samples", help="give one at the least")
    if any(isinstance(sample, Mapping) for _, sample in samples):
        return _stacked_by_name(samples, inputs)
    if len(inputs) != 1:
        raise CompileError(
            "wrong-input",
            f"the model has {len(inputs)} inputs, and a sample is one array",
            help="give each sample as a dictionary by input name",
        )
    (value,) = inputs
    return {value.name: np.concatenate([_shaped(_array(s, at), value, at) for at, s in samples])}


def _stacked_by_name(
    samples: Sequence[tuple[str, Any]], inputs: tuple[Value, ...]
) -> dict[str, Array]:
    """Of dictionaries, which may hold labels too."""
    parts: dict[str, list[Array]] = {}
    for at, sample in samples:
        given = sample if isinstance(sample, Mapping) else {}
        arrays = {str(name): _array(array, at) for name, array in given.items()}
        if any(v.name not in arrays for v in inputs):
            raise no_arrays(list(map(_text, inputs)), arrays, at)
        labels = {name: arrays[name].reshape(-1) for name in LABELS if name in arrays}
        shaped = {v.name: _shaped(arrays[v.name], v, at) for v in inputs}
        for name, array in {**labels, **shaped}.items():
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _array(sample: Any, where: str) -> Array:
    try:
        return np.asarray(sample)
    except (ValueError, TypeError) as error:
        raise CompileError(
            "wrong-input", "a sample is no array of numbers", where,
            "give each sample as an array, or as a dictionary of arrays by input name",
        ) from error  # fmt: skip


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
        raise no_arrays(list(map(_text, inputs)), arrays)
    return {v.name: _shaped(chosen[v.name], v, f"input '{v.name}'") for v in inputs}


def _shaped(array: Array, value: Value, where: str) -> Array:
    """[samples, *shape of the input]"""
    if array.dtype.kind not in "biuf":
        raise CompileError(
            "wrong-input",
            f"the model needs {value.dtype}, the data is {array.dtype}",
            where,
            "give real numbers",
        )
    if not _fits(array.shape, value.shape):
        raise CompileError(
            "wrong-input",
            f"samples of {list(value.shape)} are needed, the data has {list(array.shape)}",
            where,
            "put the samples along the first axis, each with its axes in the model's order",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        shaped = np.ascontiguousarray(array.reshape(-1, *value.shape).astype(value.dtype))
    finite = np.isfinite(array).reshape(shaped.shape) & np.isfinite(shaped)
    bad = np.flatnonzero(~finite.all(axis=tuple(range(1, shaped.ndim))))
    if bad.size:
        raise CompileError(
            "bad-data",
            f"values are not finite in {bad.size} of {len(shaped)} samples, first in {bad[0]}",
            where,
            "leave these samples out, or fill gaps as they will be filled on the device",
        )
    return shaped


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Whether arrays hold samples, one or along the first axis: as they are, flat, or in batches.

    Axes of length 1 may be more or fewer. Others in another order would be taken for what they are
    not: pixels of [16, 16, 3] are not those of [3, 16, 16].
    """
    plain, flat = _plain(wanted), (_size(wanted),)
    batches = len(shape) == len(wanted) > 0 and shape[1:] == wanted[1:]
    return (
        plain in (_plain(shape), _plain(shape[1:]))
        or flat in (shape, shape[1:])
        or (batches and shape[0] % wanted[0] == 0)
    )


def _plain(shape: Shape) -> Shape:
    return tuple(n for n in shape if n != 1)


def _text(value: Value) -> str:
    return f"'{value.name}' {value.dtype}{list(value.shape)}"


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
