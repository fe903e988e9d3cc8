"""Kernels of the operators that cost the cycles: one file an algorithm family."""
