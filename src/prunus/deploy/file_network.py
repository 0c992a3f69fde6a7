"""A file as a network: whatever measures models measures files too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from prunus.deploy.inputs import tensors
from prunus.deploy.onnx_file import session
from prunus.errors import ConfigError


class FileNetwork(nn.Module):
    """An ONNX file in ONNX Runtime, called like the model that it was exported from; batches of any size go
    through in those of the file.

    Args:
        path: a file with one input, with the samples first.
        threads: of ONNX Runtime.
        like: what the model returns, for files with several outputs, or with one that is not a tensor by
            itself: a nest of tensors, whose values do not count.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ConfigError: several inputs, or outputs other than those of `like`.
    """

    def __init__(self, path: Path | str, *, threads: int = 1, like: Any = None) -> None:
        super().__init__()
        self._session = session(path, threads=threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._leaves, self._nest = _pytree.tree_flatten(torch.empty(0) if like is None else like)
        if len(inputs) != 1 or len(outputs) != len(tensors(self._leaves)):
            raise ConfigError(
                f"{Path(path).name} has {len(inputs)} inputs and {len(outputs)} outputs; with one input, and"
                f" {len(tensors(self._leaves)) or 'some'} outputs, it can be measured by a task."
            )
        self._name, length = inputs[0].name, inputs[0].shape[0]
        self._batch: int | None = length if isinstance(length, int) else None

    def forward(self, x: Tensor) -> Any:
        """What the file gives, on the CPU; the last batch is filled up with its last sample."""
        size = self._batch or len(x)
        found: list[list[Tensor]] = []
        for part in torch.split(x.detach().cpu().float(), size):
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            every = map(torch.as_tensor, self._session.run(None, {self._name: filled.numpy()}))
            found.append([one[: len(part)] if one.dim() else one for one in every])
        whole = (torch.cat(parts) if parts[0].dim() else parts[0] for parts in map(list, zip(*found)))
        leaves = [next(whole) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        return _pytree.tree_unflatten(leaves, self._nest)
