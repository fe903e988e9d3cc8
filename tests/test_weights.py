"""Weights as C, as an included binary, and as a file of their own: one answer, no wrong file."""

import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from onnx.helper import make_node

import tinyc
from tests.harness import STRICT_HOST, WARNINGS, onnx_model, optimized, read_model
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.pipeline import emit_artifact, read_graph
from tinyc.compiler.planning import plan_program
from tinyc.compiler.running import run_artifact
from tinyc.targets import load_target
from tinyc.targets.firmware import Io, Weights
from tinyc.targets.toolchain import build, command_of, encoded, find_compiler

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL = EXAMPLE / "digits_cnn_int8_qdq_ort.onnx"
BUILDS = [
    (target.name, choice.name)
    for target in map(load_target, ("host", "cortex-m0plus", "cortex-m4", "rv32imc"))
    for choice in target.compilers
]


@cache
def compiled(target: str, weights: Weights, io: Io = "caller", name: str = "digits") -> Artifact:
    return tinyc.compile(MODEL, target, name=name, io=io, weights=weights)


def answers(artifact: Artifact) -> bytes:
    with np.load(EXAMPLE / "digits.npz") as data:
        result = tinyc.run(artifact, {"x": data["x"][:3]})
    return result.outputs["softmax"].tobytes()


@pytest.mark.parametrize(
    ("target", "weights", "io"),
    [
        ("host", "incbin", "caller"), ("host", "bin", "caller"),
        pytest.param("host", "bin", "arena", marks=pytest.mark.slow),
        ("cortex-m4", "incbin", "arena"), ("cortex-m4", "bin", "caller"),
        ("cortex-m0plus", "bin", "arena"), ("rv32imc", "incbin", "caller"),
    ],
)  # fmt: skip
def test_the_answers_are_those_of_tables_as_c(target: str, weights: Weights, io: Io) -> None:
    artifact = compiled(target, weights, io)

    found = answers(artifact)

    assert found == answers(compiled(target, "c", io))
    assert f"digits_weights.{'S' if weights == 'incbin' else 'bin'}" in artifact.files
    assert "digits_weights.c" not in artifact.files


def test_layers_that_stream_take_the_weights_with_them() -> None:
    graph = read_graph(MODEL, STRICT_HOST)
    layers = [n.name for n in graph.nodes if n.op in ("Conv2D", "MaxPool2D")]
    program = plan_program(graph, STRICT_HOST, streams=[layers])
    x = {"x": np.load(EXAMPLE / "digits.npz")["x"][:3]}

    found = run_artifact(emit_artifact(program, weights="bin"), STRICT_HOST, x)

    expected = tinyc.run(compiled("host", "c"), x)
    np.testing.assert_array_equal(found.outputs["softmax"], expected.outputs["softmax"])


def test_layers_that_stream_without_tables_take_none(tmp_path: Path) -> None:
    x, y = ("float32", (1, 2, 8, 8)), ("float32", (1, 2, 2, 2))
    pools = [
        make_node("MaxPool", [a], [b], kernel_shape=[2, 2], strides=[2, 2])
        for a, b in (("x", "m"), ("m", "n"))
    ]
    model = onnx_model([*pools, make_node("Add", ["n", "w"], ["y"])], {"x": x}, {"y": y},
                       {"w": np.ones((1, 2, 1, 1), np.float32)})  # fmt: skip
    graph = optimized(read_model(model, tmp_path))
    layers = [n.name for n in graph.nodes if n.op == "MaxPool2D"]
    program = plan_program(graph, STRICT_HOST, streams=[layers])
    values = np.random.default_rng(0).normal(size=x[1]).astype(np.float32)

    found = run_artifact(emit_artifact(program, weights="bin"), STRICT_HOST, {"x": values})

    expected = values.reshape(1, 2, 2, 4, 2, 4).max(axis=(3, 5)) + 1
    np.testing.assert_array_equal(found.outputs["y"].reshape(expected.shape), expected)


