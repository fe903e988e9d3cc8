"""LabelEncoder and ZipMap of ai.onnx.ml: what classes are called."""

from tinyc.compiler.graph import DType, Tensor
from tinyc.compiler.onnx_import.building import Builder
from tinyc.compiler.onnx_import.element_types import element_type
from tinyc.compiler.onnx_import.model_node import ModelNode, tensor_array
from tinyc.compiler.ops.look_up import LookUpAttrs


def read_label_encoder(build: Builder, node: ModelNode) -> Tensor:
    """Keys and values are numbers; texts may be what the integers of the input stand for, and what
    those of the output do."""
    x = build.operand(node, 0)
    keys, values = _entries(node, "keys"), _entries(node, "values")
    if not keys or len(keys) != len(values):
        node.malformed(f"{len(keys)} keys, {len(values)} values")
    kind, default = _default(node, values)
    if isinstance(keys[0], str):
        known = build.beside.texts.get(x.name, ())
        if not known:
            node.refuse("keys that are texts are not supported", "give numbers to the model")
        place: dict[float | str, int] = {name: i for i, name in enumerate(known)}
        kept = [(place[k], v) for k, v in zip(keys, values, strict=True) if k in place]
        keys, values = [k for k, _ in kept], [v for _, v in kept]
    names: tuple[str, ...] = ()
    if kind is None:
        names = tuple(dict.fromkeys(map(str, [*values, default])))
        values, default = [names.index(str(v)) for v in values], names.index(str(default))
    attrs = LookUpAttrs(
        tuple(map(_number, keys)), tuple(map(_number, values)), _number(default),
        kind or DType.INT64,
    )  # fmt: skip
    y = build.add(node, "LookUp", (x,), attrs)
    if names:
        build.beside.texts[y.name] = names
    return y


def _number(value: float | str) -> float:
    assert not isinstance(value, str), "texts have become positions"
    return value


def _entries(node: ModelNode, kind: str) -> list[float | str]:
    for name in (f"{kind}_int64s", f"{kind}_floats"):
        numbers = node.attributes.get(name)
        if numbers:
            return list(numbers)
    texts = node.texts(f"{kind}_strings")
    if texts:
        return list(texts)
    tensor = node.attributes.get(f"{kind}_tensor")
    if tensor is None:
        return []
    found = tensor_array(tensor, node.where).reshape(-1).tolist()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in found]


def _default(node: ModelNode, values: list[float | str]) -> tuple[DType | None, float | str]:
    """The element type of the output, None for texts, and what other keys become."""
    own = node.attributes.get("default_tensor")
    given = None if own is None or not own.data_type else tensor_array(own, node.where)
    default = None if given is None else given.reshape(-1).tolist()[0]
    if isinstance(values[0], str):
        if isinstance(default, bytes):
            default = default.decode("utf-8", "replace")
        return None, node.text("default_string", "_Unused") if default is None else default
    typed = node.attributes.get("values_tensor")
    if typed is not None:
        kind = element_type(tensor_array(typed, node.where).dtype, node.where)
    else:
        kind = DType.INT64 if node.attributes.get("values_int64s") else DType.FLOAT32
    if default is None and kind.is_float:
        default = node.real("default_float", -0.0)
    return kind, node.integer("default_int64", -1) if default is None else default


def read_zip_map(build: Builder, node: ModelNode) -> Tensor:
    """The tensor of scores itself: a device has no maps."""
    x = build.operand(node, 0)
    names = node.texts("classlabels_strings") or tuple(
        map(str, node.integers("classlabels_int64s") or ())
    )
    y = build.reshaped(node, x, x.shape)
    build.beside.texts[y.name] = names
    build.notes.append(
        f"node '{node.name}': instead of a map, its output is the tensor {list(x.shape)}; "
        f"its columns are: {', '.join(names)}"
    )
    return y
