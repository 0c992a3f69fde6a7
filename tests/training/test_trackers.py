"""The numbers of a training reach every tracker, epoch by epoch, and the trackers are closed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError, MissingExtraError
from prunus.training import History, MLflow, TensorBoard, Tracker, TrainConfig, WandB, track, train


class Kept:
    """A tracker of the user's."""

    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []
        self.closed: list[bool] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.values.append((step, dict(values)))

    def close(self, failed: bool = False) -> None:
        self.closed.append(failed)


def trained(*trackers: Tracker, epochs: int = 3) -> History:
    torch.manual_seed(0)
    inputs = torch.randn(8, 4)
    data = [(inputs, (inputs.sum(1) > 0).long())] * 2
    config = TrainConfig(epochs=epochs, lr=0.1)
    with track(*trackers) as note:
        return train(nn.Linear(4, 2), data, config, validation=lambda model: 50.0, on_epoch=note)


def test_a_tracker_of_ones_own_hears_of_every_epoch() -> None:
    first, second = Kept(), Kept()
    history = trained(first, second)
    assert [step for step, _ in first.values] == [1, 2, 3] and first.values == second.values
    for (_, values), record in zip(first.values, history.epochs, strict=True):
        assert values["loss/training"] == record.loss and values["accuracy/validation"] == 50.0
        assert values["learning rate"] == record.lr and values["samples"] == 16
        assert "loss/validation" not in values  # is not known here
    assert first.closed == second.closed == [False]


def test_all_trackers_are_closed_when_a_training_breaks_off() -> None:
    class Full(Kept):
        def close(self, failed: bool = False) -> None:
            super().close(failed)
            raise OSError("The disk is full.")

    first, second = Kept(), Full()
    with pytest.raises(OSError), track(first, second):
        raise KeyboardInterrupt
    assert first.closed == second.closed == [True]


def test_tensorboard_shows_what_was_logged(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoard(tmp_path / "curves")
    assert not (tmp_path / "curves").exists()
    history = trained(board)
    events = accumulator.EventAccumulator(str(tmp_path / "curves")).Reload()
    found = events.Scalars("loss/training")
    assert [event.step for event in found] == [1, 2, 3]
    assert [event.value for event in found] == pytest.approx([epoch.loss for epoch in history.epochs])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_a_run_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "runs").as_uri()
    history = trained(MLflow("digits", uri=uri, name="first"))
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    found = client.get_metric_history(run.info.run_id, "loss/training")
    assert {point.step: point.value for point in found} == {e.epoch: e.loss for e in history.epochs}
    with pytest.raises(RuntimeError), track(tracker := MLflow("digits", uri=uri)) as _:
        tracker.log({"loss": 1.0}, 1)
        raise RuntimeError
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


OFFLINE = """
import sys
from prunus.training import WandB, track
with track(tracker := WandB("digits", folder=sys.argv[1], name="first")):
    tracker.log({"loss/training": 0.5}, 1)
"""


def test_wandb_keeps_a_run_offline(tmp_path: Path) -> None:
    """In a process of its own, as the package has a service that outlives a test."""
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("the extra wandb is not installed")
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, **quiet})
    (written,) = tmp_path.rglob("*.wandb")
    assert b"loss/training" in written.read_bytes()


class Recorder(types.ModuleType):
    """Stands for mlflow or wandb, and writes down how it is called."""

    def __init__(self, active: Any = None) -> None:
        super().__init__("recorder")
        self.calls: list[tuple[Any, ...]] = []
        self.run = self.active = active

    def active_run(self) -> Any:
        return self.active

    def MlflowClient(self, tracking_uri: str | None = None) -> Recorder:  # noqa: N802
        self.calls.append(("client", tracking_uri))
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        self.calls.append(("experiment", name))
        return "7"

    def create_run(self, experiment: str, run_name: str | None) -> Any:
        self.calls.append(("run", experiment, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="new"))

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.calls.append(("metric", run, name, value, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.calls.append(("ended", run, status))

    def init(self, **settings: Any) -> Recorder:
        self.calls.append(("init", settings))
        return self

    def log(self, values: dict[str, float]) -> None:
        self.calls.append(("log", values))

    def finish(self, exit_code: int) -> None:
        self.calls.append(("finish", exit_code))


def test_mlflow_is_called_with_the_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    history = trained(MLflow("digits", name="first"), epochs=2)
    assert fake.calls[:3] == [("client", None), ("experiment", "digits"), ("run", "7", "first")]
    losses = [(call[4], call[3]) for call in fake.calls if call[:3] == ("metric", "new", "loss/training")]
    assert losses == [(epoch.epoch, epoch.loss) for epoch in history.epochs]
    assert fake.calls[-1] == ("ended", "new", "FINISHED")


def test_a_run_of_the_users_is_used_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Recorder(types.SimpleNamespace(info=types.SimpleNamespace(run_id="theirs")))
    wandb = Recorder()
    wandb.run = wandb
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trained(MLflow(), WandB(), epochs=1)
    assert {call[0] for call in mlflow.calls} == {"client", "metric"}
    assert {call[1] for call in mlflow.calls if call[0] == "metric"} == {"theirs"}
    assert {call[0] for call in wandb.calls} == {"log"}


def test_wandb_is_called_with_the_numbers_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    history = trained(WandB("digits", folder=tmp_path), epochs=2)
    assert fake.calls[0] == ("init", {"project": "digits", "dir": str(tmp_path), "name": None})
    logged = [call[1] for call in fake.calls if call[0] == "log"]
    assert [(values["epoch"], values["loss/training"]) for values in logged] == [
        (epoch.epoch, epoch.loss) for epoch in history.epochs
    ]
    assert fake.calls[-1] == ("finish", 0)


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("torch.utils.tensorboard", lambda: TensorBoard("curves"), "tensorboard"),
        ("mlflow", MLflow, "mlflow"),
        ("wandb", WandB, "wandb"),
    ],
)
def test_without_its_package_the_extra_is_named(
    module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"need the extra prunus\[{extra}\]"):
        make()


@pytest.mark.parametrize("wrong", [None, "tensorboard", print, Kept, object()])
def test_what_is_no_tracker_is_said_before_anything_is_trained(wrong: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^A tracker is an object with the methods log and close, not .*\.$"
    ):
        track(Kept(), wrong)