def test_an_included_binary_leaves_the_c_as_it_is() -> None:
    as_c, included = compiled("cortex-m4", "c"), compiled("cortex-m4", "incbin")

    assert all(as_c.files[n] == included.files[n] for n in ("digits.h", "digits.c", "tinyc.h"))
    assert as_c.report == replace(included.report, weights="c")


@pytest.mark.parametrize(("target", "compiler"), BUILDS, ids=lambda x: str(x))
def test_every_assembler_gives_the_tables_their_names(
    target: str, compiler: str, tmp_path: Path
) -> None:
    if command_of(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    machine, name = load_target(target), "digits"
    as_c, included = compiled(target, "c"), compiled(target, "incbin")
    tools = find_compiler(machine, compiler)

    objects = [
        build(tools, machine, {n: a.files[n] for n in a.files if "_weights." in n}, tmp_path / kind)
        for kind, a in (("c", as_c), ("incbin", included))
    ]

    (expected,), (found,) = objects
    tables = tables_in(found)
    assert tables == tables_in(expected) and name in next(iter(tables))
    assert alignments(found) == {4}


def tables_in(path: Path) -> dict[str, bytes]:
    """The content of every global object of an object file, by name; all in .rodata."""
    tables = {}
    with path.open("rb") as file:
        elf = ELFFile(file)
        for table in elf.iter_sections():
            if not isinstance(table, SymbolTableSection):
                continue
            for symbol in table.iter_symbols():
                if symbol["st_info"]["bind"] != "STB_GLOBAL":
                    continue
                assert symbol["st_info"]["type"] == "STT_OBJECT"
                section = elf.get_section(symbol["st_shndx"])
                assert section.name.startswith((".rodata.", ".srodata."))
                begin = symbol["st_value"]
                tables[symbol.name] = section.data()[begin : begin + symbol["st_size"]]
    return tables


def alignments(path: Path) -> set[int]:
    with path.open("rb") as file:
        sections = ELFFile(file).iter_sections()
        return {s["sh_addralign"] for s in sections if s.name.startswith(".rodata.")}


def test_another_binary_is_another_source(tmp_path: Path) -> None:
    """Else zig's cache, or make, would go on with the object of the old one."""
    sources = []
    for value in (1, 2):
        constants = {"w": np.full((1, 8), value, np.float32)}
        kind = ("float32", (1, 8))
        model = onnx_model([make_node("Add", ["x", "w"], ["y"])], {"x": kind}, {"y": kind},
                           constants)  # fmt: skip
        program = plan_program(read_model(model, tmp_path), load_target("host"))
        sources.append(emit_artifact(program, weights="incbin").files["model_weights.S"])

    assert sources[0] != sources[1]


def test_a_model_without_tables_takes_an_empty_file(tmp_path: Path) -> None:
    kind = ("float32", (1, 8))
    model = onnx_model([make_node("Relu", ["x"], ["y"])], {"x": kind}, {"y": kind})
    artifact = emit_artifact(
        plan_program(read_model(model, tmp_path), load_target("host")), weights="bin"
    )
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)

    result = tinyc.run(artifact, {"x": x})

    assert len(artifact.files["model_weights.bin"]) == 16
    np.testing.assert_array_equal(result.outputs["y"], np.maximum(x, 0))


