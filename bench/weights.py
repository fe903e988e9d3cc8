"""How long a build takes by `--weights`: tinyc's own time, and the C compiler's for the tables."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from bench.models import BY_NAME
from bench.tables import table
from tinyc.compiler.options import Options
from tinyc.compiler.pipeline import compile_model
from tinyc.targets import load_target
from tinyc.targets.firmware import Weights
from tinyc.targets.toolchain import build, encoded, find_compiler

TARGET = "cortex-m4"
LARGEST = "fcae_toycar_h5_f32"  # of the real models
FORMATS: tuple[Weights, ...] = ("c", "incbin")
INPUTS, OUTPUTS = 1024, 1280  # of the model that is made for this: 5 MiB of floats
FLASH_BYTES = 8 << 20  # for the larger of the two


def weights_section() -> Iterator[str]:
    yield "\n## Building large tables for the Cortex-M4, best of three\n"
    yield "tinyc: in a warm process. C compiler: arm-none-eabi-gcc, for the file of the tables.\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = (BY_NAME[LARGEST].path, _made(folder))
        rows = [_row(model, weights, folder) for model in models for weights in FORMATS]
    yield table("model | tables B | `--weights` | text B | tinyc s | C compiler s", rows)


def _made(folder: Path) -> Path:
    """A model of one dense layer with random weights."""
    weights = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    ports = [
        make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, size))
        for name, size in (("x", INPUTS), ("y", OUTPUTS))
    ]
    constant = onnx.numpy_helper.from_array(weights, "w")
    graph = make_graph(
        [make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [constant]
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=10)
    path = folder / "one_dense_of_5_mib.onnx"
    onnx.save(model, str(path))
    return path


def _row(model: Path, weights: Weights, folder: Path) -> tuple[object, ...]:
    target = load_target(TARGET)
    regions = [r if r.kind == "ram" else replace(r, bytes=FLASH_BYTES) for r in target.regions]
    target = replace(target, regions=tuple(regions))
    compiler = find_compiler(target)
    artifact = compile_model(model, target, Options(weights=weights))
    files = {n: text for n, text in artifact.files.items() if "_weights." in n}
    text = sum(len(encoded(files[n])) for n in files if not n.endswith(".bin"))
    own = _seconds(lambda: compile_model(model, target, Options(weights=weights)))
    built = _seconds(lambda: build(compiler, target, files, folder / weights))
    sizes = (f"{artifact.report.weights_bytes:,}", weights, f"{text:,}")
    return (artifact.name, *sizes, f"{own:.2f}", f"{built:.2f}")


def _seconds(action: Callable[[], object]) -> float:
    """Wall time, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begin)
    return best
