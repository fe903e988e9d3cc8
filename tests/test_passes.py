"""Every pass keeps the numbers; its result reads as expected (golden text)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests import channel_graphs, stored_graphs
from tests import pass_graphs as graphs
from tests.harness import HOST, random_inputs, stored
from tinyc.compiler.graph import DType, Graph, Node, Tensor, to_text, verify
from tinyc.compiler.interpreter import run
from tinyc.compiler.ops.unary import UnaryAttrs
from tinyc.passes import FLOAT_PASSES, INT8_PASSES
from tinyc.passes.activation_fusion import fuse_activations
from tinyc.passes.batchnorm_folding import fold_batchnorms
from tinyc.passes.bias_fusion import fuse_biases
from tinyc.passes.boundary import strip_boundary_quantization
from tinyc.passes.common_subexpressions import merge_common_subexpressions
from tinyc.passes.constant_folding import fold_all_constants, fold_constants
from tinyc.passes.data_movement import move_data_in_stored_form
from tinyc.passes.dead_channels import remove_dead_channels
from tinyc.passes.dead_code import remove_dead_nodes
from tinyc.passes.dense_layout import fold_layout_into_dense
from tinyc.passes.hard_swish import recognize_hard_swish
from tinyc.passes.layout import sink_stored_transposes, sink_transposes
from tinyc.passes.mean_pools import pool_means
from tinyc.passes.ordering import order_nodes
from tinyc.passes.pad_fusion import fuse_pads
from tinyc.passes.quantization_absorption import absorb_quantization
from tinyc.passes.recurrent_results import trim_recurrent_results
from tinyc.passes.recurrent_storage import store_recurrent_sequences
from tinyc.passes.requantization import simplify_requantizations
from tinyc.passes.reshape_merging import merge_reshapes
from tinyc.passes.residual_fusion import fuse_residuals
from tinyc.passes.stored_weights import keep_stored_weights
from tinyc.passes.tables import tabulate_chains
from tinyc.passes.transposed_convolutions import split_transposed_convolutions
from tinyc.targets import Target


@dataclass(frozen=True, slots=True)
class Case:
    """steps  that a stored result may move: absorbing rounds once, the model more often."""

    run: Callable[[Graph, Target], Graph]
    build: Callable[[], Graph]
    steps: int = 0

    def __str__(self) -> str:
        return f"{self.run.__name__}-{self.build.__name__}"


CASES = (
    Case(fold_constants, graphs.constants_alone),
    Case(fold_all_constants, graphs.constants_alone),
    Case(merge_common_subexpressions, graphs.one_thing_twice),
    Case(remove_dead_nodes, graphs.unread_result),
    Case(merge_reshapes, graphs.reshapes),
    Case(trim_recurrent_results, graphs.last_step_of_a_layer),
    Case(store_recurrent_sequences, stored_graphs.layer_of_stored_sequences),
    Case(recognize_hard_swish, graphs.split_hard_swish),
    Case(pool_means, graphs.mean_over_image),
    Case(tabulate_chains, stored_graphs.swish_of_stored_values),
    Case(sink_transposes, graphs.transposes_around_relu),
    Case(sink_transposes, graphs.concat_of_transposes),
    Case(sink_stored_transposes, graphs.transposes_around_relu),
    Case(sink_stored_transposes, stored_graphs.stored_transposes),
    Case(fold_layout_into_dense, graphs.transpose_before_dense),
    Case(fuse_pads, graphs.pad_before_conv),
    Case(fuse_pads, graphs.pad_that_is_not_zero),
    Case(fuse_biases, graphs.added_bias),
    Case(fuse_biases, graphs.added_after_relu),
    Case(fold_batchnorms, graphs.scaled_conv),
    Case(fold_batchnorms, graphs.scaled_after_relu),
    Case(fuse_activations, graphs.two_clamps),
    Case(move_data_in_stored_form, stored_graphs.moves_between_quantizations),
    Case(absorb_quantization, stored_graphs.quantized_dense, steps=1),
    Case(absorb_quantization, stored_graphs.bias_of_another_scale, steps=1),
    Case(absorb_quantization, stored_graphs.quantized_product_with_a_number, steps=1),
    Case(simplify_requantizations, stored_graphs.two_requantizations),
    Case(keep_stored_weights, stored_graphs.float_dense_with_stored_weights),
    Case(keep_stored_weights, stored_graphs.dense_with_halves),
    Case(split_transposed_convolutions, stored_graphs.transposed_conv),
    Case(fuse_residuals, graphs.conv_and_add),
    Case(remove_dead_channels, channel_graphs.channels_that_never_change),
    Case(remove_dead_channels, channel_graphs.constants_before_padding),
    Case(remove_dead_channels, channel_graphs.readers_that_share_constants),
    Case(remove_dead_channels, channel_graphs.chain_of_all_kinds),
    Case(remove_dead_channels, channel_graphs.float_chain),
    Case(fuse_residuals, stored_graphs.stored_conv_and_add),
    Case(order_nodes, graphs.branches_side_by_side),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_keeps_the_numbers(case: Case) -> None:
    graph = case.build()
    inputs = random_inputs(graph)

    after = case.run(graph, HOST)

    verify(after)
    (expected,), (found,) = run(graph, inputs).values(), run(after, inputs).values()
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= case.steps


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_result_of_a_pass_reads_as_expected(case: Case, golden: Callable[[str], None]) -> None:
    graph = case.build()

    after = case.run(graph, HOST)

    golden(f"{to_text(graph)}\n--- {case.run.__name__} --->\n\n{to_text(after)}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_second_run_of_a_pass_changes_nothing(case: Case) -> None:
    once = case.run(case.build(), HOST)

    twice = case.run(once, HOST)

    assert to_text(twice) == to_text(once)


@pytest.mark.parametrize("case", [c for c in CASES if c.run is absorb_quantization], ids=str)
def test_an_absorbed_layer_has_no_float_left(case: Case) -> None:
    absorbed = case.run(case.build(), HOST)

    assert [n.name for n in absorbed.nodes if absorbed.tensors[n.output].dtype.is_float] == []


def test_constant_channels_go_but_not_before_padding() -> None:
    plain, padded = (
        remove_dead_channels(build(), HOST)
        for build in (
            channel_graphs.channels_that_never_change,
            channel_graphs.constants_before_padding,
        )
    )

    assert plain.tensors["a"].shape[-1] == plain.tensors["d"].shape[-1] == 6
    assert padded.tensors["a"].shape[-1] == 11  # but for one, the border would see another value


def test_every_pass_has_a_case() -> None:
    tested = {case.run for case in CASES}

    assert [p.__name__ for p in (*FLOAT_PASSES, *INT8_PASSES) if p not in tested] == []


def test_stripping_the_boundary_gives_an_int8_interface() -> None:
    x, y = (Tensor(name, (2, 8), DType.FLOAT32) for name in "xy")
    q, t = stored("q", x.shape, graphs.X_QUANT), stored("t", x.shape, graphs.Y_QUANT)
    nodes = (
        Node("first", "Quantize", ("x",), ("q",)),
        Node("middle", "Unary", ("q",), ("t",), UnaryAttrs("tanh")),
        Node("last", "Dequantize", ("t",), ("y",)),
    )
    graph = Graph("model", ("x",), ("y",), nodes, {t.name: t for t in (x, q, t, y)})

    stripped = strip_boundary_quantization(graph, HOST)

    verify(stripped)
    assert [n.op for n in stripped.nodes] == ["Unary"]
    for name, quant in (("x", graphs.X_QUANT), ("y", graphs.Y_QUANT)):
        assert (stripped.tensors[name].dtype, stripped.tensors[name].quant) == (DType.INT8, quant)