@pytest.mark.parametrize("io", ["caller", "arena"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_the_c_of_a_file_of_its_own_is_clean(compiler: str, io: Io, tmp_path: Path) -> None:
    command = command_of(compiler)
    if command is None:
        pytest.skip(f"{compiler} is not installed")
    compiled("cortex-m4", "bin", io).write(tmp_path / "c")

    flags = ["-std=c11", "-O1", *WARNINGS, "-c", "digits.c", "-o", str(tmp_path / "digits.o")]
    done = subprocess.run(
        [*command, *flags], cwd=tmp_path / "c", capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_an_input_may_be_named_weights(tmp_path: Path) -> None:
    kind = ("float32", (1, 4))
    names = ["weights", "weights_at"]
    model = onnx_model([make_node("Add", names, ["y"])], dict.fromkeys(names, kind), {"y": kind})
    graph = read_model(model, tmp_path)
    x = np.ones((1, 4), np.float32)

    for io in ("caller", "arena"):
        program = plan_program(graph, load_target("host"), io)
        result = tinyc.run(emit_artifact(program, weights="bin"), dict.fromkeys(names, x))
        np.testing.assert_array_equal(result.outputs["y"], 2 * x)


CHECKER = """\
/* Whether the code takes what follows its name on the command line for its weights. */
#include "digits.h"

#include <stdio.h>
#include <string.h>

static alignas(16) unsigned char flash[DIGITS_WEIGHTS_BYTES + 16u];

int main(void) {
  unsigned char bytes[DIGITS_WEIGHTS_BYTES];
  if (digits_weights_at(NULL) != NULL || digits_weights_at(flash) != NULL) {
    return 1;
  }
  if (fread(bytes, 1, sizeof(bytes), stdin) != sizeof(bytes)) {
    return 2;
  }
  memcpy(&flash[4], bytes, sizeof(bytes));
  if (digits_weights_at(&flash[4]) != NULL) {
    return 3;
  }
  memcpy(flash, bytes, sizeof(bytes));
  const digits_weights *const weights = digits_weights_at(flash);
  printf("%d %d", weights != NULL, weights != NULL && digits_weights_intact(weights));
  return 0;
}
"""


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that reads a file and says whether it is known, and whether it is intact."""
    folder = tmp_path_factory.mktemp("checker")
    tools = find_compiler(STRICT_HOST)
    sources = {**compiled("host", "bin").files, "main.c": CHECKER}
    names = [path.name for path in build(tools, STRICT_HOST, sources, folder)]
    subprocess.run([*tools.command, *names, "-lm", "-o", "checker"], cwd=folder, check=True)
    return folder / "checker"


def changed(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def test_the_right_file_is_known_and_intact(checker: Path) -> None:
    content = encoded(compiled("host", "bin").files["digits_weights.bin"])

    assert verdict(checker, content) == "1 1"


@pytest.mark.parametrize("position", [0, 4, 8, 12])
def test_a_file_with_another_header_is_not_taken(checker: Path, position: int) -> None:
    content = encoded(compiled("host", "bin").files["digits_weights.bin"])

    assert verdict(checker, changed(content, position)) == "0 0"


@pytest.mark.parametrize("position", [16, 5000, -1])
def test_a_damaged_file_is_not_intact(checker: Path, position: int) -> None:
    content = encoded(compiled("host", "bin").files["digits_weights.bin"])

    assert verdict(checker, changed(content, position % len(content))) == "1 0"


def verdict(checker: Path, content: bytes) -> str:
    done = subprocess.run([checker], input=content, capture_output=True, check=True)
    return done.stdout.decode()


def test_the_header_says_what_the_file_is() -> None:
    files = compiled("cortex-m4", "bin").files
    header, content = files["digits.h"], encoded(files["digits_weights.bin"])

    assert f"#define DIGITS_WEIGHTS_BYTES {len(content)}u" in header
    assert f"#define DIGITS_WEIGHTS_CRC32 0x{crc32(content[16:]):08x}u" in header


def test_the_header_of_a_file_of_its_own_is_cpp11(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    compiled("cortex-m4", "bin").write(tmp_path)
    use = """\
#include "digits.h"
static digits_arena a;
bool f(const void *flash, const float *x, float *y);
bool f(const void *flash, const float *x, float *y) {
  const digits_weights *const weights = digits_weights_at(flash);
  if (weights == nullptr || !digits_weights_intact(weights)) {
    return false;
  }
  digits_run(&a, weights, x, y);
  return true;
}
"""
    (tmp_path / "use.cpp").write_text(use)

    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "use.cpp"]
    done = subprocess.run(
        [compiler, *flags], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_weights_that_are_not_linked_take_no_flash(tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    regions = tuple(r if r.kind == "ram" else replace(r, bytes=10_000) for r in target.regions)
    small = replace(target, regions=regions)

    artifact = tinyc.compile(MODEL, small, weights="bin")

    assert artifact.report.weights == "bin" and artifact.report.weights_bytes > 10_000
    with pytest.raises(tinyc.CompileError, match="out-of-flash"):
        tinyc.compile(MODEL, small, weights="incbin")
