"""Every operator tinyc has kernels for, by name: one file an operator or family."""

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.ops.arg_reduce import ARG_REDUCE, HARDMAX
from tinyc.compiler.ops.arg_window import ARG_WINDOW
from tinyc.compiler.ops.bit_cast import BIT_CAST
from tinyc.compiler.ops.block_dense import BLOCK_DENSE
from tinyc.compiler.ops.cast import CAST
from tinyc.compiler.ops.class_label import CLASS_LABEL
from tinyc.compiler.ops.class_loss import CLASS_LOSS
from tinyc.compiler.ops.col2im import COL2IM
from tinyc.compiler.ops.concat import CONCAT
from tinyc.compiler.ops.conv2d import CONV2D
from tinyc.compiler.ops.conv_nd import CONV_ND, CONV_TRANSPOSE
from tinyc.compiler.ops.cumulate import CUMULATE
from tinyc.compiler.ops.deform_conv import DEFORM_CONV
from tinyc.compiler.ops.dense import DENSE
from tinyc.compiler.ops.depthwise_conv2d import DEPTHWISE_CONV2D
from tinyc.compiler.ops.determinant import DETERMINANT
from tinyc.compiler.ops.elementwise import BINARY_OPS
from tinyc.compiler.ops.expand import EXPAND
from tinyc.compiler.ops.features import FEATURE_OPS
from tinyc.compiler.ops.fourier import FOURIER
from tinyc.compiler.ops.gather import GATHER
from tinyc.compiler.ops.grams import GRAMS
from tinyc.compiler.ops.grid_sample import GRID_SAMPLE
from tinyc.compiler.ops.input_rows import INPUT_ROWS
from tinyc.compiler.ops.interleave import INTERLEAVE
from tinyc.compiler.ops.keep import KEEP
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.local_response import LOCAL_RESPONSE
from tinyc.compiler.ops.look_up import LOOK_UP
from tinyc.compiler.ops.matmul import MATMUL
from tinyc.compiler.ops.max_unpool import MAX_UNPOOL
from tinyc.compiler.ops.normalize import NORMALIZE
from tinyc.compiler.ops.one_hot import ONE_HOT
from tinyc.compiler.ops.op import Call, Op
from tinyc.compiler.ops.pad import PAD
from tinyc.compiler.ops.pooling import AVERAGE_POOL, MAX_POOL
from tinyc.compiler.ops.quantize import DEQUANTIZE, QUANTIZE
from tinyc.compiler.ops.recurrent import RECURRENT
from tinyc.compiler.ops.reduce import REDUCE
from tinyc.compiler.ops.reduce_window import REDUCE_WINDOW
from tinyc.compiler.ops.reshape import RESHAPE
from tinyc.compiler.ops.resize import RESIZE
from tinyc.compiler.ops.roi_align import ROI_ALIGN
from tinyc.compiler.ops.scatter import SCATTER
from tinyc.compiler.ops.shift import SHIFT
from tinyc.compiler.ops.slice import SLICE
from tinyc.compiler.ops.softmax import SOFTMAX
from tinyc.compiler.ops.softmax_zero import SOFTMAX_ZERO
from tinyc.compiler.ops.svm import SVM_OPS
from tinyc.compiler.ops.table import TABLE
from tinyc.compiler.ops.take_columns import TAKE_COLUMNS
from tinyc.compiler.ops.tensor_program import TENSOR_PROGRAM
from tinyc.compiler.ops.text_functions import TEXT_OPS
from tinyc.compiler.ops.time_filter import TIME_FILTER
from tinyc.compiler.ops.top_k import TOP_K
from tinyc.compiler.ops.transpose import TRANSPOSE
from tinyc.compiler.ops.tree_ranks import TREE_RANKS
from tinyc.compiler.ops.trees import TREES
from tinyc.compiler.ops.triangle import TRIANGLE
from tinyc.compiler.ops.unary import UNARY
from tinyc.compiler.ops.where import WHERE
from tinyc.targets import Target

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        *BINARY_OPS,
        *FEATURE_OPS,
        *SVM_OPS,
        *TEXT_OPS,
        ARG_REDUCE,
        ARG_WINDOW,
        AVERAGE_POOL,
        BIT_CAST,
        BLOCK_DENSE,
        CAST,
        CLASS_LABEL,
        CLASS_LOSS,
        COL2IM,
        CONCAT,
        CONV2D,
        CONV_ND,
        CONV_TRANSPOSE,
        CUMULATE,
        DEFORM_CONV,
        DENSE,
        DEPTHWISE_CONV2D,
        DEQUANTIZE,
        DETERMINANT,
        EXPAND,
        FOURIER,
        GATHER,
        GRAMS,
        GRID_SAMPLE,
        HARDMAX,
        EXPAND,
        GATHER,
        INPUT_ROWS,
        INTERLEAVE,
        KEEP,
        LOCAL_RESPONSE,
        LOOK_UP,
        MATMUL,
        MAX_POOL,
        MAX_UNPOOL,
        NORMALIZE,
        ONE_HOT,
        PAD,
        QUANTIZE,
        RECURRENT,
        REDUCE,
        REDUCE_WINDOW,
        RESHAPE,
        RESIZE,
        ROI_ALIGN,
        SCATTER,
        SHIFT,
        SLICE,
        SOFTMAX,
        SOFTMAX_ZERO,
        TABLE,
        TAKE_COLUMNS,
        TENSOR_PROGRAM,
        TIME_FILTER,
        TOP_K,
        TRANSPOSE,
        TREES,
        TREE_RANKS,
        TRIANGLE,
        UNARY,
        WHERE,
    )
}


def kernel_of(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """The kernel of a call whose operator has one."""
    build = OPS[call.node.op].kernel
    assert build is not None, f"{call.node.op} is an alias"
    return build(call, target, schedule)
