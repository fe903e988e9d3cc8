"""Where files go: disks that are mounted, links, devices; whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from onnx.helper import make_node

from tests.harness import onnx_model
from tests.refusals import MODEL
from tinyc.compiler.artifact import write_file
from tinyc.compiler.cli import main
from tinyc.quantization.writing import write_model


def test_an_output_folder_on_a_disk_of_its_own(tmp_path: Path, monkeypatch) -> None:
    out, replace = tmp_path / "out", os.replace
    out.mkdir()

    def within_a_disk(source: Path, goal: Path) -> None:
        if out not in source.parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, goal)

    monkeypatch.setattr(os, "replace", within_a_disk)

    assert main(["compile", str(MODEL), "--target", "host", "-o", str(out)]) == 0
    assert {file.suffix for file in out.iterdir()} == {".c", ".h", ".json"}


@pytest.mark.parametrize("there", [False, True])
def test_a_link_to_a_file_is_followed(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    file, link = tmp_path / "far" / "page.html", tmp_path / "link.html"
    link.symlink_to(file)
    if there:
        file.write_text("old")

    write_file(link, "new")

    assert link.is_symlink() and file.read_text() == "new"


def test_a_device_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    write_file(pipe, "page")

    assert os.read(reader, 10) == b"page" and pipe.is_fifo()
    os.close(reader)


def test_a_full_disk_leaves_the_model_that_was_there(tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ends = {"x": ("float32", (4,))}, {"y": ("float32", (4,))}
    model = onnx_model([make_node("Relu", ["x"], ["y"])], *ends)
    file = tmp_path / "m.onnx"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Exception, match="No space left on device"):
        write_model(model, file)

    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
