"""Structured channel pruning: a float ONNX file to a smaller one."""
