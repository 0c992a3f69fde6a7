"""Data as users name them: what is read, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunus.errors import ConfigError, PrunusError
from prunus.runs.data import Data, data_of, example_of, inputs_of, read_data, some_inputs
from prunus.tasks import Task


def test_a_name_alone_is_data_with_the_seed_of_the_job() -> None:
    assert data_of("digits", 7) == Data("digits", seed=7)
    assert data_of(Data("digits", seed=1), 7) == Data("digits", seed=1)
    assert data_of("", 7) is None and data_of(None, 7) is None


def test_images_with_classes_stop_at_the_limit_in_every_part() -> None:
    source = read_data(Data("digits", share=0.25, limit=80, seed=3))
    task = source.task()
    assert source.images is not None and source.pictures is None
    assert [task.count(part) for part in ("train", "validation", "test")] == [80, 80, 80]
    again = read_data(Data("digits", share=0.25, limit=80, seed=3)).task()
    assert torch.equal(example_of(task), example_of(again)) and example_of(task).shape == (1, 1, 8, 8)


def test_inputs_are_those_of_the_task_or_the_random_ones() -> None:
    task, noise = read_data(Data("digits")).task(), torch.randn(1, 1, 8, 8)
    one, several = inputs_of(task, noise, 5)
    assert one.shape == (1, 1, 8, 8) and several.shape == (5, 1, 8, 8)
    assert some_inputs(task, 5).shape == (5, 1, 8, 8)
    assert torch.equal(inputs_of(None, noise, 1)[0], noise)


def test_a_function_of_the_users_is_called_with_what_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs_of_mine.py").write_text(
        "import torch\nfrom torch import nn\nimport prunus\n\n\ndef task(batch_size=3):\n"
        "    pairs = [(torch.ones(batch_size, 2), torch.zeros(batch_size, dtype=torch.int64))]\n"
        "    return prunus.Task(pairs, loss=nn.functional.cross_entropy)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    source = read_data(Data("pairs_of_mine:task", batch_size=5))
    assert isinstance(source.task(), Task) and source.images is None
    assert next(iter(source.task().batches("train")))[0].shape == (5, 2)


@pytest.mark.parametrize("name", ["nowhere/", "digitz", "no.module:task"])
def test_what_is_not_there_is_said_in_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(PrunusError) as caught:
        read_data(Data(name, root=tmp_path))
    assert name.strip("/") in str(caught.value) and str(caught.value).endswith((".", "?"))


def test_a_normalisation_needs_a_number_for_each_plane() -> None:
    with pytest.raises(ConfigError):
        read_data(Data("digits", mean="0.5,0.5,0.5", std="0.5,0.5,0.5"))
