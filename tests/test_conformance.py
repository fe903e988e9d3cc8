"""A sample of the test cases that come with ONNX: on this machine, and on an emulated Cortex-M4."""

import random
from functools import cache

import numpy as np
import onnx
import pytest

from tests.conformance import Case, cases, run_case
from tinyc.compiler.operator_table import operators
from tinyc.targets import load_target

SAMPLE, ON_CORE = 250, 200  # cases
STACK_BYTES = 2048


@cache
def passing() -> dict[str, Case]:
    """The node tests that the table of the operators says pass, by name."""
    failing = {name for operator in operators() for name in operator.failing}
    known = {operator.name for operator in operators()}
    found = cases("node").items()
    return {name: c for name, c in found if c.operator in known and name not in failing}


def sample(count: int, seed: int) -> list[str]:
    names = sorted(passing())
    return random.Random(seed).sample(names, min(count, len(names)))


@pytest.mark.slow
def test_what_passed_still_passes() -> None:
    outcomes = [run_case(passing()[name]) for name in sample(SAMPLE, 1)]
    assert outcomes
    assert not [(o.name, o.reason) for o in outcomes if o.result != "passed"]


@pytest.mark.slow
@pytest.mark.bench
def test_an_emulated_core_gives_the_same() -> None:
    """Integers to the bit; floats within the case's tolerance, which `run_case` has checked."""
    core = load_target("cortex-m4")
    for name in sample(ON_CORE, 2):
        case = passing()[name]
        host, device = run_case(case), run_case(case, core)
        assert device.result == "passed", (name, device.reason)
        assert device.stack_bytes < STACK_BYTES, (name, device.stack_bytes)
        pairs = zip(host.outputs, device.outputs, case.model.graph.output, strict=True)
        for here, there, value in pairs:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            if np.dtype(dtype).kind in "iub":
                assert here == there, name
