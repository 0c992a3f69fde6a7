"""`prunus demo`: the whole story on embedded data, in under two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show_json
from prunus.cli.summary import show_result
from prunus.cli.verbs import typed_command
from prunus.runs.names import Compensation, Score, compensation_function, score_function

# 1,442 training digits: a quarter held out leaves room to train. 360 digits that agree leave 0.8 points open,
# so that two can be proved.
HELD_OUT = 0.25
TRAINING_EPOCHS = 30
TUNING_EPOCHS = 15
TRIAL_EPOCHS = 3
BATCH, RATE, TUNING_RATE = 64, 0.05, 0.02


def demo(
    context: typer.Context,
    output: given.Folder = Path("runs/demo"),
    tolerance: Annotated[float, typer.Option(help="Points of accuracy that may go.")] = 2.0,
    seed: given.Seed = 0,
    as_json: given.AsJson = False,
) -> None:
    """Train LeNet-5 on embedded handwritten digits, prune it to a tolerance, and report. No download."""
    import torch

    from prunus import data, models
    from prunus.measure.timing import pinned_threads
    from prunus.methods.common import Target
    from prunus.methods.one_shot import one_shot
    from prunus.runs.delivery import check, deliver
    from prunus.storage.lock import folder_lock
    from prunus.tasks import Task
    from prunus.training import TrainConfig, batches, train

    check(output, with_onnx=True, with_report=True)
    # Digits of 8 x 8 pixels are too little work to share: a second thread costs more than it does, most of
    # all where it has to wait for its core, and with one thread every machine of a kind gives the same
    # numbers.
    with folder_lock(output), pinned_threads(1), bars() as watch:
        torch.manual_seed(seed)
        digits = data.load("digits")
        kept, held_out = digits.hold_out(HELD_OUT, seed)
        task = Task(kept, held_out, digits.test, normalise=digits.normalise)
        options = {"num_classes": len(digits.classes), "image_size": digits.image_shape[-1]}
        model = models.lenet5(**options)
        watch("training", 0, 0)
        history = train(
            model,
            kept,
            TrainConfig(epochs=TRAINING_EPOCHS, batch_size=BATCH, lr=RATE, seed=seed),
            normalise=digits.normalise,
            validation=held_out,
            on_step=lambda done, total: watch("training", done, total),
        )
        images, _ = next(iter(batches(digits.test, digits.normalise, 64)))
        outcome = one_shot(
            model.eval(),
            task,
            score=score_function(Score.RECONSTRUCTION, seed, task),
            target=Target("tolerance", tolerance),
            compensate=compensation_function(Compensation.REFIT, seed, task),
            config=TrainConfig(epochs=TUNING_EPOCHS, batch_size=BATCH, lr=TUNING_RATE, seed=seed),
            trial_config=TrainConfig(epochs=TRIAL_EPOCHS, batch_size=BATCH, lr=TUNING_RATE, seed=seed),
            watch=watch,
        )
        result = deliver(
            output,
            model,
            outcome,
            images[:1],
            command=typed_command(context),
            model={
                "name": "lenet5",
                "class": type(model).__name__,
                "input_shape": [1, *digits.image_shape],
                "options": options,
                "weights": "",
            },
            score=Score.RECONSTRUCTION.value,
            panels={"compensation": Compensation.REFIT.value},
            seed=seed,
            task=task,
            training=history,
            watch=watch,
        )
    show_json(result) if as_json else show_result(result, output)
