"""Checkpoints and gates: what is written comes back, and one changed bit is named."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tests.paint.nets import randomised
from torch import Tensor

import prunus
from prunus.dynamic import attach
from prunus.dynamic.files import load_gates, save_gates
from prunus.errors import FileFormatError, PlanError
from prunus.models import lenet5
from prunus.models.weights import load_weights
from prunus.storage import read_tree, write_tree
from prunus.storage.finite import warn_of_nonfinite

TREE = {
    "model": {"weight": torch.randn(4, 3), "count": torch.tensor(3)},
    "epoch": 3,
    "best": None,
    "rates": [0.1, {7: "seven"}],
    "done": True,
}
DIGIT = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gates(path: Path) -> Callable[[Path], Any]:
    network = randomised(lenet5())
    save_gates(attach(network, DIGIT), path)
    return lambda file: load_gates(network, DIGIT, file)


def tree(path: Path) -> Callable[[Path], Any]:
    write_tree(path, TREE)
    return read_tree


def test_a_tree_comes_back(tmp_path: Path) -> None:
    write_tree(tmp_path / "a", TREE)
    again = read_tree(tmp_path / "a")
    assert torch.equal(again["model"].pop("weight"), TREE["model"]["weight"])  # type: ignore[index]
    assert int(again["model"].pop("count")) == 3
    assert again == {"model": {}, "epoch": 3, "best": None, "rates": [0.1, {7: "seven"}], "done": True}


@pytest.mark.parametrize("kind", [tree, gates])
def test_a_flipped_bit_anywhere_is_named(
    kind: Callable[[Path], Callable[[Path], Any]], tmp_path: Path
) -> None:
    read = kind(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    header, rng = 8 + int.from_bytes(whole[:8], "little"), random.Random(0)
    for at in [
        *(rng.randrange(header) for _ in range(60)),
        *(rng.randrange(header, len(whole)) for _ in range(20)),
        len(whole) - 1,
    ]:
        content = bytearray(whole)
        content[at] ^= 1 << rng.randrange(8)
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(FileFormatError):
            read(tmp_path / "b")
    changed = bytearray(whole)
    changed[-1] ^= 1
    (tmp_path / "b").write_bytes(changed)
    with pytest.raises(FileFormatError, match="changed since it was written"):
        read(tmp_path / "b")


def test_a_checkpoint_of_before_checksums_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(
        to_bytes({}, metadata={"prunus_checkpoint": json.dumps({"schema": 1, "tree": 3})})
    )
    with pytest.raises(FileFormatError, match=r"schema 1; .* schema 2, because older ones have no checksum"):
        read_tree(tmp_path / "a")


def test_a_checksum_that_is_taken_out_is_missed(tmp_path: Path) -> None:
    write_tree(tmp_path / "a", TREE)
    with safe_open(tmp_path / "a", framework="pt") as file:
        header = json.loads(file.metadata()["prunus_checkpoint"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["sha256"]
    (tmp_path / "a").write_bytes(to_bytes(tensors, metadata={"prunus_checkpoint": json.dumps(header)}))
    with pytest.raises(FileFormatError):
        read_tree(tmp_path / "a")


def test_a_tree_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(FileFormatError, match="without end"):
        write_tree(tmp_path / "a", endless)


# -- weights that are no numbers -----------------------------------------------------------------------------


def broken() -> Any:
    model = lenet5()
    with torch.no_grad():
        model.conv1.weight.view(-1)[:3] = torch.nan  # type: ignore[union-attr, operator, index]
        list(model.parameters())[-1][0] = -torch.inf
    return model


def test_loading_weights_that_are_no_numbers_says_so(tmp_path: Path) -> None:
    torch.save(broken().state_dict(), tmp_path / "a.pth")
    with pytest.warns(
        UserWarning, match=r"a\.pth holds 4 values that are NaN or infinite, in conv1\.weight and 1 more"
    ) as caught:
        load_weights(lenet5(), tmp_path / "a.pth")
    assert len(caught) == 1 and caught[0].filename == __file__
    prunus.save(broken(), tmp_path / "b")
    with pytest.warns(UserWarning, match=r"b holds 4 values .* conv1\.weight"):
        prunus.load(tmp_path / "b", lenet5)


FINE = (
    torch.ones(3),
    torch.tensor([0.0, -torch.inf]),
    torch.full((2,), -torch.inf),
    torch.tensor([1]),
    torch.zeros(0),
    torch.ones(2, dtype=torch.bool),
)


@pytest.mark.parametrize("fine", FINE)
def test_numbers_and_masks_are_fine(fine: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_nonfinite({"a": fine}, "It")


@pytest.mark.parametrize(
    "bad",
    [
        torch.tensor([0.0, torch.inf]),
        torch.tensor([1.0, -torch.inf]),
        torch.tensor(torch.nan, dtype=torch.bfloat16),
    ],
)
def test_other_infinities_are_told(bad: Tensor) -> None:
    with pytest.warns(UserWarning, match="It holds 1 value that are NaN or infinite, in a;"):
        warn_of_nonfinite({"a": bad}, "It")


# -- plans ---------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_plan_is_named() -> None:
    model = randomised(lenet5())
    graph = prunus.trace(model, DIGIT)
    text = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5).to_json().encode()
    rng, said = random.Random(0), 0
    for at in (*range(20), *(rng.randrange(len(text)) for _ in range(300))):
        changed = bytearray(text)
        changed[at] ^= 1 << rng.randrange(7)
        with pytest.raises(PlanError) as caught:
            prunus.Plan.from_json(changed.decode())
        said += "has been changed since it was written" in str(caught.value)
    assert said > 50


def test_a_plan_of_before_checksums_is_read() -> None:
    model = randomised(lenet5())
    graph = prunus.trace(model, DIGIT)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    data = json.loads(plan.to_json()) | {"prunus_plan": 1}
    del data["sha256"]
    assert prunus.Plan.from_json(json.dumps(data)) == plan
    with pytest.raises(PlanError):
        prunus.Plan.from_json(json.dumps(data | {"prunus_plan": 2}))
