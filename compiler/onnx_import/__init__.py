"""ONNX files as tinyc graphs. `reading.read_onnx` is the entry."""
