"""What values of the model are beside tensors of the graph: sequences, and texts."""

from dataclasses import dataclass, field

import numpy as np

from tinyc.compiler.graph import Array, Tensor
from tinyc.compiler.onnx_import.model_node import ModelNode


@dataclass(frozen=True, slots=True, eq=False)
class TensorList:
    """A sequence: as many tensors as are known at compile time."""

    items: tuple[Tensor, ...]


Value = Tensor | TensorList


@dataclass(slots=True)
class Beside:
    """What is known of values that the graph does not have.

    sequences  the names of the tensors in them
    lengths    of sequences of which no more is known
    texts      that the integers of a tensor (or the columns of scores) stand for, by tensor
    """

    sequences: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def copy(self) -> "Beside":
        return Beside(dict(self.sequences), dict(self.lengths), dict(self.texts))

    def items_of(self, node: ModelNode, index: int) -> tuple[str, ...]:
        """The tensors of a required input that is a sequence."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if name not in self.sequences:
            self.check_known(node, name)
            node.malformed(f"input {index} is no sequence")
        return self.sequences[name]

    def check_known(self, node: ModelNode, name: str) -> None:
        if name in self.lengths:
            node.refuse(
                f"the shapes of the tensors in '{name}' are known at run time only",
                "export the model with constant sizes to split to",
            )


def numbered(texts: Array) -> tuple[tuple[str, ...], Array]:
    """The different texts, and for each its position among them."""
    flat = [str(text) for text in texts.reshape(-1).tolist()]
    names = tuple(dict.fromkeys(flat))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[text] for text in flat], np.int64).reshape(texts.shape)
