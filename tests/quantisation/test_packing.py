from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus as pr
from prunus.coding import values_of
from prunus.data import load
from prunus.errors import ConfigError, TargetError
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.packing import Packed, pack
from prunus.storage.coded_file import coded_bytes
from prunus.training import TrainConfig


def network() -> nn.Module:
    """Its labels are its own answers, so that it is right about all of them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)
    ).eval()


MODEL = network()


def batches(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(32, 1, 8, 8, generator=generator) for _ in range(count)]
    with torch.no_grad():
        return [(x, MODEL(x).argmax(1)) for x in inputs]


TASK = pr.Task(train=batches(0, 3), validation=batches(1, 8), test=batches(2, 4), batch_size=32)


def decodes_to(packed: Packed) -> None:
    """The model holds what the tensors say, and the file what both say."""
    tensors = named_tensors(packed.model)
    for name, coded in packed.tensors.items():
        assert torch.equal(tensors[name].detach(), torch.from_numpy(values_of(coded))), name
    assert packed.data == coded_bytes(packed.model, packed.tensors)


def test_a_tolerance_is_kept_with_the_coarsest_grids_that_were_tried() -> None:
    packed = pack(MODEL, TASK, tolerance=8.0)
    decodes_to(packed)
    assert packed.before == 100.0
    assert packed.limit == 92.0
    accepted = [trial for trial in packed.trials if trial.accepted]
    assert packed.bytes == min(trial.bytes for trial in accepted)
    assert all(trial.lowest >= 92.0 for trial in accepted)
    assert any(not trial.accepted for trial in packed.trials)
    assert packed.original_bytes > 4 * packed.bytes


def test_a_budget_of_bytes_is_kept_and_used() -> None:
    packed = pack(MODEL, TASK, bytes=500)
    decodes_to(packed)
    assert 400 < packed.bytes <= 500
    share = pack(MODEL, TASK, bytes=500 / packed.original_bytes)
    assert share.bytes <= 500


def test_bits_bound_the_integers() -> None:
    packed = pack(MODEL, TASK, bits=3)
    coded = packed.tensors["4.weight"]
    assert int(abs(coded.integers).max()) <= 3
    assert packed.trials == ()


def test_grids_are_trained_with_the_bytes_in_the_loss() -> None:
    config = TrainConfig(epochs=4, lr=1e-2, optimizer="adam", weight_decay=0.0)
    dear, cheap = (pack(MODEL, TASK, rate=rate, config=config) for rate in (1.0, 0.001))
    decodes_to(dear)
    assert dear.bytes < cheap.bytes


def test_the_file_loads_into_the_same_class(tmp_path: Path) -> None:
    file = tmp_path / "model.prunus"
    packed = pack(MODEL, TASK, file, error=0.05)
    assert packed.path == file
    assert file.read_bytes() == packed.data
    loaded = pr.load(file, network)
    x = batches(5, 1)[0][0]
    with torch.no_grad():
        assert torch.equal(loaded(x), packed.model(x))


def test_stages_and_layers_add_up() -> None:
    packed = pack(MODEL, TASK, error=0.05)
    assert list(packed.stages) == ["as it was", "fixed width", "ideal static code", "coded", "the file"]
    assert packed.stages["as it was"] == packed.original_bytes
    assert packed.stages["the file"] == packed.bytes
    assert packed.stages["coded"] < packed.stages["fixed width"]
    assert sum(layer.bytes for layer in packed.layers) == packed.stages["coded"]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "not none"),
        ({"bits": 4, "error": 0.1}, "not bits and error"),
        ({"rate": 0.1}, "together with config"),
        ({"bytes": -1}, "not -1"),
    ],
)
def test_targets_that_cannot_be_are_refused(wanted: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        pack(MODEL, TASK, **wanted)  # type: ignore[arg-type]


def test_what_cannot_be_kept_is_told_with_the_nearest_that_can() -> None:
    with pytest.raises(TargetError, match=r"60 bytes are too few.*prune the network"):
        pack(MODEL, TASK, bytes=60)
    with pytest.raises(TargetError, match=r"needs? validation samples"):
        pack(MODEL, pr.Task(train=batches(0, 2)), tolerance=1.0)


def test_units_that_training_removed_are_in_the_plan_of_the_first_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    dense = pr.models.lenet5(image_size=8)
    graph = pr.trace(dense, torch.zeros(1, 1, 8, 8))
    pruned = pr.compact(dense, pr.plan(graph, pr.scores.norm(graph), rate=0.5))
    inputs = [torch.randn(32, 1, 8, 8) for _ in range(3)]
    task = pr.Task(train=[(x, x.mean((1, 2, 3)).gt(0).long()) for x in inputs], batch_size=32)
    config = TrainConfig(epochs=12, lr=2e-2, optimizer="adam", weight_decay=0.0)
    packed = pack(pruned, task, tmp_path / "model.prunus", rate=3.0, config=config, plan=True)
    loaded = pr.load(tmp_path / "model.prunus")
    origin = loaded.prunus
    widths = [parameter.shape[0] for parameter in loaded.parameters()]
    assert widths < [parameter.shape[0] for parameter in pruned.parameters()]
    # the plan is that of the network that the catalogue builds
    again = pr.compact(pr.models.lenet5(image_size=8), origin.plan, check=False)
    assert [parameter.shape for parameter in again.parameters()] == [
        p.shape for p in packed.model.parameters()
    ]


def of_ten_classes() -> nn.Module:
    """Of digits of 8 x 8 pixels."""
    second = nn.Conv2d(6, 6, 3, stride=3)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(24, 10))


@pytest.mark.parametrize("way", [{"error": 0.01}, {"rate": 0.05, "config": TrainConfig(epochs=1, lr=1e-3)}])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_any_precision_are_packed_in_single_precision(
    kind: torch.dtype, way: dict[str, Any], tmp_path: Path
) -> None:
    digits = load("digits")
    task = pr.Task(digits.train, test=digits.test, normalise=digits.normalise)
    torch.manual_seed(0)
    model = of_ten_classes().to(kind).eval()
    packed = pack(model, task, tmp_path / "m", **way)
    decodes_to(packed)
    wanted = pack(copy.deepcopy(model).float(), task, **way)
    assert packed.data == wanted.data and not wanted.notes
    assert str(kind).removeprefix("torch.") in packed.notes[0]
    assert packed.original_bytes == sum(p.numel() * p.element_size() for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {kind}
    loaded = pr.load(tmp_path / "m", of_ten_classes)
    for mine, theirs in zip(loaded.parameters(), packed.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
