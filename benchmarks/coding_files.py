"""What all parts of `benchmarks.coding` share: where rows and files lie, and what is told of a coded file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.environment import RESULTS
from benchmarks.rows import Row
from prunus.coding.costs import costs_of
from prunus.storage.coded_file import coded_bytes

RESULT = RESULTS / "coding.json"
MODULE = "benchmarks.coding"


def key_of(options: argparse.Namespace, kind: str, way: str, setting: float, seed: int | None) -> Row:
    """What tells a row from others."""
    return {
        "kind": kind,
        "called": options.called,
        "network": options.network,
        "way": way,
        "setting": setting,
        "seed": seed,
    }


def code_of(file: Path, model: nn.Module, tensors: Mapping[str, Any]) -> Row:
    """Write a coded file, and tell what it takes."""
    data = coded_bytes(model, tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return {"bytes": len(data), "stages": costs_of(tensors)[1], "parameters": parameters(model)}


def file_of(folder: Path, key: Row) -> Path:
    """Where the coded file of a row lies."""
    words = "-".join(str(key[name]) for name in ("kind", "called", "network", "way", "setting", "seed"))
    return folder / f"coding-{''.join(one if one.isalnum() or one in '-.' else '_' for one in words)}.prunus"


def parameters(model: nn.Module) -> int:
    """How many numbers it learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def tell(row: Row) -> None:
    print(
        f"{row['network']}, {row['kind']}, {row['way']}, {row['setting']}, seed {row['seed']}: "
        f"{row['bytes']:,} bytes, {row.get('accuracy')}, divergence {row.get('divergence')}",
        flush=True,
    )
