"""Several memories: what is asked, where buffers and tables lie, and that they still compute."""

import json
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import tinyc
from bench.models import SHARED
from tests.conftest import NEEDS_MODELS
from tests.harness import STRICT_HOST
from tinyc.compiler.artifact import Artifact
from tinyc.compiler.cli import main
from tinyc.compiler.pipeline import compile_model
from tinyc.targets import Region, Target, load_target
from tinyc.targets.firmware.image import Board, link_image
from tinyc.targets.memories import SLOW, with_memory
from tinyc.targets.toolchain import find_compiler

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
MODEL, DATA = EXAMPLE / "digits_cnn_int8_qdq_ort.onnx", np.load(EXAMPLE / "digits.npz")
M4 = load_target("cortex-m4")
TWO = "sram=900,psram=8M:slow"  # digits need 1,312 bytes in one piece


def test_memories_are_read() -> None:
    text = "SRAM=64K, dtcm=16K@0x20000000, psram=8M:wait=6, qspi_flash=2M:slow, spare=100:flash"

    target = with_memory(M4, text)

    assert target.regions == (
        Region("sram", "ram", 0x20000000, 65536),
        Region("dtcm", "ram", 0x20000000, 16384),
        Region("psram", "ram", None, 8 << 20, 6),
        Region("qspi_flash", "flash", None, 2 << 20, SLOW),
        Region("spare", "flash", None, 100),
    )
    assert [r.name for r in target.rams] == ["sram", "dtcm", "psram"]
    assert target.flash_wait_cycles == SLOW


