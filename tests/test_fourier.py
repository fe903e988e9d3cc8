"""DFT and STFT of many lengths, axes and directions, against NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from tests.harness import onnx_model, optimized, read_model, run_c
from tinyc.compiler.graph import Array
from tinyc.compiler.interpreter import run

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 15, 16, 20, 32, 45, 64, 97, 100, 128, 240, 256, 512)


def signal(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def complex_of(x: Array) -> Array:
    return np.asarray(x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0))


def parts(y: Array) -> Array:
    return np.stack([y.real, y.imag], -1)


def transforms(nodes: list[onnx.NodeProto], inputs: dict[str, Array], constants: dict[str, Array],
               folder: Path, target: str = "host") -> dict[str, Array]:  # fmt: skip
    """All nodes' outputs as one program's, which the graph's meaning agrees with."""
    given = {n: ("float32", x.shape) for n, x in inputs.items()}
    ranks = {
        node.output[0]: 4 if node.op_type == "STFT" else inputs[node.input[0]].ndim
        for node in nodes
    }
    outputs = {output: ("float32", (None,) * rank) for output, rank in ranks.items()}
    model = onnx_model(nodes, given, outputs, constants, 20)
    graph = optimized(read_model(model, folder))
    (answer,) = run_c(graph, [inputs], target)
    meant = run(graph, inputs)
    for name, value in answer.items():
        np.testing.assert_allclose(value, meant[name], 1e-5, 1e-6 * np.abs(meant[name]).max())
    return answer


def assert_close(found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, 0, 2e-6 * max(np.abs(wanted).max(), 1e-9))


