"""TensorFlow Lite files -> ONNX models of the same meaning: `conversion.onnx_of` is the way in."""
