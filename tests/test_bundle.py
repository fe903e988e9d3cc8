"""Several models in one firmware: on one arena, one after the other, with the right answers."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

import tinyc
from bench.models import SHARED
from tests.conftest import NEEDS_MODELS
from tests.harness import STRICT_HOST, onnx_model
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.bundle import Bundle
from tinyc.compiler.cli import main
from tinyc.compiler.cprint import C_TYPES
from tinyc.compiler.graph import Array
from tinyc.targets import firmware, load_target
from tinyc.targets.firmware import Io, Weights
from tinyc.targets.runner import run_program

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
PAIR = (EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", EXAMPLE / "digits_cnn.onnx")
NAMES = ("quick", "exact")


@cache
def pair_of_one_arena() -> Bundle:
    return tinyc.compile_bundle(PAIR, "cortex-m4", names=NAMES, share_arena=True)


def samples(artifact: Artifact, seed: int) -> dict[str, Array]:
    """Random values for the inputs of one run."""
    rng = np.random.default_rng(seed)
    values = {}
    for port in artifact.report.inputs:
        if port.dtype.is_float:
            values[port.name] = rng.uniform(0, 1, port.shape).astype(np.float32)
        else:
            low, high = port.dtype.limits
            values[port.name] = rng.integers(low, high + 1, port.shape).astype(port.dtype.value)
    return values


def one_after_the_other(bundle: Bundle, target: str, io: Io) -> tuple[list[bytes], list[bytes]]:
    """Outputs of the first model, the second, and the first again on one arena; and of each alone.

    A program `all` stands for the firmware: its run function calls the models in turn.
    """
    runs = [bundle.artifacts[i] for i in (0, 1, 0)]
    given = [samples(artifact, seed) for seed, artifact in enumerate(runs)]
    inputs = [p for a in runs for p in a.report.inputs]
    outputs = [p for a in runs for p in a.report.outputs]
    sides = (("x", inputs), ("y", outputs))
    x, y = (
        [firmware.Port(f"{side}{i}", C_TYPES[p.dtype], p.bytes) for i, p in enumerate(ports)]
        for side, ports in sides
    )
    sources = {
        **bundle.files,
        "all.h": f'#include "tinyc_arena.h"\ntypedef tinyc_arena all_arena;\n{prototype(x, y)};\n',
        "all.c": f'#include "all.h"\n#include <string.h>\n{prototype(x, y)} {{\n'
        f"{calls(runs, io)}}}\n",
    }
    program = firmware.Program("all", sources, tuple(x), tuple(y), "caller")
    machine = STRICT_HOST if target == "host" else load_target(target)
    data = tuple(
        values[p.name].tobytes() for a, values in zip(runs, given, strict=True)
        for p in a.report.inputs
    )  # fmt: skip

    (found,) = run_program(program, machine, [data]).outputs

    alone = [tinyc.run(a, values) for a, values in zip(runs, given, strict=True)]
    expected = [
        r.outputs[p.name].tobytes() for a, r in zip(runs, alone, strict=True)
        for p in a.report.outputs
    ]  # fmt: skip
    return list(found), expected


def prototype(x: list[firmware.Port], y: list[firmware.Port]) -> str:
    parameters = [f"const {p.c_type} *{p.c_name}" for p in x]
    parameters += [f"{p.c_type} *{p.c_name}" for p in y]
    return f"void all_run(all_arena *arena, {', '.join(parameters)})"


def calls(runs: list[Artifact], io: Io) -> str:
    """The statements that run each model on the shared arena."""
    lines, x, y = "", 0, 0
    for artifact in runs:
        report, arena = artifact.report, f"&arena->{artifact.name}"
        xs = {f"x{x + i}": port for i, port in enumerate(report.inputs)}
        ys = {f"y{y + i}": port for i, port in enumerate(report.outputs)}
        x, y = x + len(xs), y + len(ys)
        if io == "caller":
            lines += f"  {artifact.name}_run({', '.join([arena, *xs, *ys])});\n"
            continue
        for name, port in xs.items():
            own = f"{artifact.name}_{port.c_name}({arena})"
            lines += f"  memcpy({own}, {name}, {port.bytes}u);\n"
        lines += f"  {artifact.name}_run({arena});\n"
        for name, port in ys.items():
            own = f"{artifact.name}_{port.c_name}({arena})"
            lines += f"  memcpy({name}, {own}, {port.bytes}u);\n"
    return lines


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("target", "io", "weights"),
    [
        ("host", "caller", "c"), ("host", "arena", "incbin"), ("cortex-m4", "caller", "incbin"),
        ("cortex-m4", "arena", "c"),
    ],
)  # fmt: skip
def test_models_take_turns_on_one_arena(target: str, io: Io, weights: Weights) -> None:
    bundle = tinyc.compile_bundle(
        PAIR, target, names=NAMES, share_arena=True, io=io, weights=weights
    )

    found, expected = one_after_the_other(bundle, target, io)

    assert found == expected and len(set(found)) == 3


@NEEDS_MODELS
@pytest.mark.slow
@pytest.mark.parametrize("io", ["caller", "arena"])
def test_real_models_take_turns_on_one_arena(io: Io) -> None:
    models = [SHARED / "models" / f"{n}.onnx" for n in ("dscnn_kws_int8_qdq", "motions_conv1d")]
    bundle = tinyc.compile_bundle(models, "cortex-m4", names=("kws", "motions"), share_arena=True,
                                  io=io)  # fmt: skip

    found, expected = one_after_the_other(bundle, "cortex-m4", io)

    assert found == expected


def test_the_shared_arena_is_as_large_as_the_largest() -> None:
    bundle = pair_of_one_arena()
    apart = tinyc.compile_bundle(PAIR, "cortex-m4", names=NAMES)

    sizes = [a.report.arena_bytes for a in bundle.artifacts]
    assert bundle.report.arena_bytes == max(sizes)
    assert f"#define TINYC_ARENA_BYTES {max(sizes)}u" in bundle.files["tinyc_arena.h"]
    assert apart.report.arena_bytes == sum(sizes) and "tinyc_arena.h" not in apart.files


def test_each_model_is_what_it_is_alone() -> None:
    bundle = pair_of_one_arena()

    for model, name in zip(PAIR, NAMES, strict=True):
        alone = dict(tinyc.compile(model, "cortex-m4", name=name).files)
        assert alone.pop("report.json") != bundle.files["report.json"]
        assert alone.items() <= bundle.files.items()


def test_the_shared_header_is_cpp11(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    bundle = pair_of_one_arena()
    bundle.write(tmp_path)
    use = """\
