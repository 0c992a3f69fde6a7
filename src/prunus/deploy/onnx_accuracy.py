"""Which samples an ONNX file tells right."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus._foundation.finite import named_class
from prunus.data.sets import Split
from prunus.deploy.onnx_file import session
from prunus.errors import ConfigError
from prunus.training.feeding import Normalise, batches

BATCH = 200  # samples that are read at once, and the batch where the file leaves it open


@door(ConfigError)
def told_right(path: Path | str, split: Split, normalise: Normalise, *, threads: int = 1) -> Tensor:
    """Which samples a classifier in a file tells right, (samples,) bool.

    Args:
        path: a file with one input, images (batch, C, H, W), that gives logits (batch, classes); with a batch
            of its own, or any.
        split: the samples.
        normalise: (mean, std) of every plane, in units of 0..1.
        threads: of ONNX Runtime.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DataError: no samples.
        ConfigError: the file gives something other than logits.
    """
    opened = session(path, threads=threads)
    (entry,) = opened.get_inputs()
    fixed = isinstance(entry.shape[0], int)
    size = entry.shape[0] if fixed else BATCH
    right = []
    for images, labels in batches(split, normalise, BATCH):
        for part, wanted in zip(torch.split(images, size), torch.split(labels, size)):
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])]) if fixed else part
            logits = torch.as_tensor(opened.run(None, {entry.name: filled.numpy()})[0])
            if logits.dim() != 2:
                raise ConfigError(
                    f"{Path(path).name} must give logits (batch, classes), not shape {tuple(logits.shape)}."
                )
            right.append(named_class(logits[: len(wanted)]) == wanted)
    return torch.cat(right)
