"""Targets and timing tables: what ships is complete, and a user's file is checked."""

from pathlib import Path

import pytest

from tinyc.compiler.errors import CompileError
from tinyc.targets import load_target, target_names
from tinyc.targets.doctor import diagnose
from tinyc.targets.target import FEATURES
from tinyc.targets.timing.tables import load_timing

NAMES = [
    *("cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m4", "cortex-m7"),
    *("host", "rv32imac", "rv32imafc", "rv32imc"),
]


def test_the_targets_are_these() -> None:
    assert target_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_target_is_whole(name: str) -> None:
    target = load_target(name)

    assert target.name == name
    assert target.features <= FEATURES.keys()
    assert target.ram_bytes >= 16384 and target.flash_bytes >= 65536
    assert target.compilers and "-O3" in target.cflags
    assert (target.emulator == "") == (name == "host")
    assert target.alignment == (16 if name == "host" else 4)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "host"])
def test_each_emulated_target_has_a_timing_table(name: str) -> None:
    assert load_timing(load_target(name).timing).horizon > 0


def test_every_table_can_be_read() -> None:
    for name in ("ibex", "ibex-maxperf", "cv32e40p"):
        load_timing(name)


def test_an_unknown_target_suggests_the_nearest() -> None:
    with pytest.raises(CompileError) as error:
        load_target("cortex-m44")
    assert str(error.value) == (
        "error[unknown-target]: no target is named 'cortex-m44'; the nearest is 'cortex-m4'\n"
        "  --> --target cortex-m44\n"
        "  help: use one of: cortex-m0plus, cortex-m3, cortex-m33, cortex-m4, cortex-m7, host, "
        "rv32imac, rv32imafc, rv32imc; or the path of a TOML file"
    )


def test_a_board_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(
        'base = "cortex-m4"\n'
        '[[regions]]\nname = "ram"\nkind = "ram"\norigin = 0x20000000\nbytes = 4096\n'
        '[[regions]]\nname = "flash"\nkind = "flash"\norigin = 0\nbytes = 8192\n'
    )

    board = load_target(str(path))

    assert (board.name, board.ram_bytes, board.flash_bytes) == ("my-board", 4096, 8192)
    assert board.compilers == load_target("cortex-m4").compilers


def test_a_timing_file_is_found_beside_the_board_file(tmp_path: Path) -> None:
    own = load_target("cortex-m4")
    path = tmp_path / "board.toml"
    path.write_text('base = "cortex-m4"\ntiming = "mine.toml"\n')

    assert load_target(str(path)).timing == str(tmp_path / "mine.toml")
    assert own.timing == "cortex-m4"


BAD = [
    (
        'base = "cortex-m4"\nram = 1\n',
        "there is no field 'ram'; known are isa, features, alignment, emulator, timing, "
        "cycles_per_mac_limit, cflags, regions, compilers\n  --> field 'ram' in {}",
    ),
    ('isa = "x"\n', "the field 'features' is missing\n  --> field 'features' in {}"),
    (
        'base = "cortex-m4"\nalignment = "4"\n',
        "alignment is '4', not of type int\n  --> field 'alignment' in {}",
    ),
    (
        'base = "cortex-m4"\ncycles_per_mac_limit = -0.5\n',
        "the limit is -0.5, not 0 or more\n  --> field 'cycles_per_mac_limit' in {}",
    ),
    (
        'base = "cortex-m4"\nalignment = 3\n',
        "alignment is 3, not a power of two\n  --> field 'alignment' in {}",
    ),
    (
        'base = "cortex-m4"\nfeatures = ["mve"]\n',
        "'mve' is not a feature; known are dsp, fpu, hardware-divide, long-multiply, "
        "pipelined-fma, riscv, thumb1\n"
        "  --> field 'features' in {}",
    ),
    (
        'base = "cortex-m4"\ncflags = [1]\n',
        "cflags is not a list of strings\n  --> field 'cflags' in {}",
    ),
    (
        'base = "cortex-m4"\nregions = [1]\n',
        "regions is not an array of tables, [[regions]]\n  --> field 'regions' in {}",
    ),
    (
        'base = "cortex-m4"\n[[regions]]\nname = "a"\nkind = "rom"\norigin = 0\nbytes = 1\n',
        "kind is 'rom', not one of ram, flash\n  --> field 'kind' in {}",
    ),
    ("isa = \n", "the file is not TOML: Invalid value (at line 1, column 7)\n  --> {}"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_target_file_names_the_field(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(text)
    with pytest.raises(CompileError) as error:
        load_target(str(path))
    assert str(error.value) == "error[bad-target]: " + message.format(path)


def test_a_target_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "no.toml"
    with pytest.raises(CompileError) as error:
        load_target(str(path))
    assert str(error.value) == (
        "error[unknown-target]: the target's file cannot be read: No such file or directory\n"
        f"  --> --target {path}\n"
        "  help: give the path of a TOML file, or a name of `tinyc targets`"
    )


def test_an_unknown_timing_table() -> None:
    with pytest.raises(CompileError) as error:
        load_timing("cortex-m55")
    assert str(error.value) == (
        "error[unknown-timing]: there is no timing table 'cortex-m55'\n"
        "  --> field 'timing' of the target\n"
        "  help: use one of: cortex-m0plus, cortex-m33, cortex-m4, cortex-m7, "
        "cv32e40p, ibex, ibex-maxperf; or a TOML file"
    )


def test_a_timing_table_with_a_number_missing(tmp_path: Path) -> None:
    path = tmp_path / "core.toml"
    path.write_text('family = "m7"\nhorizon = 2\n[parameters]\nbranch = 0\n')
    with pytest.raises(CompileError) as error:
        load_timing(str(path))
    assert str(error.value) == (
        "error[bad-timing]: the field 'indirect_branch' is missing\n"
        f"  --> timing table {path}\n"
        "  help: the fields are: branch, indirect_branch, mispredicted, misprediction_rate"
    )


def test_the_doctor_looks_for_every_compiler_of_every_target() -> None:
    checks = {check.name: check for check in diagnose()}

    for name in NAMES:
        for compiler in load_target(name).compilers:
            assert name in checks[compiler.name].needed_for
    assert all(check.how_to_get for check in checks.values())
    assert checks["unicorn"].found == bool(checks["unicorn"].version)
