"""What users type: shapes, planes, names with weights, their own factories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prunus import data, models
from prunus.errors import ConfigError, FileFormatError, ModelNameError
from prunus.runs.loading import open_model


def test_data_decide_classes_and_shape() -> None:
    opened = open_model("lenet5", data=data.load("digits"))
    assert opened.input_shape == (1, 1, 8, 8)
    assert opened.options == {"num_classes": 10, "in_channels": 1, "image_size": 8}
    assert opened.model(opened.inputs()).shape == (1, 10)
    assert not opened.model.training
    assert torch.equal(opened.inputs(), opened.inputs())
    assert opened.notes() == ("The weights of lenet5 are random: none were given.",)


def test_weights_after_the_name(tmp_path: Path) -> None:
    original = models.build("resnet20")
    path = tmp_path / "weights.pt"
    torch.save(original.state_dict(), path)
    opened = open_model(f"resnet20@{path}")
    assert opened.name == "resnet20" and opened.weights == str(path) and not opened.notes()
    assert torch.equal(opened.model.state_dict()["conv1.weight"], original.state_dict()["conv1.weight"])
    with pytest.raises(FileFormatError, match="There is no weight file"):
        open_model("resnet20@nothing.pt")


FACTORY = """
from torch import nn

def build():
    return nn.Conv2d(2, 4, 3)

class Sized(nn.Conv2d):
    input_shape = (1, 2, 9, 9)
    def __init__(self):
        super().__init__(2, 4, 3)
"""


def test_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "factory_of_a_user.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    assert open_model("factory_of_a_user:build", shape=(1, 2, 8, 8)).input_shape == (1, 2, 8, 8)
    assert open_model("factory_of_a_user:Sized").input_shape == (1, 2, 9, 9)
    with pytest.raises(ConfigError, match=r"input shape of factory_of_a_user:build: give --input-shape"):
        open_model("factory_of_a_user:build")
    with pytest.raises(ModelNameError, match="Cannot import 'nothing_here'"):
        open_model("nothing_here:build")


def test_a_compact_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="There is no compact model"):
        open_model(str(tmp_path))


def test_a_coded_file_is_a_model_and_says_itself_what_it_takes(tmp_path: Path) -> None:
    from prunus.storage import save_coded

    about = {
        "input_shape": [1, 1, 8, 8],
        "mean": [0.5],
        "std": [0.25],
        "classes": [str(n) for n in range(10)],
    }
    save_coded(models.build("lenet5", image_size=8), {}, tmp_path / "model.prunus", about=about)
    for text in (tmp_path / "model.prunus", tmp_path):
        opened = open_model(str(text))
        assert opened.input_shape == (1, 1, 8, 8) and opened.normalise == ((0.5,), (0.25,))
        assert len(opened.classes) == 10 and opened.file == tmp_path / "model.prunus"
    save_coded(models.build("lenet5"), {}, tmp_path / "model.prunus", about={"input_shape": "wide"})
    with pytest.raises(FileFormatError, match=r"model\.prunus gives .* as model\.input_shape"):
        open_model(str(tmp_path / "model.prunus"))


def test_weights_are_not_replaced_by_what_is_made_of_them(tmp_path: Path) -> None:
    """The dense network that a training left in a folder is not the compact one's to take the place of."""
    save_file(models.lenet5(image_size=8).state_dict(), tmp_path / "model.safetensors")
    opened = open_model("lenet5", weights=tmp_path / "model.safetensors", shape=(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="holds the model that is read, which the result would replace"):
        opened.check_output(tmp_path / ".")
    opened.check_output(tmp_path / "out")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_inputs_are_of_the_type_of_the_model(kind: torch.dtype) -> None:
    opened = open_model("lenet5", shape=(1, 1, 8, 8))
    opened.model.to(kind)
    assert opened.inputs().dtype == kind


def test_nothing_behind_the_name_is_no_file() -> None:
    with pytest.raises(ConfigError, match="lenet5@ names no file behind the @"):
        open_model("lenet5@")


@pytest.mark.parametrize(("shape", "said"), [((1, 3, 12, 11), "3×12×11"), ((1, 2, 64), "2×64")])
def test_a_network_of_square_images_says_so(shape: tuple[int, ...], said: str) -> None:
    """The first batch failed with shapes of matrices, after the data were read."""
    for name in ("lenet5", "lenet300"):
        with pytest.raises(ConfigError, match=f"{name} takes square images, not inputs of {said}"):
            open_model(name, shape=shape)
