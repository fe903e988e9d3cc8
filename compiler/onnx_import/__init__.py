"""ONNX files -> Graph: `reading.read_onnx` is the way in."""
