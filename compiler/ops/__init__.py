"""Every operator tinyc has kernels for, by name: one file an operator or family."""

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.ops.arg_reduce import ARG_REDUCE, HARDMAX
from tinyc.compiler.ops.bit_cast import BIT_CAST
from tinyc.compiler.ops.cast import CAST
from tinyc.compiler.ops.class_loss import CLASS_LOSS
from tinyc.compiler.ops.concat import CONCAT
from tinyc.compiler.ops.conv2d import CONV2D
from tinyc.compiler.ops.cumulate import CUMULATE
from tinyc.compiler.ops.dense import DENSE
from tinyc.compiler.ops.depthwise_conv2d import DEPTHWISE_CONV2D
from tinyc.compiler.ops.determinant import DETERMINANT
from tinyc.compiler.ops.elementwise import BINARY_OPS
from tinyc.compiler.ops.input_rows import INPUT_ROWS
from tinyc.compiler.ops.kernel import Kernel
from tinyc.compiler.ops.local_response import LOCAL_RESPONSE
from tinyc.compiler.ops.matmul import MATMUL
from tinyc.compiler.ops.normalize import NORMALIZE
from tinyc.compiler.ops.op import Call, Op
from tinyc.compiler.ops.pad import PAD
from tinyc.compiler.ops.pooling import AVERAGE_POOL, MAX_POOL
from tinyc.compiler.ops.quantize import DEQUANTIZE, QUANTIZE
from tinyc.compiler.ops.recurrent import RECURRENT
from tinyc.compiler.ops.reduce import REDUCE
from tinyc.compiler.ops.reshape import RESHAPE
from tinyc.compiler.ops.shift import SHIFT
from tinyc.compiler.ops.slice import SLICE
from tinyc.compiler.ops.softmax import SOFTMAX
from tinyc.compiler.ops.top_k import TOP_K
from tinyc.compiler.ops.transpose import TRANSPOSE
from tinyc.compiler.ops.unary import UNARY
from tinyc.compiler.ops.where import WHERE
from tinyc.targets import Target

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        *BINARY_OPS,
        ARG_REDUCE,
        AVERAGE_POOL,
        BIT_CAST,
        CAST,
        CLASS_LOSS,
        CONCAT,
        CONV2D,
        CUMULATE,
        DENSE,
        DEPTHWISE_CONV2D,
        DEQUANTIZE,
        DETERMINANT,
        HARDMAX,
        INPUT_ROWS,
        LOCAL_RESPONSE,
        MATMUL,
        MAX_POOL,
        NORMALIZE,
        PAD,
        QUANTIZE,
        RECURRENT,
        REDUCE,
        RESHAPE,
        SHIFT,
        SLICE,
        SOFTMAX,
        TOP_K,
        TRANSPOSE,
        UNARY,
        WHERE,
    )
}


def kernel_of(call: Call, target: Target, schedule: Schedule) -> Kernel:
    """The kernel of a call whose operator has one."""
    build = OPS[call.node.op].kernel
    assert build is not None, f"{call.node.op} is an alias"
    return build(call, target, schedule)
