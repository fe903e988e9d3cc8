"""Texts of the run: moved, normalized and joined; and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.harness import optimized, read_model, run_c
from tinyc.compiler.errors import CompileError
from tinyc.compiler.graph import TEXT_BYTES, Array, Graph
from tinyc.compiler.interpreter import run
from tinyc.compiler.pipeline import compile_model
from tinyc.compiler.profiling import profile_model
from tinyc.compiler.running import run_artifact
from tinyc.compiler.texts import stored_texts
from tinyc.compiler.verification import verify_model
from tinyc.targets import load_target

LONG = "x" * TEXT_BYTES
DAYS = ["monday", "tuesday", "Monday", "", LONG, "mon", "mondays", "zürich", "[MONDAY]"]


def model(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{graph}')


def texts(*values: str, shape: tuple[int, ...] = (-1,)) -> Array:
    return np.array(values, object).reshape(shape)


def answer(graph: Graph, inputs: dict[str, Array], target: str = "host") -> list[str]:
    """The first output as the C gives it, which has to be what the graph means."""
    types = {name: graph.tensors[name].dtype for name in inputs}
    sample = {
        name: stored_texts(a, name) if types[name] == "S64" else a for name, a in inputs.items()
    }
    meant = run(graph, sample)
    (found,) = run_c(graph, [sample], target)
    for output, values in found.items():
        np.testing.assert_array_equal(values, meant[output])
    first = found[graph.outputs[0]]
    return [text.decode() for text in first.reshape(-1).tolist()]


NORMALIZED = (
    ("", DAYS),
    ('case_change_action="UPPER"', [d.upper().replace("Ü", "ü") for d in DAYS]),
    ('case_change_action="LOWER"', [d.lower() for d in DAYS]),
    (
        'stopwords=["monday", "", "never"], is_case_sensitive=1',
        [d for d in DAYS if d not in ("monday", "")] + [""] * 2,
    ),
    (
        f'stopwords=["MONDAY", "mon", "{LONG}"]',
        [d for d in DAYS if d.lower() not in ("monday", "mon", LONG)] + [""] * 4,
    ),
    (
        f'stopwords=["zürich", "{LONG}x"], is_case_sensitive=1, case_change_action="UPPER"',
        [d.upper() for d in DAYS if d != "zürich"] + [""],
    ),
)


@pytest.mark.parametrize(("attributes", "expected"), NORMALIZED)
def test_a_normalizer_leaves_out_and_changes_case(
    attributes: str, expected: list[str], tmp_path: Path
) -> None:
    given = f"<{attributes}>" if attributes else ""
    kind = f"string[{len(DAYS)}]"
    node = f"g ({kind} x) => ({kind} y) {{ y = StringNormalizer {given} (x) }}"

    graph = optimized(read_model(model(node), tmp_path))

    assert answer(graph, {"x": texts(*DAYS)}) == expected


def test_a_normalizer_keeps_as_many_as_the_model_says(tmp_path: Path) -> None:
    node = 'g (string[1,4] x) => (string[1,2] y) { y = StringNormalizer <stopwords=["a"]> (x) }'

    graph = optimized(read_model(model(node), tmp_path))

    assert answer(graph, {"x": texts("b", "A", "c", "d", shape=(1, 4))}) == ["b", "c"]
    assert answer(graph, {"x": texts("a", "A", "a", "d", shape=(1, 4))}, "cortex-m4") == ["d", ""]
    assert any("gives the first 2 texts" in note for note in graph.notes)


MOVED = (
    ("y = Transpose <perm=[1, 0]> (x)", "a d b e c f"),
    ("y = Concat <axis=1> (x, x)", "a b c a b c d e f d e f"),
    ("s = Constant <value = int64[2] {3, 2}> ()  y = Reshape (x, s)", "a b c d e f"),
    ("y = Gather <axis=1> (x, i)", "b a e d"),
    ("b = Constant <value_ints = [0, 2]> () e = Constant <value_ints = [2, 0]> ()"
     " a = Constant <value_ints = [0, 1]> () s = Constant <value_ints = [1, -1]> ()"
     " y = Slice (x, b, e, a, s)", "c b f e"),
    ("one, y = Split <axis=0, num_outputs=2> (x)", "d e f"),
    ("s = Constant <value_ints = [2, 2, 3]> () y = Expand (x, s)", "a b c d e f a b c d e f"),
    ("u = SequenceConstruct (x, x) o = Constant <value_int = 1> () y = SequenceAt (u, o)",
     "a b c d e f"),
)  # fmt: skip


@pytest.mark.parametrize(("nodes", "expected"), MOVED)
def test_texts_are_moved(nodes: str, expected: str, tmp_path: Path) -> None:
    proto = model(f"g (string[2,3] x, int64[2] i) => (string[n] y) {{ {nodes} }}")
    graph = optimized(read_model(proto, tmp_path))
    x = texts(*"abcdef", shape=(2, 3))

    assert answer(graph, {"x": x, "i": np.array([1, 0])}) == expected.split()


def test_texts_are_joined_with_constants_and_cut_before_a_character(tmp_path: Path) -> None:
    proto = model(
        'g (string[2,1] a, string[3] b) => (string[2,3] y) <string[1] c = {".ü"}>'
        "{ ab = StringConcat (a, b)  y = StringConcat (ab, c) }"
    )
    graph = optimized(read_model(proto, tmp_path))
    a, b = texts("", "的", shape=(2, 1)), texts("", "中", LONG[3:])
    expected = [".ü", "中.ü", f"{LONG[3:]}.ü", "的.ü", "的中.ü", f"的{LONG[3:]}"]

    assert answer(graph, {"a": a, "b": b}) == expected
    assert answer(graph, {"a": a, "b": b}, "cortex-m4") == expected


def test_a_program_is_run_with_strings_and_gives_strings(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    node = 'y = StringNormalizer <case_change_action="UPPER"> (x)'
    onnx.save(model(f"g (string[2] x) => (string[2] y) {{ {node} }}"), path)
    artifact = compile_model(path, load_target("host"))

    result = run_artifact(artifact, load_target("host"), {"x": np.array(["ab", "zürich"])})

    assert result.outputs["y"].tolist() == [["AB", "ZüRICH"]]
    with pytest.raises(CompileError, match="65 bytes"):
        run_artifact(artifact, load_target("host"), {"x": np.array(["", LONG + "x"])})
    with pytest.raises(CompileError, match="compared"):
        verify_model(path, load_target("host"), {"x": np.array(["ab", "c"])})
    assert profile_model(path, load_target("cortex-m4")).cycles


REFUSED = (
    ("y = Equal (x, x)", "computing with texts"),
    ("y = Cast <to=1> (x)", "computing with texts"),
    ("y = Shrink (x)", "computing with texts"),
    ('y = StringNormalizer <stopwords=["a"]> (x)', "how many texts are left"),
    ('y = StringNormalizer <stopwords=["é"]> (x)', "ASCII letters"),
    ('y = StringNormalizer <case_change_action="UPPER", locale="tr_TR"> (x)', "locale"),
    ('y = If (b) <then_branch = t () => (string[1] c) { c = Constant <value = string[1] {"a"}> ()'
     ' }, else_branch = e () => (string[1] d) { d = Constant <value = string[1] {"b"}> () }>',
     "known texts"),
    (f'c = Constant <value = string[1] {{"{LONG}x"}}> () y = StringConcat (x, c)', "65 bytes"),
)  # fmt: skip


@pytest.mark.parametrize(("nodes", "reason"), REFUSED)
def test_what_is_not_supported_is_refused(nodes: str, reason: str, tmp_path: Path) -> None:
    proto = model(f"g (string[2] x, bool b) => (string[n] y) {{ {nodes} }}")

    with pytest.raises(CompileError, match=reason):
        read_model(proto, tmp_path)


def test_only_how_many_parts_of_the_run_there_are_is_known(tmp_path: Path) -> None:
    kind, nodes = "float[4] x, int64[3] sizes", "parts = SplitToSequence (x, sizes)"
    length = model(f"g ({kind}) => (int64 y) {{ {nodes} y = SequenceLength (parts) }}")
    first = model(
        f"g ({kind}) => (float[n] y) {{ {nodes} i = Constant <value_int = 0> ()"
        " y = SequenceAt (parts, i) }"
    )

    graph = read_model(length, tmp_path)

    assert graph.constant("y") == 3
    with pytest.raises(CompileError, match="known at run time only"):
        read_model(first, tmp_path)
