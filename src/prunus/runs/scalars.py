"""The curves of a training as TensorBoard shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from prunus.errors import MissingExtraError

if TYPE_CHECKING:
    from prunus.training import EpochRecord

_NAMES = {
    "loss": "loss/training",
    "validation_loss": "loss/validation",
    "accuracy": "accuracy/training",
    "validation_accuracy": "accuracy/validation",
    "lr": "learning rate",
    "samples": "samples",
    "seconds": "seconds/epoch",
    "choosing_seconds": "seconds/choosing",
}


@contextmanager
def scalars(folder: Path) -> Iterator[Callable[[EpochRecord], None]]:
    """Takes the record of every epoch into event files in the folder; what a broken-off training had put
    there of the same epochs is replaced.

    Raises MissingExtraError without TensorBoard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("Curves for TensorBoard need the extra prunus[tensorboard].") from error
    writer = None

    def note(record: EpochRecord) -> None:
        nonlocal writer
        if writer is None:
            writer = SummaryWriter(folder, purge_step=record.epoch)
        for key, value in asdict(record).items():
            if key in _NAMES and value is not None:
                writer.add_scalar(_NAMES[key], value, record.epoch)
        writer.flush()

    try:
        yield note
    finally:
        if writer is not None:
            writer.close()
