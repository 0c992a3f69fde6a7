"""Checkpoints of a running training: a tree of tensors, numbers, texts and containers in one safetensors
file. No pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from prunus._foundation.arguments import door
from prunus._foundation.atomic import write_atomically
from prunus._foundation.system_faults import check_readable
from prunus._foundation.wording import short
from prunus.errors import FileFormatError, clause
from prunus.storage.digest import CHECKSUM, digest
from prunus.storage.lock import settle
from prunus.storage.tensors import as_stored

SCHEMA = 2  # 1 had no checksum
_TENSOR = "tensor"
_KEYS = "keys"


@door(FileFormatError)
def write_tree(path: str | Path, tree: Any) -> None:
    """Write nested dicts (with text or whole-number keys), lists, tensors, numbers, texts and None,
    atomically.

    Raises FileFormatError if the file cannot be written, or the tree holds something else.
    """
    tensors: dict[str, Tensor] = {}
    try:
        skeleton = _take_apart(tree, tensors)
    except RecursionError as error:
        raise FileFormatError("A checkpoint holds containers of containers, but not without end.") from error
    header = json.loads(json.dumps({"schema": SCHEMA, "tree": skeleton}))
    header[CHECKSUM] = digest(tensors, header)
    write_atomically(Path(path), to_bytes(tensors, metadata={"prunus_checkpoint": json.dumps(header)}))


@door(FileFormatError)
def read_tree(path: str | Path) -> Any:
    """Read what `write_tree` wrote; tensors lie on the CPU. Raises FileFormatError if it is no such file, or
    was changed.
    """
    path = Path(path)
    settle(path.parent)
    if not path.is_file():
        raise FileFormatError(f"There is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["prunus_checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if header["schema"] != SCHEMA:
            why = (
                ", because older ones have no checksum; begin again, or go on with the version that wrote it"
                if header["schema"] == 1
                else ""
            )
            raise FileFormatError(
                f"{path} has schema {short(header['schema'])}; this version of prunus reads schema"
                f" {SCHEMA}{why}."
            )
        if header[CHECKSUM] != digest(tensors, header):
            raise FileFormatError(
                f"{path} has been changed since it was written: its checksum does not fit; resume from"
                " another one."
            )
        return _put_together(header["tree"], tensors)
    except FileFormatError:
        raise
    except Exception as error:  # safetensors raises errors of many kinds for what it cannot read
        check_readable(path, error)
        raise FileFormatError(
            f"{path} is not a whole checkpoint ({type(error).__name__}: {clause(error)}); resume from another"
            " one."
        ) from error


def _take_apart(node: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The tree with numbered places for its tensors; dicts become lists of pairs, as JSON knows text keys
    only. `path` is where the node stands, for errors.
    """
    if isinstance(node, Tensor):
        name = str(len(tensors))
        held = as_stored(path, node)
        # numbers that two tensors share are written twice
        tensors[name] = held.clone() if held.data_ptr() == node.data_ptr() else held
        return {_TENSOR: name}
    if isinstance(node, dict):
        wrong = [key for key in node if type(key) not in (str, int)]
        if wrong:
            raise FileFormatError(f"A checkpoint holds texts and whole numbers as keys, not {wrong[0]!r}.")
        return {
            _KEYS: [
                [key, _take_apart(value, tensors, f"{path}.{key}".lstrip("."))] for key, value in node.items()
            ]
        }
    if isinstance(node, (list, tuple)):
        return [
            _take_apart(value, tensors, f"{path}.{place}".lstrip(".")) for place, value in enumerate(node)
        ]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise FileFormatError(
        f"A checkpoint holds tensors, numbers, texts and containers of them, not {type(node).__name__}."
    )


def _put_together(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_put_together(value, tensors) for value in node]
    if isinstance(node, dict):
        if _TENSOR in node:
            return tensors[node[_TENSOR]]
        return {key: _put_together(value, tensors) for key, value in node[_KEYS]}
    return node


__all__ = ["SCHEMA", "read_tree", "write_tree"]
