"""The whole story on embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from prunus import data, models
from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError
from prunus.measure.timing import pinned_threads
from prunus.methods.common import Outcome, Target
from prunus.methods.one_shot import one_shot
from prunus.runs.delivery import check, deliver
from prunus.runs.describe import Provenance
from prunus.runs.names import Compensation, Score, compensation_function, score_function
from prunus.storage.lock import folder_lock
from prunus.tasks import Task
from prunus.training import TrainConfig, train
from prunus.training.feeding import batches

if TYPE_CHECKING:
    from torch import nn

# 1,442 training digits: a quarter held out leaves room to train. 360 digits that agree leave 0.8 points open,
# so that two can be proved.
HELD_OUT = 0.25
TRAINING_EPOCHS = 30
TUNING_EPOCHS = 15
TRIAL_EPOCHS = 3
BATCH, RATE, TUNING_RATE = 64, 0.05, 0.02


@door(ConfigError)
def demo(
    folder: Path | str = "runs/demo",
    *,
    tolerance: float = 2.0,
    seed: int = 0,
    command: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Train LeNet-5 on embedded handwritten digits, prune it to a tolerance, and report.

    Args:
        folder: where to; made if it is not there.
        tolerance: points of accuracy that may go.
        seed: of everything random.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`.

    Raises:
        MissingExtraError, ConfigError: an extra is missing, or the folder cannot be written.
    """
    folder = Path(folder)
    check(folder, with_onnx=True, with_report=True)
    # Digits of 8 x 8 pixels are too little work to share: a second thread costs more than it does, most of
    # all where it has to wait for its core, and with one thread every machine of a kind gives the same
    # numbers.
    with folder_lock(folder), pinned_threads(1):
        torch.manual_seed(seed)
        digits = data.load("digits")
        kept, held_out = digits.hold_out(HELD_OUT, seed)
        task = Task(kept, held_out, digits.test, normalise=digits.normalise, name="digits")
        options = {"num_classes": len(digits.classes), "image_size": digits.image_shape[-1]}
        model = models.lenet5(**options)
        watch("training", 0, 0)
        history = train(
            model,
            kept,
            _config(TRAINING_EPOCHS, RATE, seed),
            normalise=digits.normalise,
            validation=held_out,
            on_step=lambda done, total: watch("training", done, total),
        )
        images, _ = next(iter(batches(digits.test, digits.normalise, 64)))
        outcome = _pruned(model.eval(), task, tolerance, seed, watch)
        record = {
            "name": "lenet5",
            "class": type(model).__name__,
            "input_shape": [1, *digits.image_shape],
            "options": options,
            "weights": "",
        }
        about = Provenance(
            record,
            Score.RECONSTRUCTION.value,
            seed,
            command,
            task,
            history,
            panels={"compensation": Compensation.REFIT.value},
        )
        return deliver(folder, model, outcome, images[:1], about, watch=watch)


def _pruned(model: nn.Module, task: Task, tolerance: float, seed: int, watch: Watch) -> Outcome:
    return one_shot(
        model,
        task,
        score=score_function(Score.RECONSTRUCTION, seed, task),
        target=Target("tolerance", tolerance),
        compensate=compensation_function(Compensation.REFIT, seed, task),
        config=_config(TUNING_EPOCHS, TUNING_RATE, seed),
        trial_config=_config(TRIAL_EPOCHS, TUNING_RATE, seed),
        watch=watch,
    )


def _config(epochs: int, lr: float, seed: int) -> TrainConfig:
    return TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr, seed=seed)
