"""Einsum: every kind of equation."""

from pathlib import Path

import numpy as np
from onnx.helper import (
    make_node,
)

from tests.harness import onnx_model
from tests.test_control_flow import computed

EQUATIONS = {
    "ij->ji": [(2, 3)],
    "ij": [(3, 2)],
    "ii->i": [(3, 3)],
    "iij,jk->ik": [(3, 3, 2), (2, 4)],
    "i,i": [(5,), (5,)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (5, 4, 2)],
    "bhqd,bhkd->bhqk": [(1, 2, 3, 4), (1, 2, 5, 4)],
    "i,j->ij": [(3,), (4,)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)],
    "abc->b": [(2, 3, 4)],
    "ij,kj->": [(2, 3), (4, 3)],
    "...->...": [(2, 3)],
    "b...c,c->b...": [(2, 3, 4), (4,)],
    "aab,bcc->ac": [(2, 2, 3), (3, 4, 4)],
}


def test_every_equation_of_einsum(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = {
        f"x{n}_{i}": rng.normal(size=shape).astype(np.float32)
        for n, shapes in enumerate(EQUATIONS.values())
        for i, shape in enumerate(shapes)
    }
    nodes, outputs = [], {}
    for n, (equation, shapes) in enumerate(EQUATIONS.items()):
        names = [f"x{n}_{i}" for i in range(len(shapes))]
        nodes.append(make_node("Einsum", names, [f"y{n}"], equation=equation))
        outputs[f"y{n}"] = np.einsum(equation, *(values[name].astype(float) for name in names))
    model = onnx_model(
        nodes,
        {name: ("float32", array.shape) for name, array in values.items()},
        {name: ("float32", np.shape(array)) for name, array in outputs.items()},
    )

    results = computed(model, values, tmp_path)

    for (name, expected), equation in zip(outputs.items(), EQUATIONS, strict=True):
        assert results[name].shape == np.shape(expected), equation
        np.testing.assert_allclose(results[name], expected, 1e-5, 1e-5, err_msg=equation)
