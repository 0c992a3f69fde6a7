"""Arguments of a wrong kind are told in one sentence; numbers from elsewhere are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus import compensation, data, models, scores, training
from prunus._foundation.arguments import door
from prunus._foundation.wording import near
from prunus.errors import ArgumentError, CompactError, ConfigError, FileFormatError, PrunusError, TargetError
from prunus.tasks import Task

IMAGE = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    model = nn.Sequential()
    for name, layer in (
        ("conv1", nn.Conv2d(3, 8, 3)),
        ("conv2", nn.Conv2d(8, 8, 3)),
        ("conv3", nn.Conv2d(8, 4, 3)),
    ):
        model.add_module(name, layer)
    return model.eval()


@pytest.fixture(scope="module")
def graph(model: nn.Module) -> prunus.ChannelGraph:
    return prunus.trace(model, IMAGE)


def told(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(PrunusError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


def test_what_belongs_there_and_what_was_given(model: nn.Module, graph: prunus.ChannelGraph) -> None:
    values = scores.norm(graph)
    plan = prunus.plan(graph, values, rate=0.5)
    traced = "graph must be a traced graph (prunus.trace(model, example_inputs)), not the module Sequential."
    assert told(prunus.plan, model, values, rate=0.5) == traced
    assert told(scores.norm, model) == traced
    assert told(prunus.compact, plan, model) == "model must be a torch.nn.Module, not a plan."
    assert (
        told(prunus.mask, model, graph)
        == "plan must be a plan (prunus.plan(graph, scores, ...)), not a traced graph."
    )
    assert (
        told(prunus.trace, nn.Linear, IMAGE)
        == "model must be a torch.nn.Module, not the class Linear; make one of it first."
    )
    assert (
        told(prunus.plan, graph, scores.norm, rate=0.5)
        == "scores must be a tensor, not the function norm; call it, and give what it returns."
    )
    assert told(scores.taylor, graph, [(IMAGE, torch.zeros(1).long())], nn.CrossEntropyLoss).endswith(
        "make one of it first."
    )
    assert told(scores.activation_mean, graph, IMAGE).endswith(
        "not a tensor of shape (1, 3, 16, 16); put it into a list."
    )


@pytest.mark.parametrize("value", ["0.5", True, [0.5], np.array([0.5]), torch.tensor([0.5])])
def test_only_numbers_are_numbers(graph: prunus.ChannelGraph, value: Any) -> None:
    assert told(prunus.plan, graph, scores.norm(graph), rate=value).startswith(
        "rate must be a number or None, not "
    )
    assert (
        told(prunus.plan, graph, scores.norm(graph), rate=0.5, round_to=8.0)
        == "round_to must be a whole number or 'auto', not 8.0."
    )
    assert told(prunus.plan, graph, scores.norm(graph), rate=0.5, round_to="8").startswith(
        "round_to must be a whole number or 'auto', not '8'"
    )
    assert (
        told(prunus.plan, graph, scores.norm(graph), rate=0.5, exact=1)
        == "exact must be True or False, not 1."
    )


@pytest.mark.parametrize(
    "half",
    [
        0.5,
        np.float32(0.5),
        np.float64(0.5),
        np.array(0.5),
        torch.tensor(0.5),
        torch.tensor(0.5, requires_grad=True),
    ],
)
@pytest.mark.parametrize("eight", [4, np.int64(4), torch.tensor(4)])
def test_numbers_of_numpy_and_torch_are_taken(graph: prunus.ChannelGraph, half: Any, eight: Any) -> None:
    assert prunus.plan(graph, scores.norm(graph), rate=half, round_to=eight).removed == 8


@pytest.mark.parametrize(
    "form",
    [
        lambda s: s.requires_grad_(),
        lambda s: s.numpy(),
        lambda s: s.tolist(),
        lambda s: s.half(),
        lambda s: s.double(),
    ],
)
def test_scores_come_in_many_forms(graph: prunus.ChannelGraph, form: Any) -> None:
    assert prunus.plan(graph, form(scores.norm(graph).detach().float()), rate=0.5).removed == 8


def test_scores_that_are_none(graph: prunus.ChannelGraph) -> None:
    values = scores.norm(graph)
    assert "without values" in told(prunus.plan, graph, values.to("meta"), rate=0.5)
    assert "complex" in told(prunus.plan, graph, values * 1j, rate=0.5)
    assert told(prunus.plan, graph, values[1:], rate=0.5).startswith("There are 15 scores for 16 channels")
    assert "not a number" in told(prunus.plan, graph, values * float("nan"), rate=0.5)


def test_a_model_without_values_is_told_so(graph: prunus.ChannelGraph) -> None:
    """torch said that there was no data to copy out of a meta tensor."""
    model = models.lenet5(image_size=8).to("meta")
    bare, digits = prunus.trace(model, torch.zeros(1, 1, 8, 8)), data.load("digits")
    for said in (
        told(scores.norm, bare),
        told(scores.similarity, bare),
        told(training.evaluate, model, digits.test, digits.normalise),
        told(Task(digits.train, test=digits.test, normalise=digits.normalise).value, model),
    ):
        assert said.startswith("conv1.weight is on the meta device") and "load_state_dict" in said
    assert prunus.plan(bare, scores.random(bare), rate=0.5).removed > 0  # shapes are enough for that


def test_one_text_is_one_pattern(graph: prunus.ChannelGraph) -> None:
    plans = [
        prunus.plan(graph, scores.norm(graph), rate=0.5, protect=protect)
        for protect in ("conv1", ["conv1"], ("conv1",))
    ]
    assert [plan.removed for plan in plans] == [4, 4, 4]
    assert told(prunus.plan, graph, scores.norm(graph), rate=0.5, protect=[1]).startswith(
        "protect must be a text or a list of texts, not the list [1]"
    )


def test_near_misses_are_named(model: nn.Module, graph: prunus.ChannelGraph) -> None:
    values = scores.norm(graph)
    assert told(prunus.plan, graph, values, rat=0.5) == "plan has no argument 'rat'; did you mean 'rate'."
    assert told(prunus.plan, graph, values, rate=0.5, scope="Global").endswith(
        "not 'Global'; did you mean 'global'."
    )
    assert told(prunus.plan, graph).startswith("plan needs the argument 'scores'")
    assert told(prunus.mask, model).startswith("mask needs the argument 'plan'")
    assert told(scores.norm, graph, 2, "mean", 4).startswith("norm takes 3 arguments by place")
    assert told(scores.norm, graph, 2, p=2).startswith("norm is given the argument 'p' twice")
    assert told(prunus.plan, graph, values, rate=30).endswith("not 30; did you mean 0.3.")
    assert told(training.TrainConfig, optimizer="sdg").endswith("not 'sdg'; did you mean 'sgd'.")
    assert told(training.TrainConfig, augment="crop_flip").endswith("did you mean 'crop-flip'.")
    assert near("zebra", ["crop", "flip"]) == ""


def test_a_module_is_not_what_makes_one(model: nn.Module, tmp_path: Path) -> None:
    assert told(prunus.load, tmp_path / "none.safetensors", model).endswith(
        "; give what makes it, such as lambda: Network()."
    )
    # a loss may be a module
    training.train(
        nn.Linear(2, 2),
        [(torch.ones(1, 2), torch.ones(1, 2))],
        training.TrainConfig(epochs=1),
        loss=nn.MSELoss(),
    )


def test_errors_are_of_their_own_kind_too(model: nn.Module, graph: prunus.ChannelGraph) -> None:
    with pytest.raises(TargetError):
        prunus.plan(graph, scores.norm(graph), rate=0.5, scope="all")  # type: ignore[arg-type]
    with pytest.raises(CompactError):
        prunus.compact(model, prunus.plan(graph, scores.norm(graph), rate=0.5), prefer="fast")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        scores.norm(model)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        training.TrainConfig(epochs=1.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        training.TrainConfig(epochs="3")  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3", None, float("nan")])
def test_settings_of_a_training_are_whole_numbers(epochs: Any) -> None:
    assert told(training.TrainConfig, epochs=epochs).startswith("epochs must be ")


def test_inputs_that_are_none(model: nn.Module) -> None:
    assert told(prunus.trace, model, (1, 3, 16, 16)).endswith(
        "give a tensor, such as torch.zeros(1, 3, 16, 16)."
    )
    assert told(prunus.trace, model, [1, 3, 16, 16]).endswith(
        "give a tensor, such as torch.zeros(1, 3, 16, 16)."
    )
    assert told(prunus.trace, model, IMAGE.numpy()).endswith("torch.from_numpy makes a tensor of it.")
    assert "check the example inputs" in told(prunus.trace, model, IMAGE.long())
    assert "check the example inputs" in told(prunus.trace, model, {"image": IMAGE})


@pytest.mark.parametrize(
    "batch", [torch.zeros(1, 1, 16, 16), (), {"image": IMAGE}, IMAGE.double(), "text", IMAGE.numpy()]
)
def test_batches_that_the_model_does_not_take(graph: prunus.ChannelGraph, batch: Any) -> None:
    plan = prunus.plan(graph, scores.norm(graph), rate=0.5)
    calls = [
        (compensation.refit, graph.model, plan),
        (scores.reconstruction, graph),
        (scores.thinet, graph),
        (scores.nisp, graph),
    ]
    for function, *first in calls:
        assert told(function, *first, [batch])
        assert told(function, *first, [])


@pytest.mark.parametrize(
    "metric", [None, "93", {"a": 1.0}, torch.zeros(2, 2), torch.zeros(0), float("nan"), True, 1j, object()]
)
def test_metrics_that_are_none(graph: prunus.ChannelGraph, metric: Any) -> None:
    assert told(prunus.plan, graph, scores.norm(graph), tolerance=1.0, evaluate=lambda m: metric)


@pytest.mark.filterwarnings("ignore:The metric gives every sample from 0 to 1")
@pytest.mark.parametrize(
    "metric", [93, 93.0, np.float32(93), torch.tensor(93.0), torch.ones(30), np.ones(30)]
)
def test_metrics_come_in_many_forms(graph: prunus.ChannelGraph, metric: Any) -> None:
    assert prunus.plan(graph, scores.norm(graph), tolerance=1.0, evaluate=lambda m: metric).removed > 8


def test_an_optimiser_of_another_model(model: nn.Module, graph: prunus.ChannelGraph) -> None:
    plan = prunus.plan(graph, scores.norm(graph), rate=0.5)
    assert "give the optimiser that was made for this model" in told(
        prunus.compact, model, plan, optimizer=torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    )
    assert told(prunus.compact, model, plan, optimizer=torch.optim.SGD).startswith(
        "optimizer must be an optimiser, a list of optimisers or None, not the class SGD"
    )


def test_an_empty_text_is_no_path(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be the current folder."""
    monkeypatch.chdir(tmp_path)
    task = prunus.Task([(IMAGE, torch.zeros(1))])
    for call, arguments in (
        (prunus.runs.prune, ("lenet5", "", prunus.runs.PruneSettings(rate=0.5))),
        (prunus.runs.train, (prunus.runs.Recipe("digits", "lenet5"), "")),
        (prunus.save, (model, "")),
        (prunus.load, ("",)),
        (task.fit, (model, training.TrainConfig(epochs=1))),
    ):
        words = {"checkpoint": ""} if call == task.fit else {}
        assert "not ''; an empty text is no path" in told(call, *arguments, **words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, f"{'y' * 300}/model.safetensors"])
def test_a_path_that_cannot_be_looked_at_is_a_sentence(name: str, tmp_path: Path) -> None:
    """`Path.is_file` raises for a name that is too long, and in a folder that may not be searched."""

    @door(FileFormatError)
    def there(path: str | Path) -> bool:
        return Path(path).is_file()

    with pytest.raises(FileFormatError, match="cannot be looked at") as caught:
        there(tmp_path / name)
    assert len(str(caught.value)) < 300

    @door(FileFormatError)
    def reads(path: str | Path, function: Callable[[], object]) -> object:
        return function()

    with pytest.raises(OSError, match="too long"):  # of the user's own
        reads(tmp_path / "a", lambda: Path("z" * 300).is_file())