def test_what_is_not_named_stays_the_targets() -> None:
    assert with_memory(M4, "") is M4
    assert [r.name for r in with_memory(M4, "flash=1M:wait=5").regions] == ["sram", "flash"]
    slow = replace(M4, regions=(replace(M4.regions[1], wait_cycles=3),))
    assert with_memory(slow, "sram=64K").rams[0].wait_cycles == 3
    assert with_memory(slow, "sram=64K:wait=0").rams[0].wait_cycles == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sram", "'sram' is no memory"),
        ("sram=64K,", "'' is no memory"),
        ("sram=64KB", "'sram=64KB' is no memory"),
        ("sram=-1", "'sram=-1' is no memory"),
        ("2nd=64K", "'2nd=64K' is no memory"),
        ("sram=0", "'sram' has no bytes"),
        ("sram=64K,SRAM=1K", "two memories are named 'sram'"),
        ("sram=64K:fast", "there is no 'fast' of a memory"),
        ("sram=64K:wait", "there is no 'wait' of a memory"),
    ],
)
def test_wrong_memories_are_refused(capsys, text: str, message: str) -> None:
    assert main(["compile", str(MODEL), "--target", "cortex-m4", "--memory", text]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error[wrong-option]: {message}\n  --> --memory {text}\n")
    assert "as in sram=64K,psram=8M:slow" in error


def test_the_targets_file_may_say_how_slow_a_memory_is(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    region = '[[regions]]\nname = "psram"\nkind = "ram"\norigin = 0\nbytes = 9\nwait_cycles = '
    path.write_text(f'base = "cortex-m4"\n{region}7\n')
    assert load_target(str(path)).rams[0].wait_cycles == 7

    path.write_text(f'base = "cortex-m4"\n{region}1\n{region}2\n'.replace("psram", "ram", 1))
    assert len(load_target(str(path)).rams) == 2
    path.write_text(f'base = "cortex-m4"\n{region}1\n{region}2\n'.replace("psram", "PSRAM", 1))
    with pytest.raises(tinyc.CompileError, match="two regions have the same name"):
        load_target(str(path))

    path.write_text(f'base = "cortex-m4"\n{region}-1\n')
    with pytest.raises(tinyc.CompileError, match="wait_cycles is -1, not 0 or more"):
        load_target(str(path))


@cache
def digits(memory: str, target: str = "cortex-m4", **options: str) -> Artifact:
    return tinyc.compile(MODEL, target, memory=memory, name="digits", **options)  # type: ignore


def outputs(artifact: Artifact, target: str | Target) -> bytes:
    return tinyc.run(artifact, {"x": DATA["x"][:3]}, target=target).outputs["softmax"].tobytes()


@pytest.mark.sampled
@pytest.mark.parametrize("io", ["caller", "arena", "rows"])
@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc"])
def test_two_arenas_give_the_same_outputs(target: str, io: str) -> None:
    one, two = digits("", target, io=io), digits(TWO, target, io=io)

    sram, psram = (m for m in two.report.memories if m.kind == "ram")
    assert 0 < sram.arena_bytes <= 900 and 0 < psram.arena_bytes
    assert f"#define DIGITS_ARENA_BYTES {sram.arena_bytes}u" in two.files["digits.h"]
    assert f"#define DIGITS_ARENA_PSRAM_BYTES {psram.arena_bytes}u" in two.files["digits.h"]
    assert outputs(two, target) == outputs(one, target)
    assert outputs(two, STRICT_HOST) == outputs(one, STRICT_HOST)


def test_the_report_says_what_lies_where() -> None:
    report = digits(TWO).report

    sram, psram = (m for m in report.memories if m.kind == "ram")
    assert sram.waits == 0 and psram.waits == psram.accesses // 4 * SLOW
    assert {r for layer in report.layers for r in layer.regions.values()} == {"sram", "psram"}
    tops = {"sram": sram.arena_bytes, "psram": psram.arena_bytes}
    for layer in report.layers:
        assert all(end <= tops[layer.regions[b]] for b, (_, end) in layer.arena.items())


def test_a_memory_that_is_not_needed_is_no_argument() -> None:
    plain, more = digits(""), digits("sram=64K,psram=8M:slow")

    assert {**plain.files, "report.json": ""} == {**more.files, "report.json": ""}
    assert [m.arena for m in more.report.memories] == ["arena", "", ""]


def test_the_same_memories_give_the_same_files() -> None:
    memory = f"{TWO},flash=1M:wait=5"

    assert digits.__wrapped__(memory).files == digits(memory).files


def test_the_memory_that_is_too_small_is_named(capsys) -> None:
    arguments = ["compile", str(MODEL), "--target", "cortex-m4", "--memory"]

    assert main([*arguments, "sram=200,psram=300:slow"]) == 1

    error = capsys.readouterr().err
    assert error.startswith("error[out-of-ram]: beside what the other memories hold, psram needs ")
    assert "more than its 300\n  --> memories of cortex-m4: sram=200, psram=300\n" in error
    need = error.partition("give the model psram=")[2].partition(",")[0]
    fits = digits(f"sram=200,psram={need}:slow")
    assert fits.report.memories[1].arena_bytes <= int(need)


@pytest.mark.parametrize("weights", [pytest.param("c", marks=pytest.mark.slow), "incbin"])
def test_tables_are_copied_to_memory_that_is_faster(weights: str) -> None:
    plain = digits("", weights=weights)
    copied = digits("sram=6K,flash=1M:wait=5", weights=weights)

    sram, flash = copied.report.memories
    assert sram.tables_bytes > 0 and sram.arena_bytes + sram.tables_bytes <= 6144
    assert sram.tables_bytes + flash.tables_bytes == copied.report.weights_bytes
    assert sram.accesses / (sram.arena_bytes + sram.tables_bytes) > flash.accesses / flash.bytes
    assert plain.files["digits.c"] == copied.files["digits.c"]
    assert outputs(copied, "cortex-m4") == outputs(plain, "cortex-m4")
    assert outputs(copied, STRICT_HOST) == outputs(plain, STRICT_HOST)


@pytest.mark.parametrize("options", [{"memory": "sram=64K"}, {"weights": "bin"}])
def test_tables_stay_where_copying_does_not_pay(options: dict[str, str]) -> None:
    artifact = digits(**{"memory": "sram=64K:wait=5,flash=1M:wait=5", **options})

    assert all(m.tables_bytes == 0 for m in artifact.report.memories if m.kind == "ram")
    assert not any(name.endswith(".ld") for name in artifact.files)


SCRIPT = """\
ENTRY(image_start)
MEMORY {{
  flash (rx) : ORIGIN = {flash_origin}, LENGTH = {flash_bytes}
  sram (rwx) : ORIGIN = {ram_origin}, LENGTH = 64K
  OCTOSPI (rwx) : ORIGIN = 0x60000000, LENGTH = 8M
}}
REGION_ALIAS("psram", OCTOSPI)
SECTIONS {{
  .text : {{ *(.vectors .start .text .text.* .rodata .rodata.*) }} > flash
  INCLUDE digits_memory.ld
  .data : {{ image_data_start = .; *(.data .data.*) image_data_end = .; }} > sram AT > flash
  image_data_source = LOADADDR(.data);
  .bss (NOLOAD) : {{ image_bss_start = .; *(.bss .bss.*) image_bss_end = .; }} > sram
  image_stack_top = ORIGIN(sram) + LENGTH(sram);
}}
"""
FIRMWARE = """\
#include "digits.h"
DIGITS_SECTION_SRAM digits_arena fast;
DIGITS_SECTION_PSRAM digits_arena_psram slow;
extern uint32_t digits_tables_sram_begin[], digits_tables_sram_end[];
extern const uint32_t digits_tables_sram_load[];
static float x[DIGITS_INPUT_0_ELEMENTS], y[DIGITS_OUTPUT_0_ELEMENTS];
int main(void) {
  const uint32_t *from = digits_tables_sram_load;
  for (uint32_t *to = digits_tables_sram_begin; to < digits_tables_sram_end; ++to) {
    *to = *from++;
  }
  digits_run(&fast, &slow, x, y);
  return 0;
}
"""


def test_the_linker_fragment_places_arenas_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = find_compiler(M4)
    monkeypatch.setattr("tinyc.targets.firmware.image._text", text_with_own_script)
    artifact = digits("sram=1200,psram=8M:wait=3,flash=1M:wait=9")
    board = Board(0, 4 << 20, 0x20000000, 1 << 16)
    (tmp_path / "digits_memory.ld").write_text(str(artifact.files["digits_memory.ld"]))

    image = link_image(
        artifact.files, {"tinyc_main.c": FIRMWARE}, compiler, M4, board, tmp_path, ["-Werror"]
    )

    with image.path.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        at = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        tables = elf.get_section_by_name(".digits_tables_sram")
        loaded = [s for s in elf.iter_segments() if s.section_in_segment(tables)]
    assert at["fast"] >> 28 == 2 and at["slow"] >> 28 == 6
    assert at["digits_tables_sram_begin"] >> 28 == 2 and at["digits_tables_sram_load"] < 1 << 20
    size = at["digits_tables_sram_end"] - at["digits_tables_sram_begin"]
    assert 0 <= size - artifact.report.memories[0].tables_bytes < 32
    assert [s["p_paddr"] < 1 << 20 and s["p_filesz"] > 0 for s in loaded] == [True]


def text_with_own_script(name: str) -> str:
    own = Path(tinyc.__file__).parent / "targets" / "firmware" / name
    return SCRIPT if name == "image.ld" else own.read_text("utf-8")


def test_the_header_with_two_arenas_is_cpp11(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    digits(TWO, io="arena").write(tmp_path)
    use = """\
#include "digits.h"
DIGITS_SECTION_SRAM static digits_arena fast;
DIGITS_SECTION_PSRAM static digits_arena_psram slow;
void f();
void f() { digits_run(&fast, &slow); }
"""
    (tmp_path / "use.cpp").write_text(use)

    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "use.cpp"]
    done = subprocess.run([compiler, *flags], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_memories_are_shown(capsys, tmp_path: Path) -> None:
    arguments = ["compile", str(MODEL), "--target", "cortex-m4", "--name", "digits"]

    assert main([*arguments, "--memory", TWO, "-o", str(tmp_path / "out")]) == 0

    text = capsys.readouterr().out
    assert "memories: accesses and waits" in text and "digits_arena_psram" in text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [m["name"] for m in report["memories"]] == ["sram", "psram", "flash"]
    assert (tmp_path / "out" / "digits_memory.ld").exists()


def test_models_share_an_arena_in_each_memory() -> None:
    pair = (MODEL, EXAMPLE / "digits_cnn.onnx")
    names = ("quick", "exact")

    bundle = tinyc.compile_bundle(pair, "cortex-m4", names=names, share_arena=True, memory=TWO)

    header = bundle.files["tinyc_arena.h"]
    assert "quick_run(&arena.quick, &arena_psram.quick, ...);" in header
    psram = [a.report.memories[1].arena_bytes for a in bundle.artifacts]
    assert f"#define TINYC_ARENA_PSRAM_BYTES {max(psram)}u" in header
    assert bundle.report.memories[1].arena_bytes == max(psram)
    with pytest.raises(tinyc.CompileError, match=r"the arenas need \d+ bytes .* 900 of sram"):
        tinyc.compile_bundle(pair, "cortex-m4", names=names, memory=TWO)


@NEEDS_MODELS
@pytest.mark.slow
@pytest.mark.parametrize("optimize", ["balanced", "ram"])
@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("resnet8_cifar10_int8_qdq", "sram=12K,psram=8M:slow,flash=1M:wait=5"),
        ("dscnn_kws_int8_qdq", "dtcm=2K,sram=5K:wait=1,psram=1M:slow"),
    ],
)
def test_real_models_give_the_same_outputs(name: str, memory: str, optimize: str) -> None:
    path = SHARED / "models" / f"{name}.onnx"
    one = tinyc.compile(path, "cortex-m4", optimize=optimize)  # type: ignore[arg-type]
    several = tinyc.compile(path, "cortex-m4", optimize=optimize, memory=memory)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    (port,) = one.report.inputs
    low, high = port.dtype.limits if not port.dtype.is_float else (-1, 1)
    x = {port.name: rng.uniform(low, high, port.shape).astype(port.dtype.value)}

    expected, found = (tinyc.run(a, x).outputs for a in (one, several))

    assert len([m for m in several.report.memories if m.arena_bytes]) > 1
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_compile_model_takes_the_same_option() -> None:
    options = tinyc.compiler.pipeline.Options(name="digits", memory=TWO)

    assert compile_model(MODEL, M4, options).files == digits(TWO).files
