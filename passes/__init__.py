"""The passes, in the order they run."""

from collections.abc import Callable

from tinyc.compiler.graph import Graph, verify
from tinyc.passes.activation_fusion import fuse_activations
from tinyc.passes.batchnorm_folding import fold_batchnorms
from tinyc.passes.bias_fusion import fuse_biases
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

Pass = Callable[[Graph, Target], Graph]

FLOAT_PASSES: tuple[Pass, ...] = (
    fold_constants,
    trim_recurrent_results,
    merge_common_subexpressions,
    merge_reshapes,
    recognize_hard_swish,
    sink_transposes,
    fold_layout_into_dense,  # what sank into a flattening Reshape before a Dense
    pool_means,
    merge_reshapes,
    fold_constants,
    fuse_pads,
    fuse_biases,
    fold_batchnorms,  # after the biases, since it scales them
    fuse_activations,
    remove_dead_nodes,
)

INT8_PASSES: tuple[Pass, ...] = (
    move_data_in_stored_form,
    sink_stored_transposes,  # transposes of stored integers may meet now
    merge_reshapes,
    absorb_quantization,
    store_recurrent_sequences,
    simplify_requantizations,
    keep_stored_weights,
    fold_all_constants,
    merge_common_subexpressions,
    merge_reshapes,
    fuse_residuals,
    remove_dead_channels,
    tabulate_chains,
    split_transposed_convolutions,  # what they fuse with has been fused
    remove_dead_nodes,
    order_nodes,  # the last: every node that runs is there
)

Watch = Callable[[str, Graph], None]


def run_passes(
    graph: Graph,
    target: Target,
    passes: tuple[Pass, ...],
    watch: Watch = lambda name, graph: None,
) -> Graph:
    """Run `passes` in order; the graph is verified and shown to `watch` after each."""
    for run in passes:
        graph = run(graph, target)
        verify(graph)
        watch(run.__name__, graph)
    return graph
