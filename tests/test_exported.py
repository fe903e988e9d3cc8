"""Models as exporters write them: both of PyTorch, and onnxruntime's quantizer on them."""

from pathlib import Path

import numpy as np
import pytest

from tests.harness import optimized, run_c
from tinyc.compiler.graph import Array
from tinyc.compiler.onnx_import.reading import read_onnx

FOLDER = Path(__file__).parent / "data" / "exported"
MODELS = sorted(FOLDER.glob("*.onnx"))


def values(net: str, letter: str) -> list[Array]:
    """What PyTorch took (`x`) or gave (`y`)."""
    with np.load(FOLDER / "samples.npz") as file:
        names = [
            n for n in file.files if n.startswith(f"{net}_{letter}") and n[len(net) + 2 :].isdigit()
        ]
        return [file[n] for n in sorted(names)]


def net_of(path: Path) -> str:
    """`lstm_deep` of `lstm_deep_dynamo_batch.onnx`."""
    return path.stem.removesuffix("_batch").rpartition("_")[0]


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_an_exported_model_computes_what_pytorch_does(path: Path) -> None:
    graph = optimized(read_onnx(path))
    sample = dict(zip(graph.inputs, values(net_of(path), "x"), strict=True))

    (found,) = run_c(graph, [sample])

    for name, wanted in zip(graph.outputs, values(net_of(path), "y"), strict=True):
        if wanted.dtype.kind == "f":
            tolerance = 1e-5 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=tolerance)
        else:
            np.testing.assert_array_equal(found[name], wanted)
