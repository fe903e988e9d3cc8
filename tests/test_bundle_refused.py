"""Several models at once: what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

import tinyc
from tests.test_bundle import PAIR, small
from tinyc.compiler.bundle import compile_bundle
from tinyc.compiler.cli import main
from tinyc.targets import load_target


def refused(models: list[Path], *names: str) -> str:
    with pytest.raises(tinyc.CompileError) as error:
        compile_bundle(models, load_target("host"), names=names, share_arena=True)
    return str(error.value)


def test_models_of_one_name_are_refused(tmp_path: Path) -> None:
    models = [small(tmp_path / folder, "Kws.onnx", (1, 4)) for folder in ("a", "b")]

    text = refused(models).replace(str(tmp_path), "FOLDER")

    assert text == (
        "error[name-clash]: two models have the C names of 'kws'\n"
        "  --> model 'FOLDER/a/Kws.onnx', model 'FOLDER/b/Kws.onnx'\n"
        "  help: give each model a name of its own: --name once for each, in their order"
    )


@pytest.mark.parametrize(
    "names", [("kws", "KWS"), ("a.b", "a_b"), ("kws", "kws_weights"), ("Kws_weights", "kws")]
)
def test_names_that_make_the_same_files_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    model = small(tmp_path, "m.onnx", (1, 4))

    assert refused([model, model], *names).startswith("error[name-clash]: two models have")


@pytest.mark.parametrize("name", ["tinyc", "TinyC", "tinyc_arena"])
def test_the_names_of_shared_headers_are_refused(tmp_path: Path, name: str) -> None:
    model = small(tmp_path, f"{name}.onnx", (1, 4))

    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile(model, "host")

    assert str(error.value).replace(str(tmp_path), "FOLDER") == (
        f"error[name-clash]: '{name}.h' is a header that models share\n"
        f"  --> model 'FOLDER/{name}.onnx'\n"
        "  help: give the model another name with --name"
    )


def test_names_are_for_all_models_or_for_none(tmp_path: Path) -> None:
    model = small(tmp_path, "m.onnx", (1, 4))

    assert refused([model, model], "kws") == (
        "error[wrong-option]: models: 2, names: 1\n"
        "  --> --name kws\n"
        "  help: give --name once for each model, in their order, or not at all"
    )


def test_weights_of_all_count(tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    sizes = [tinyc.compile(m, target).report.weights_bytes for m in PAIR]
    regions = tuple(
        r if r.kind == "ram" else replace(r, bytes=sum(sizes) - 1) for r in target.regions
    )
    narrow = replace(target, name="tiny", regions=regions)

    with pytest.raises(tinyc.CompileError) as error:
        tinyc.compile_bundle(PAIR, narrow)

    assert str(error.value).startswith(
        f"error[out-of-flash]: the weights need {sum(sizes)} bytes of flash, 1 more than"
    )
    assert tinyc.compile_bundle(PAIR, narrow, weights="bin").report.weights_bytes == sum(sizes)


def test_nothing_is_written_when_one_model_is_refused(capsys, tmp_path: Path) -> None:
    good = small(tmp_path, "good.onnx", (1, 4))
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    out = tmp_path / "out"

    status = main(["compile", str(good), str(bad), "--target", "host", "-o", str(out)])

    assert status == 1 and not out.exists()
    assert capsys.readouterr().err.startswith("error[not-onnx]")