@pytest.mark.parametrize(
    "kind",
    [
        "real",
        pytest.param("onesided", marks=pytest.mark.slow),
        "complex",
        "inverse",
        "inverse onesided",
    ],
)
def test_transforms_of_all_lengths(kind: str, tmp_path: Path) -> None:
    """One program has all lengths."""
    inverse, onesided = "inverse" in kind, "onesided" in kind
    inputs, nodes, constants = {}, [], {"axis": np.array(1, np.int64)}
    for n in LENGTHS:
        size = n // 2 + 1 if inverse and onesided else n
        inputs[f"x{n}"] = signal(2, size, 1 if kind in ("real", "onesided") else 2)
        constants[f"n{n}"] = np.array(n, np.int64)
        nodes.append(make_node("DFT", [f"x{n}", f"n{n}", "axis"], [f"y{n}"], name=f"dft{n}",
                               inverse=int(inverse), onesided=int(onesided)))  # fmt: skip

    found = transforms(nodes, inputs, constants, tmp_path)

    for n in LENGTHS:
        x = complex_of(inputs[f"x{n}"]).astype(np.complex128)
        if inverse and onesided:
            wanted = np.fft.irfft(x, n, 1)[..., None]
        else:
            wanted = parts((np.fft.ifft if inverse else np.fft.fft)(x, axis=1))
            wanted = wanted[:, : n // 2 + 1] if onesided else wanted
        assert_close(found[f"y{n}"], wanted)


CASES: dict[str, tuple[tuple[int, ...], int, int | None, dict[str, int]]] = {
    "another axis": ((2, 8, 3, 1), 1, None, {}),
    "an outer axis, complex": ((6, 2, 2), 0, None, {}),
    "a negative axis": ((2, 3, 5, 2), -3, None, {}),
    "longer": ((2, 5, 1), 1, 12, {}),
    "longer by an odd number": ((2, 5, 3, 1), 1, 16, {"onesided": 1}),
    "shorter": ((2, 9, 2), 1, 4, {}),
    "inverse, longer": ((2, 5, 3, 2), 1, 8, {"inverse": 1}),
    "inverse and onesided, longer": ((2, 3, 2, 2), 1, 10, {"inverse": 1, "onesided": 1}),
    "inverse and onesided, shorter": ((2, 9, 2), 1, 6, {"inverse": 1, "onesided": 1}),
    "inverse of real values": ((2, 6, 1), 1, None, {"inverse": 1}),
}


@pytest.mark.parametrize("target", [pytest.param("host", marks=pytest.mark.slow), "cortex-m4"])
def test_axes_and_lengths(target: str, tmp_path: Path) -> None:
    inputs, nodes, constants = {}, [], {}
    for i, (shape, axis, length, attributes) in enumerate(CASES.values()):
        inputs[f"x{i}"], constants[f"a{i}"] = signal(*shape), np.array(axis, np.int64)
        if length is not None:
            constants[f"n{i}"] = np.array(length, np.int64)
        size = "" if length is None else f"n{i}"
        nodes.append(
            make_node("DFT", [f"x{i}", size, f"a{i}"], [f"y{i}"], name=f"dft{i}", **attributes)
        )

    found = transforms(nodes, inputs, constants, tmp_path, target)

    for i, (shape, axis, length, attributes) in enumerate(CASES.values()):
        x, axis = complex_of(inputs[f"x{i}"]).astype(np.complex128), axis % len(shape)
        n = length or x.shape[axis]
        wanted = (np.fft.ifft if attributes.get("inverse") else np.fft.fft)(x, n, axis)
        if attributes.get("inverse") and attributes.get("onesided"):
            assert_close(found[f"y{i}"], np.fft.irfft(x, n, axis)[..., None])
            continue
        half = wanted.take(range(n // 2 + 1), axis)
        assert_close(found[f"y{i}"], parts(half if attributes.get("onesided") else wanted))


FRAMES: dict[str, dict[str, Any]] = {
    "real": {"x": (2, 50, 1), "step": 7, "length": 16},
    "odd frames": {"x": (1, 40, 1), "step": 3, "length": 15},
    "with window": {"x": (2, 60, 1), "step": 10, "length": 20, "window": True},
    "both sides": {"x": (1, 40, 1), "step": 8, "length": 16, "onesided": 0, "window": True},
    "complex": {"x": (1, 40, 2), "step": 8, "length": 8, "onesided": 0, "window": True},
    "one frame": {"x": (1, 32, 1), "step": 8, "length": 32},
}


def test_frames(tmp_path: Path) -> None:
    inputs, nodes, constants = {}, [], {}
    for i, case in enumerate(FRAMES.values()):
        inputs[f"x{i}"] = signal(*case["x"])
        constants[f"s{i}"], constants[f"n{i}"] = (
            np.array(case[k], np.int64) for k in ("step", "length")
        )
        window = f"w{i}" if case.get("window") else ""
        if window:
            constants[window] = np.hanning(case["length"]).astype(np.float32)
        nodes.append(make_node("STFT", [f"x{i}", f"s{i}", window, f"n{i}"], [f"y{i}"], name=f"stft{i}",
                               onesided=case.get("onesided", 1)))  # fmt: skip

    found = transforms(nodes, inputs, constants, tmp_path)

    for i, case in enumerate(FRAMES.values()):
        x, n, step = complex_of(inputs[f"x{i}"]).astype(np.complex128), case["length"], case["step"]
        window = constants.get(f"w{i}", 1.0)
        frames = np.stack([x[:, s : s + n] * window for s in range(0, x.shape[1] - n + 1, step)], 1)
        wanted = np.fft.fft(frames, axis=2)
        assert_close(
            found[f"y{i}"], parts(wanted[:, :, : n // 2 + 1] if case.get("onesided", 1) else wanted)
        )


def test_a_window_of_run_time(tmp_path: Path) -> None:
    inputs = {"x": signal(1, 40, 1), "w": signal(16)}
    node = make_node("STFT", ["x", "s", "w"], ["y"], name="stft")

    found = transforms([node], inputs, {"s": np.array(8, np.int64)}, tmp_path)

    frames = np.stack([inputs["x"][:, s : s + 16, 0] * inputs["w"] for s in range(0, 25, 8)], 1)
    assert_close(found["y"], parts(np.fft.rfft(frames, axis=2)))
