"""From the sections of a coded file to a module."""

from __future__ import annotations

import pytest
import torch

import prunus
from prunus import models
from prunus.errors import FileFormatError
from prunus.storage.coded_file import coded_bytes
from prunus.storage.coded_model import on_meta


def test_a_network_of_the_catalogue_is_built_without_data() -> None:
    found = on_meta("lenet5", {"image_size": 8})
    assert all(parameter.is_meta for parameter in found.parameters())
    own = models.lenet5(image_size=8).state_dict()
    assert {name: tensor.shape for name, tensor in found.state_dict().items()} == {
        name: tensor.shape for name, tensor in own.items()
    }


def test_a_network_of_the_users_own_needs_a_function_that_makes_it(tmp_path: object) -> None:
    from pathlib import Path

    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    file = Path(str(tmp_path)) / "own.prunus"
    file.write_bytes(coded_bytes(model, {}))
    with pytest.raises(FileFormatError, match=r"give build_model="):
        prunus.load(file)
    loaded = prunus.load(file, lambda: torch.nn.Sequential(torch.nn.Linear(3, 2)))
    assert torch.equal(loaded[0].weight, model[0].weight)
