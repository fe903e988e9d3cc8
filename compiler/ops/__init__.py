"""Every operator tinyc has kernels for, by name: one file an operator or family."""

from tinyc.compiler.ops.cast import CAST
from tinyc.compiler.ops.concat import CONCAT
from tinyc.compiler.ops.conv2d import CONV2D
from tinyc.compiler.ops.dense import DENSE
from tinyc.compiler.ops.depthwise_conv2d import DEPTHWISE_CONV2D
from tinyc.compiler.ops.elementwise import BINARY_OPS
from tinyc.compiler.ops.matmul import MATMUL
from tinyc.compiler.ops.op import Op
from tinyc.compiler.ops.pad import PAD
from tinyc.compiler.ops.pooling import AVERAGE_POOL, MAX_POOL
from tinyc.compiler.ops.quantize import DEQUANTIZE, QUANTIZE
from tinyc.compiler.ops.reduce import REDUCE
from tinyc.compiler.ops.reshape import RESHAPE
from tinyc.compiler.ops.slice import SLICE
from tinyc.compiler.ops.softmax import SOFTMAX
from tinyc.compiler.ops.transpose import TRANSPOSE
from tinyc.compiler.ops.unary import UNARY

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        *BINARY_OPS,
        AVERAGE_POOL,
        CAST,
        CONCAT,
        CONV2D,
        DENSE,
        DEPTHWISE_CONV2D,
        DEQUANTIZE,
        MATMUL,
        MAX_POOL,
        PAD,
        QUANTIZE,
        REDUCE,
        RESHAPE,
        SLICE,
        SOFTMAX,
        TRANSPOSE,
        UNARY,
    )
}
