"""Compile the digits model for Cortex-M4, run it on the emulated core, show what it sees."""

import sys
from pathlib import Path

import numpy as np

import tinyc
from tinyc.compiler.show_run import cost_rows

FOLDER = Path(__file__).parent
SHADES = " .:-=+*#%@"
SHOWN = 8  # digits


def main() -> int:
    data = np.load(FOLDER / "digits.npz")
    images, labels = data["x"][:SHOWN], data["y"][:SHOWN]
    model = FOLDER / "digits_cnn_int8_qdq_ort.onnx"
    try:
        artifact = tinyc.compile(model, target="cortex-m4", name="digits", io="arena")
        result = tinyc.run(artifact, {"x": images})
    except tinyc.CompileError as error:
        print(error, file=sys.stderr)
        return 1
    (scores,) = result.outputs.values()
    predictions = scores.argmax(axis=1)
    print(f"{model.name} on an emulated Cortex-M4\n")
    for row in range(8):
        print("  ".join(pixels(image[0, row]) for image in images))
    print("  ".join(f"{'label ' + str(label):^16}" for label in labels))
    print("  ".join(f"{'predicted ' + str(digit):^16}" for digit in predictions))
    print(f"\n{int((predictions == labels).sum())} of {SHOWN} right\n")
    for name, text in cost_rows(artifact, result).items():
        print(f"{name:8}{text}")
    print(f"weights {artifact.report.weights_bytes:,} B, {artifact.report.macs:,} MACs")
    return 0


def pixels(row: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> str:
    """One line of an image, two characters a pixel."""
    return "".join(2 * SHADES[min(int(value * len(SHADES)), len(SHADES) - 1)] for value in row)


if __name__ == "__main__":
    sys.exit(main())
