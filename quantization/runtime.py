"""onnxruntime as the machine that runs parts of models on many samples."""

from typing import Any

import onnx

from tinyc.compiler.errors import CompileError
from tinyc.compiler.onnx_import.foreign import guarded


def session_of(proto: onnx.ModelProto, written: str = "", exact: bool = False) -> Any:
    """A session for `proto` on one thread.

    written  file for the model with its constants folded
    exact    every node as it stands, without fusions

    Raises CompileError("onnxruntime-missing") or ("bad-model").
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise CompileError(
            "onnxruntime-missing",
            "the float model runs in onnxruntime, which is not installed",
            help="pip install 'tinyc[verify]'",
        ) from error
    levels = onnxruntime.GraphOptimizationLevel
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    settings.graph_optimization_level = levels.ORT_DISABLE_ALL if exact else levels.ORT_ENABLE_BASIC
    if written:
        settings.optimized_model_filepath = written
    content = proto.SerializeToString()
    return guarded(
        lambda: onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"]),
        "bad-model", "onnxruntime does not run the model", f"graph '{proto.graph.name}'",
    )  # fmt: skip
