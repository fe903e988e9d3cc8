"""Images as samples, with the pre-processing that the user states."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import Array, Shape

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")
HELP = "state it as in --images scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """value = (pixel * scale - mean[channel]) / std[channel]; pixels are 0 to 255.

    The picture is scaled to the model's height and width by bilinear interpolation; the layout
    and the number of channels (1: grey) are the input's.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def parse_preprocessing(text: str) -> Preprocessing:
    """`scale=1/255,mean=0.5,std=0.5`.

    Raises ValueError.
    """
    fields: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name == "scale":
            above, _, below = value.partition("/")
            fields[name] = float(above) / float(below or 1)
        elif name in ("mean", "std"):
            fields[name] = tuple(float(v) for v in value.split(":"))
        else:
            raise ValueError(f"'{name}' is none of scale, mean, std")
    stated = Preprocessing(**fields)
    if not np.isfinite([stated.scale, *stated.mean, *stated.std]).all() or 0 in stated.std:
        raise ValueError("numbers have to be finite, and those of std not 0")
    return stated


def image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def read_images(files: Sequence[Path], shape: Shape, stated: Preprocessing | None) -> Array:
    """[images, *shape] of float32.

    Raises CompileError when the pre-processing is not stated, or an image cannot be read.
    """
    if stated is None:
        raise CompileError("no-preprocessing", "what happens to pixels is not stated", help=HELP)
    height, width, channels, first = _layout(shape)
    for name, numbers in (("mean", stated.mean), ("std", stated.std)):
        if len(numbers) not in (1, channels):
            raise CompileError(
                "bad-preprocessing",
                f"{name} has {len(numbers)} numbers, the number of channels is {channels}",
                help="give one number for all channels, or one for each",
            )
    rows = [_pixels(file, (width, height), channels) for file in files]
    pixels = np.stack(rows).astype(np.float32) * np.float32(stated.scale)
    values = (pixels - np.array(stated.mean, np.float32)) / np.array(stated.std, np.float32)
    ordered = values.transpose(0, 3, 1, 2) if first else values
    return np.ascontiguousarray(ordered.reshape(-1, *shape).astype(np.float32))


def _layout(shape: Shape) -> tuple[int, int, int, bool]:
    """Height, width, channels, and whether channels come first."""
    match shape[-3:]:
        case (height, width, channels) if channels in (1, 3):
            return height, width, channels, False
        case (channels, height, width) if channels in (1, 3):
            return height, width, channels, True
        case (height, width) if height > 1:
            return height, width, 1, False
    raise CompileError(
        "wrong-input", f"an image of 1 or 3 channels does not fit an input of {list(shape)}",
        help="give the samples as arrays in an .npz file",
    )  # fmt: skip


def _pixels(file: Path, size: tuple[int, int], channels: int) -> Array:
    """[height, width, channels] of uint8."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise CompileError(
            "pillow-missing", "images are read by Pillow, which is not installed",
            help="pip install 'tinyc[images]'",
        ) from error  # fmt: skip
    try:
        with Image.open(file) as image:
            mode = "L" if channels == 1 else "RGB"
            scaled = image.convert(mode).resize(size, Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError) as error:
        raise CompileError(
            "bad-data", "the image cannot be read", f"file '{file}'",
            "take it out of the folder, or save it anew",
        ) from error  # fmt: skip
    return np.asarray(scaled, np.uint8).reshape(size[1], size[0], channels)
