"""From a float model and samples to an int8 model: ONNX file in, ONNX file out."""
