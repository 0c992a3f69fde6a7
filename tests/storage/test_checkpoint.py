"""Checkpoints and gates: what is written comes back, and one changed bit is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from tests.paint.nets import randomised

from prunus.dynamic import attach
from prunus.dynamic.files import load_gates, save_gates
from prunus.errors import FileFormatError
from prunus.models import lenet5
from prunus.storage import read_tree, write_tree

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
