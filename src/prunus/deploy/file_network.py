"""A file as a network: whatever measures models measures files too."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from prunus.deploy.onnx import session
from prunus.errors import ConfigError


class FileNetwork(nn.Module):
    """An ONNX file in ONNX Runtime, called like the model that it was exported from; batches of any size go
    through in those of the file.

    Args:
        path: a file with one input and one output, both with the samples first.
        threads: of ONNX Runtime.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ConfigError: several inputs or outputs.
    """

    def __init__(self, path: Path | str, *, threads: int = 1) -> None:
        super().__init__()
        self._session = session(path, threads=threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ConfigError(
                f"{Path(path).name} has {len(inputs)} inputs and {len(outputs)} outputs; with one of each it"
                " can be measured by a task."
            )
        self._name, length = inputs[0].name, inputs[0].shape[0]
        self._batch: int | None = length if isinstance(length, int) else None

    def forward(self, x: Tensor) -> Tensor:
        """What the file gives, on the CPU; the last batch is filled up with its last sample."""
        size = self._batch or len(x)
        found = []
        for part in torch.split(x.detach().cpu().float(), size):
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            found.append(
                torch.as_tensor(self._session.run(None, {self._name: filled.numpy()})[0])[: len(part)]
            )
        return torch.cat(found)
