"""What a reader of files is, and what its content is known by."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.fuzz.mutations import Change


@dataclass(frozen=True)
class Reader:
    """Something that reads a file.

    Attributes:
        name: of it.
        file: name of the file that is damaged.
        make: writes it, and what lies beside it, into a folder.
        read: the folder -> what was read, anything that `canonical` knows.
        checked: a checksum is promised: changed content is never taken for whole. It is kept only where the
            good file has one.
        forged: changes with checksums that fit again, by name.
        edits: changes that know the format, without a checksum to fit.
        share: how many mutations it gets for one of others.
        needs: packages.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    checked: bool = False
    forged: Mapping[str, Change] = field(default_factory=dict)
    edits: Mapping[str, Change] = field(default_factory=dict)
    share: int = 2
    needs: tuple[str, ...] = ()


def mark_of(value: Any) -> str:
    """What tells one content from another: the same for equal content."""
    if isinstance(value, nn.Module):
        learning = [(name, parameter.requires_grad) for name, parameter in value.named_parameters()]
        return mark_of(
            [
                type(value).__name__,
                dict(value.state_dict()),
                learning,
                value.training,
                str(getattr(value, "graph", "")),
            ]
        )
    if isinstance(value, Tensor):
        content = (
            value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
        return f"{value.dtype}{tuple(value.shape)}{content.hex()}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key!r}:{mark_of(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(mark_of, value)) + "]"
    return repr(value)


def made(reader: Reader, folder: Path) -> bytes:
    """The good file, in a folder that is made."""
    (folder / os.path.dirname(reader.file)).mkdir(parents=True, exist_ok=True)  # noqa: PTH120
    reader.make(folder)
    return (folder / reader.file).read_bytes()
