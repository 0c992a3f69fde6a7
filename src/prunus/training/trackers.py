"""Where the numbers of a training are shown while it goes on: TensorBoard, MLflow, Weights & Biases, or a
tracker of the user's.

Where to, and as whom, is set as these packages want it (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, a login of their
own); no token passes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prunus._foundation.arguments import checked
from prunus._foundation.wording import given
from prunus.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from prunus.training.progress import EpochRecord

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


@runtime_checkable
class Tracker(Protocol):
    """Takes numbers in the course of a training."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """What is known after a step, by name; here the steps are epochs, counted from 1."""

    def close(self, failed: bool = False) -> None:
        """No more numbers come; `failed` where the training was broken off."""


def track(*trackers: Tracker) -> AbstractContextManager[Callable[[EpochRecord], None]]:
    """Takes the record of every epoch to trackers; give it to `train` as `on_epoch`. They are closed at the
    end.

    Raises:
        ConfigError: something that is no tracker.
    """
    for tracker in trackers:
        if isinstance(tracker, type) or not isinstance(tracker, Tracker):
            raise ConfigError(f"A tracker is an object with the methods log and close, not {given(tracker)}.")
    return _tracking(trackers)


@contextmanager
def _tracking(trackers: tuple[Tracker, ...]) -> Iterator[Callable[[EpochRecord], None]]:
    def note(record: EpochRecord) -> None:
        values = {
            _NAMES[key]: float(value)
            for key, value in asdict(record).items()
            if key in _NAMES and value is not None
        }
        for tracker in trackers:
            tracker.log(values, record.epoch)

    with ExitStack() as closing:
        for tracker in trackers:
            closing.push(_closes(tracker))
        yield note


def _closes(tracker: Tracker) -> Callable[..., None]:
    """What closes a tracker when a block is left."""
    return lambda kind, *_: tracker.close(failed=kind is not None)


class TensorBoard:
    """Event files; what a broken-off training had put there of the same epochs is replaced.

    Args:
        folder: of the files; made with the first numbers.

    Raises MissingExtraError without TensorBoard.
    """

    @checked(ConfigError)
    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("Curves for TensorBoard need the extra prunus[tensorboard].") from error
        self._open, self._folder = SummaryWriter, Path(folder)
        self._writer: SummaryWriter | None = None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write, and flush: one looks at curves while they grow."""
        if self._writer is None:
            self._writer = self._open(self._folder, purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, failed: bool = False) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()


class MLflow:
    """Metrics of a run of MLflow: of the one that is active, else of a new one, which is ended in the end.

    Args:
        experiment: of the new run; made if there is none of this name.
        uri: where to, such as a folder or the address of a server; None = where MLflow is set to.
        name: of the new run; None = one of MLflow's own.

    Raises MissingExtraError without MLflow.
    """

    def __init__(
        self, experiment: str = "prunus", *, uri: str | None = None, name: str | None = None
    ) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise MissingExtraError("Metrics for MLflow need the extra prunus[mlflow].") from error
        active = mlflow.active_run() if uri is None else None
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._own, self._run = active is None, None if active is None else active.info.run_id
        self._experiment, self._name = experiment, name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the values; the run begins with the first ones."""
        if self._run is None:
            self._run = self._begin()
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self, failed: bool = False) -> None:
        """End the run, if it was begun here."""
        if self._own and self._run is not None:
            self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")
            self._run = None

    def _begin(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        number = found.experiment_id if found else self._client.create_experiment(self._experiment)
        return str(self._client.create_run(number, run_name=self._name).info.run_id)


class WandB:
    """Values of a run of Weights & Biases: of the one that is going on, else of a new one, which is finished
    in the end.

    Args:
        project: of the new run.
        folder: where its files go; None = where the package is set to.
        name: of the new run; None = one of the package's own.

    Raises MissingExtraError without the package.
    """

    def __init__(
        self, project: str = "prunus", *, folder: Path | str | None = None, name: str | None = None
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError("Values for Weights & Biases need the extra prunus[wandb].") from error
        self._begin, self._run = wandb.init, wandb.run
        self._own = wandb.run is None
        self._settings: dict[str, Any] = {
            "project": project,
            "dir": None if folder is None else str(folder),
            "name": name,
        }

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the values; the run begins with the first ones."""
        if self._run is None:
            self._run = self._begin(**self._settings)
        self._run.log({**values, "epoch": step})

    def close(self, failed: bool = False) -> None:
        """Finish the run, if it was begun here."""
        if self._own and self._run is not None:
            self._run.finish(exit_code=int(failed))
            self._run = None
