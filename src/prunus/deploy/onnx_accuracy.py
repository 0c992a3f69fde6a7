"""Which samples an ONNX file tells right."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from prunus.data.sets import Split
from prunus.deploy.onnx import session
from prunus.errors import ConfigError, DataError
from prunus.training.feeding import Normalise, batches

BATCH = 100  # where the file leaves it open


def told_right(path: Path | str, split: Split, normalise: Normalise, *, threads: int = 1) -> Tensor:
    """Which samples a classifier in a file tells right, (samples,) bool.

    Args:
        path: a file with one input, images (batch, C, H, W), that gives logits (batch, classes); with a batch of its own, or any.
        split: the samples.
        normalise: (mean, std) of every plane, in units of 0..1.
        threads: of ONNX Runtime.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DataError: no samples.
        ConfigError: the file gives something other than logits.
    """
    if not len(split):
        raise DataError("The split has no samples.")
    opened = session(path, threads=threads)
    (entry,) = opened.get_inputs()
    size = entry.shape[0] if isinstance(entry.shape[0], int) else BATCH
    right = []
    for start in range(0, len(split), size):
        here = torch.arange(start, start + size).clamp(max=len(split) - 1)  # the last sample fills up the last batch
        images, labels = next(iter(batches(split.subset(here), normalise, size)))
        logits = torch.as_tensor(opened.run(None, {entry.name: images.numpy()})[0])
        if logits.dim() != 2:
            raise ConfigError(f"{Path(path).name} must give logits (batch, classes), not shape {tuple(logits.shape)}.")
        right.append(logits.argmax(1) == labels)
    return torch.cat(right)[: len(split)]
