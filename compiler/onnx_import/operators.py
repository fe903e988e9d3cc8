"""The ONNX operators that become nodes, and those that are evaluated when all is constant."""

from collections.abc import Callable

from tinyc.compiler.graph import Tensor
from tinyc.compiler.onnx_import import (
    features,
    linear,
    movement,
    pointwise,
    quantized,
    signal,
    spatial,
    svm,
    text,
    trees,
)
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.model_node import ModelNode

Reader = Callable[[Builder, ModelNode], Tensor | tuple[Tensor, ...]]

STANDARD: dict[str, Reader] = {
    "Abs": pointwise.unary("abs"),
    "Add": pointwise.binary("Add"),
    "AveragePool": spatial.read_average_pool,
    "BatchNormalization": spatial.read_batch_normalization,
    "Cast": pointwise.read_cast,
    "Ceil": pointwise.unary("ceil"),
    "Celu": pointwise.unary("celu", alpha=1.0),
    "Clip": pointwise.read_clip,
    "Concat": movement.read_concat,
    "Conv": spatial.read_conv,
    "ConvInteger": quantized.read_conv_integer,
    "Cos": pointwise.unary("cos"),
    "DFT": signal.read_dft,
    "DepthToSpace": movement.read_depth_to_space,
    "DequantizeLinear": quantized.read_dequantize,
    "Div": pointwise.binary("Div"),
    "Dropout": movement.read_dropout,
    "Elu": pointwise.unary("elu", alpha=1.0),
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
    "HardSigmoid": pointwise.unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": pointwise.unary("hard_swish"),
    "Identity": movement.read_identity,
    "LeakyRelu": pointwise.unary("leaky_relu", alpha=0.01),
    "Log": pointwise.unary("log"),
    "LogSoftmax": pointwise.softmax(log=True),
    "MatMul": linear.read_matmul,
    "MatMulInteger": quantized.read_matmul_integer,
    "Max": pointwise.variadic("Maximum"),
    "MaxPool": spatial.read_max_pool,
    "Mean": pointwise.read_mean,
    "Min": pointwise.variadic("Minimum"),
    "Mish": pointwise.unary("mish"),
    "Mul": pointwise.binary("Mul"),
    "Neg": pointwise.unary("neg"),
    "PRelu": pointwise.read_prelu,
    "Pad": movement.read_pad,
    "Pow": pointwise.read_pow,
    "QLinearConv": quantized.read_qlinear_conv,
    "QLinearMatMul": quantized.read_qlinear_matmul,
    "QuantizeLinear": quantized.read_quantize,
    "Reciprocal": pointwise.unary("reciprocal"),
    "ReduceMax": pointwise.reduction("max"),
    "ReduceMean": pointwise.reduction("mean"),
    "ReduceMin": pointwise.reduction("min"),
    "ReduceProd": pointwise.reduction("prod"),
    "ReduceSum": pointwise.reduction("sum"),
    "Relu": pointwise.read_relu,
    "Reshape": movement.read_reshape,
    "Round": pointwise.unary("round"),
    "STFT": signal.read_stft,
    "Selu": pointwise.unary("selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "Sigmoid": pointwise.unary("sigmoid"),
    "Sign": pointwise.unary("sign"),
    "Sin": pointwise.unary("sin"),
    "Slice": movement.read_slice,
    "Softmax": pointwise.softmax(log=False),
    "Softplus": pointwise.unary("softplus"),
    "Softsign": pointwise.unary("softsign"),
    "SpaceToDepth": movement.read_space_to_depth,
    "Split": movement.read_split,
    "Sqrt": pointwise.unary("sqrt"),
    "Squeeze": movement.read_squeeze,
    "Sub": pointwise.binary("Sub"),
    "Sum": pointwise.variadic("Add"),
    "Swish": pointwise.unary("swish", alpha=1.0),
    "Tanh": pointwise.unary("tanh"),
    "TfIdfVectorizer": text.read_tf_idf_vectorizer,
    "ThresholdedRelu": pointwise.unary("thresholded_relu", alpha=1.0),
    "Tile": movement.read_tile,
    "Transpose": movement.read_transpose,
    "Unsqueeze": movement.read_unsqueeze,
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

CLASSIC: dict[str, Reader] = {  # machine learning before networks: ai.onnx.ml
    "ArrayFeatureExtractor": features.read_array_feature_extractor,
    "Binarizer": features.read_binarizer,
    "FeatureVectorizer": features.read_feature_vectorizer,
    "Imputer": features.read_imputer,
    "LabelEncoder": features.read_label_encoder,
    "LinearClassifier": features.read_linear_classifier,
    "LinearRegressor": features.read_linear_regressor,
    "Normalizer": features.read_normalizer,
    "OneHotEncoder": features.read_one_hot_encoder,
    "SVMClassifier": svm.read_svm_classifier,
    "SVMRegressor": svm.read_svm_regressor,
    "Scaler": features.read_scaler,
    "TreeEnsemble": trees.read_ensemble,
    "TreeEnsembleClassifier": trees.read_classifier,
    "TreeEnsembleRegressor": trees.read_regressor,
    "ZipMap": features.read_zip_map,
}

READERS: dict[tuple[str, str], Reader] = {
    **{("", op): reader for op, reader in STANDARD.items()},
    **{("com.microsoft", op): reader for op, reader in MICROSOFT.items()},
    **{("ai.onnx.ml", op): reader for op, reader in CLASSIC.items()},
}

# Evaluated by onnx when every input is constant: what shapes and parameters are computed with.
FOLDABLE = frozenset(
    "Abs Add And BlackmanWindow Cast Ceil Clip Concat ConstantOfShape Cos DFT Div Equal Erf Exp Expand Flatten Floor "
    "Gather GatherElements GatherND Gemm Greater GreaterOrEqual HammingWindow HannWindow Identity Less LessOrEqual Log "
    "MatMul Max Mean MelWeightMatrix Min Mod Mul Neg NonZero Not OneHot Or Pad Pow Range Reciprocal ReduceMax "
    "ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round ScatterElements ScatterND "
    "Sigmoid Sign Sin Slice Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze "
    "Where Xor".split()
)
