"""MatMul and Gemm of every element type, with constant operands; sums of integers wrap."""

from pathlib import Path

import numpy as np
import pytest

from tests.node_cases import Case, case, check, values

HUGE = np.full((2, 3), 2**31 - 1, np.int32)
SHAPES = (((3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,)), ((2, 1, 3, 4), (5, 4, 2)))
CASES: dict[str, Case] = {
    **{f"{t}, {a} by {b}": case("MatMul", values(t, *a), values(t, *b))
       for t in ("float64", "int32", "int64", "uint32", "uint64") for a, b in SHAPES},
    "sums that wrap": case("MatMul", HUGE, HUGE.T.copy()),
    **{f"Gemm of {t}": case("Gemm", values(t, 4, 3), values(t, 5, 4), values(t, 3, 1),
                            transA=1, transB=1, alpha=2.0, beta=3.0)
       for t in ("float64", "int32", "int64")},
    "Gemm without C": case("Gemm", values("float64", 2, 3), values("float64", 3, 2), alpha=0.5),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_c_computes_what_onnx_does(tmp_path: Path) -> None:
    check(CASES, 20, False, tmp_path, "host")
