"""The ONNX operators that become nodes, and those that are evaluated when all is constant."""

from collections.abc import Callable

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import import arithmetic, linear, movement, pointwise, quantized, spatial
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode

Reader = Callable[[Builder, ModelNode], Tensor | tuple[Tensor, ...]]

STANDARD: dict[str, Reader] = {
    "Abs": pointwise.unary("abs"),
    "Acos": pointwise.unary("acos"),
    "Acosh": pointwise.unary("acosh"),
    "Add": arithmetic.binary("Add"),
    "And": arithmetic.binary("And"),
    "Asin": pointwise.unary("asin"),
    "Asinh": pointwise.unary("asinh"),
    "Atan": pointwise.unary("atan"),
    "Atanh": pointwise.unary("atanh"),
    "AveragePool": spatial.read_average_pool,
    "BatchNormalization": spatial.read_batch_normalization,
    "BitCast": arithmetic.read_bit_cast,
    "BitShift": arithmetic.read_bit_shift,
    "BitwiseAnd": arithmetic.binary("BitwiseAnd"),
    "BitwiseNot": pointwise.unary("invert"),
    "BitwiseOr": arithmetic.binary("BitwiseOr"),
    "BitwiseXor": arithmetic.binary("BitwiseXor"),
    "Cast": arithmetic.read_cast,
    "CastLike": arithmetic.read_cast_like,
    "Ceil": pointwise.unary("ceil"),
    "Celu": pointwise.unary("celu", alpha=1.0),
    "Clip": arithmetic.read_clip,
    "Concat": movement.read_concat,
    "Conv": spatial.read_conv,
    "ConvInteger": quantized.read_conv_integer,
    "Cos": pointwise.unary("cos"),
    "Cosh": pointwise.unary("cosh"),
    "DepthToSpace": movement.read_depth_to_space,
    "DequantizeLinear": quantized.read_dequantize,
    "Div": arithmetic.binary("Div"),
    "Dropout": movement.read_dropout,
    "Elu": pointwise.unary("elu", alpha=1.0),
    "Equal": arithmetic.binary("Equal"),
    "Erf": pointwise.unary("erf"),
    "Exp": pointwise.unary("exp"),
    "Expand": movement.read_expand,
    "Flatten": movement.read_flatten,
    "Floor": pointwise.unary("floor"),
    "Gather": movement.read_gather,
    "Gelu": pointwise.read_gelu,
    "Gemm": linear.read_gemm,
    "GlobalAveragePool": spatial.read_global_average_pool,
    "GlobalMaxPool": spatial.read_global_max_pool,
    "Greater": arithmetic.binary("Greater"),
    "GreaterOrEqual": arithmetic.binary("GreaterOrEqual"),
    "HardSigmoid": pointwise.unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": pointwise.unary("hard_swish"),
    "Identity": movement.read_identity,
    "IsInf": pointwise.read_is_infinite,
    "IsNaN": pointwise.unary("is_nan"),
    "LeakyRelu": pointwise.unary("leaky_relu", alpha=0.01),
    "Less": arithmetic.binary("Less"),
    "LessOrEqual": arithmetic.binary("LessOrEqual"),
    "Log": pointwise.unary("log"),
    "LogSoftmax": pointwise.softmax(log=True),
    "MatMul": linear.read_matmul,
    "MatMulInteger": quantized.read_matmul_integer,
    "Max": arithmetic.variadic("Maximum"),
    "MaxPool": spatial.read_max_pool,
    "Mean": arithmetic.read_mean,
    "Min": arithmetic.variadic("Minimum"),
    "Mish": pointwise.unary("mish"),
    "Mod": arithmetic.read_mod,
    "Mul": arithmetic.binary("Mul"),
    "Neg": pointwise.unary("neg"),
    "Not": pointwise.unary("not"),
    "Or": arithmetic.binary("Or"),
    "PRelu": arithmetic.read_prelu,
    "Pad": movement.read_pad,
    "Pow": arithmetic.read_pow,
    "QLinearConv": quantized.read_qlinear_conv,
    "QLinearMatMul": quantized.read_qlinear_matmul,
    "QuantizeLinear": quantized.read_quantize,
    "Reciprocal": pointwise.unary("reciprocal"),
    "ReduceMax": pointwise.reduction("max"),
    "ReduceMean": pointwise.reduction("mean"),
    "ReduceMin": pointwise.reduction("min"),
    "ReduceProd": pointwise.reduction("prod"),
    "ReduceSum": pointwise.reduction("sum"),
    "Relu": arithmetic.read_relu,
    "Reshape": movement.read_reshape,
    "Round": pointwise.unary("round"),
    "Selu": pointwise.unary("selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "Shrink": pointwise.unary("shrink", bias=0.0, lambd=0.5),
    "Sigmoid": pointwise.unary("sigmoid"),
    "Sign": pointwise.unary("sign"),
    "Sin": pointwise.unary("sin"),
    "Sinh": pointwise.unary("sinh"),
    "Slice": movement.read_slice,
    "Softmax": pointwise.softmax(log=False),
    "Softplus": pointwise.unary("softplus"),
    "Softsign": pointwise.unary("softsign"),
    "SpaceToDepth": movement.read_space_to_depth,
    "Split": movement.read_split,
    "Sqrt": pointwise.unary("sqrt"),
    "Squeeze": movement.read_squeeze,
    "Sub": arithmetic.binary("Sub"),
    "Sum": arithmetic.variadic("Add"),
    "Swish": pointwise.unary("swish", alpha=1.0),
    "Tan": pointwise.unary("tan"),
    "Tanh": pointwise.unary("tanh"),
    "ThresholdedRelu": pointwise.unary("thresholded_relu", alpha=1.0),
    "Tile": movement.read_tile,
    "Transpose": movement.read_transpose,
    "Unsqueeze": movement.read_unsqueeze,
    "Where": arithmetic.read_where,
    "Xor": arithmetic.binary("Xor"),
}

MICROSOFT: dict[str, Reader] = {  # onnxruntime's own operators, as its quantizer writes them
    "DequantizeLinear": quantized.read_dequantize,
    "Gelu": pointwise.read_gelu,
    "QLinearAdd": quantized.qlinear_binary("Add"),
    "QLinearConcat": quantized.read_qlinear_concat,
    "QLinearGlobalAveragePool": quantized.read_qlinear_global_average_pool,
    "QLinearLeakyRelu": quantized.qlinear_unary("leaky_relu", alpha=0.01),
    "QLinearMul": quantized.qlinear_binary("Mul"),
    "QLinearSigmoid": quantized.qlinear_unary("sigmoid"),
    "QuantizeLinear": quantized.read_quantize,
}

READERS: dict[tuple[str, str], Reader] = {
    **{("", op): reader for op, reader in STANDARD.items()},
    **{("com.microsoft", op): reader for op, reader in MICROSOFT.items()},
}

# Evaluated by onnx when every input is constant: what shapes and parameters are computed with.
FOLDABLE = frozenset(
    "Abs Add And Cast Ceil Clip Concat ConstantOfShape Cos Div Equal Erf Exp Expand Flatten Floor "
    "Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity Less LessOrEqual Log "
    "MatMul Max Mean Min Mod Mul Neg NonZero Not OneHot Or Pad Pow Range Reciprocal ReduceMax "
    "ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round ScatterElements ScatterND "
    "Sigmoid Sign Sin Slice Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze "
    "Where Xor".split()
)
