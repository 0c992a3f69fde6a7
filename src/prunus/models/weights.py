"""Plain weight files: a `state_dict` of torch, or safetensors. Nothing is ever unpickled beyond tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from prunus._arguments import door
from prunus.errors import FileFormatError

WRAPPERS = ("module.", "_orig_mod.")  # put before every name by DataParallel and by torch.compile
HOLDERS = ("state_dict", "model")  # entries of a training checkpoint that hold the weights


@door()
def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill a model, in place, from a plain `state_dict` file or a `.safetensors` file.

    A `state_dict` may lie under the key "state_dict" or "model" of a checkpoint, and all its names may carry the
    prefix of DataParallel ("module.") or of torch.compile ("_orig_mod."). Files from before batch norm counted its
    batches (`num_batches_tracked`) are read too. The model changes only if everything fits.

    Args:
        model: the network to fill.
        path: the file; read by safetensors if its name ends in `.safetensors`, else by torch with `weights_only=True`.

    Raises:
        FileFormatError: no such file, a damaged file, one that holds more than tensors, or weights of another network
            (the text lists what is missing, what is too many and which shapes differ).
    """
    path = Path(path)
    state = _unwrapped(read_state(path), model.state_dict())
    _check(state, model, path)
    model.load_state_dict(state, strict=False)


def read_state(path: str | Path) -> Mapping[str, Tensor]:
    """The tensors of a weight file by name.

    Raises:
        FileFormatError: no such file, a damaged file, or one that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileFormatError(f"There is no weight file {path}.")
    content: Any
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any of a dozen ways inside the two readers
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise FileFormatError(f"{path} is damaged, or no plain state_dict or safetensors file ({reason.rstrip('.')}).") from error
    for holder in HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(holder), Mapping):
            content = content[holder]
    if not isinstance(content, Mapping) or not content:
        raise FileFormatError(f"{path} holds no state_dict: expected a mapping of names to tensors.")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise FileFormatError(f"{path} is no plain state_dict: its entry {name!r} is a {type(value).__name__}.")
    return content


def _unwrapped(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without a prefix that all names share and the model does not have."""
    state = dict(state)
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in state) and not all(name.startswith(prefix) for name in expected):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _check(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    expected = model.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    differences = [("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)]
    if any(names for _, names in differences):
        listed = "; ".join(f"{label}: {_some(names)}" for label, names in differences if names)
        raise FileFormatError(f"{path} does not fit {type(model).__name__}: {listed}.")


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
