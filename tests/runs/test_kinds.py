"""One sentence for every kind of file that is no model, and for outputs that cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prunus import models, storage
from prunus.errors import ConfigError, FileFormatError
from prunus.runs.kinds import check_kind, check_own, check_target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" ", "is empty"),
        ("a\0b", "zero byte"),
        ("net.onnx", "ONNX files cannot be pruned"),
        ("weights.pth", "as NAME@weights.pth"),
        ("net.H5", "a file of Keras"),
        ("net.tar.gz", "is an archive"),
        ("folder/nets.py", "as in nets:build"),
    ],
)
def test_what_is_no_model_is_told_by_its_name_alone(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_kind(text)


@pytest.mark.parametrize("name", ["result.json", "notes.txt", "nets.py", "model.weird", "weights.pt"])
def test_files_that_are_there_are_told_by_what_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match=name.partition(".")[0]):
        check_kind(name)


@pytest.mark.parametrize(
    "text",
    ["lenet5", "timm/resnet18", "nets:build", "lenet5@a.pt", "out", "out/model.safetensors", "a" * 5000],
)
def test_what_may_be_a_model_passes(text: str) -> None:
    check_kind(text)


def test_a_model_of_ours_is_told_from_plain_weights(tmp_path: Path) -> None:
    storage.save(models.lenet5(image_size=8), tmp_path / "model.safetensors")
    check_own(tmp_path / "model.safetensors", "out")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(FileFormatError, match="holds plain weights and no network"):
        check_own(tmp_path / "plain.safetensors", "plain.safetensors")
    with pytest.raises(FileFormatError, match=r"it holds no gone\.safetensors"):
        check_own(tmp_path / "gone.safetensors", str(tmp_path))
    with pytest.raises(FileFormatError, match="There is no compact model"):
        check_own(tmp_path / "gone.safetensors", "gone")


def test_an_output_is_a_file_in_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_target(None, "the file")
    check_target(tmp_path / "new" / "deeper.json", "the file")
    with pytest.raises(ConfigError, match="is a folder: -o names the file"):
        check_target(tmp_path, "the file")
    with pytest.raises(ConfigError, match="is a file, so"):
        check_target(tmp_path / "file" / "a.json", "the file")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_an_output_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="is a named pipe"):
        check_target(tmp_path / "pipe", "the file")


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    run, weights, picture = tmp_path / "out", tmp_path / "net.pt", tmp_path / "a.png"
    run.mkdir()
    for file in (run / "model.safetensors", run / "result.json", weights, picture):
        file.write_text("precious")
    (tmp_path / "link.png").symlink_to(picture)
    for path, source in (
        (picture, picture),
        (tmp_path / "link.png", str(picture)),
        (run / "model.safetensors", str(run)),
        (run / "result.json", str(run)),
        (weights, f"resnet20@{weights}"),
        (run / "model.safetensors", f"nets:build@{run}"),
    ):
        with pytest.raises(ConfigError, match="is read by this command, and would be lost"):
            check_target(path, "the file", None, source)
    for path, source in ((run / "model.onnx", str(run)), (picture, "lenet5"), (picture, "a" * 5000)):
        check_target(path, "the file", source, "b\0c")


@pytest.mark.parametrize("name", ["nets.py", "model.safetensors", "photo.JPG", "result.json"])
def test_a_name_of_another_kind_of_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"another kind of file: -o names the ONNX file, which ends in \.onnx"
    ):
        check_target(tmp_path / name, "the ONNX file", endings=(".onnx",))


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.v2", "MODEL.ONNX"])
def test_a_name_that_fits_or_says_nothing_passes(name: str, tmp_path: Path) -> None:
    check_target(tmp_path / name, "the ONNX file", endings=(".onnx",))