#include "tinyc_arena.h"
static tinyc_arena a;
static_assert(sizeof(a) == (TINYC_ARENA_BYTES + 15u) / 16u * 16u, "no larger than the largest");
static_assert(alignof(tinyc_arena) == 16, "aligned like each");
void f(const float *x, float *y);
void f(const float *x, float *y) {
  quick_run(&a.quick, x, y);
  exact_run(&a.exact, x, y);
}
"""
    (tmp_path / "use.cpp").write_text(use)

    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "use.cpp"]
    done = subprocess.run(
        [compiler, *flags], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_command_writes_and_reports_all(capsys, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [*map(str, PAIR), "--name", "quick", "--name", "exact", "--target", "cortex-m4"]

    assert main(["compile", *arguments, "--share-arena", "-o", str(out)]) == 0

    text = capsys.readouterr().out
    own = {f"{n}{end}" for n in NAMES for end in (".h", ".c", "_weights.c")}
    assert {p.name for p in out.iterdir()} == own | {"tinyc.h", "tinyc_arena.h", "report.json"}
    report = json.loads((out / "report.json").read_text())
    assert [model["model"] for model in report["models"]] == list(NAMES)
    sizes = [model["arena_bytes"] for model in report["models"]]
    assert report["share_arena"] and report["arena_bytes"] == max(sizes)
    assert re.search(
        f"arenas +{max(sizes):,} B .shared, one model at a time: quick {sizes[0]:,} B, "
        f"exact {sizes[1]:,} B",
        text,
    )
    assert main(["compile", *arguments, "--json", "-o", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["arena_bytes"] == sum(sizes)


def small(folder: Path, name: str, shape: tuple[object, ...], port: str = "x") -> Path:
    folder.mkdir(exist_ok=True)
    model = onnx_model([make_node("Relu", [port], ["y"])], {port: ("float32", shape)},
                       {"y": ("float32", shape)})  # fmt: skip
    onnx.save(model, str(folder / name))
    return folder / name


def test_a_shape_goes_to_the_models_that_have_the_input(tmp_path: Path) -> None:
    models = [
        small(tmp_path, "open.onnx", (1, "n"), "series"),
        small(tmp_path, "fixed.onnx", (1, 4)),
    ]

    bundle = tinyc.compile_bundle(models, "host", input_shapes={"series": (1, 7)})

    assert [a.report.inputs[0].shape for a in bundle.artifacts] == [(1, 7), (1, 4)]
    with pytest.raises(tinyc.CompileError, match="the model has no input 'other'"):
        tinyc.compile_bundle(models, "host", input_shapes={"series": (1, 7), "other": (1,)})


def test_arenas_that_do_not_fit_side_by_side_may_fit_as_one(tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    bytes_of = {"ram": 1000, "flash": 10_000}
    regions = tuple(replace(r, bytes=bytes_of[r.kind]) for r in target.regions)
    small_target = replace(target, name="tiny", regions=regions)
    models = [small(tmp_path, f"{name}.onnx", (1, 150)) for name in ("a", "b")]

    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile_bundle(models, small_target, io="arena")

    assert str(error.value) == (
        "error[out-of-ram]: the arenas need 1200 bytes of RAM, 200 more than the 1000 of tiny\n"
        "  --> model 'a', model 'b'\n"
        "  help: run one model after the other on one arena with --share-arena"
    )
    shared = tinyc.compile_bundle(models, small_target, io="arena", share_arena=True)
    assert shared.report.arena_bytes == 600
