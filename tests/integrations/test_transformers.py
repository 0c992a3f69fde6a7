"""A pruned training of Hugging Face's Trainer is the same training in the core's loop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integrations.loops import Diary, Net, batches, in_the_core, same, sgd, soft
from tests.torchvision_shim import missing
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

import prunus
from prunus.errors import ConfigError
from prunus.training import Pruning

for _name in ("transformers", "accelerate"):
    if _reason := missing(_name):
        pytest.skip(_reason, allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

    from prunus.integrations.transformers import PruningCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # Transformers': no accelerator to pin memory for
SIZE = 6


class Pictures(Dataset[dict[str, Tensor]]):
    """The batches, one by one."""

    def __init__(self) -> None:
        self.images, self.labels = (torch.cat(parts) for parts in zip(*batches(5, SIZE)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.images[index], "labels": self.labels[index]}


class Model(nn.Module):
    """A network that tells its loss, as those of the package do."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.net = Net(frozen)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(x)
        found = {"logits": logits}
        return found if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), **found}


class Trainer(transformers.Trainer):  # type: ignore[misc]
    """Takes the samples in their order."""

    def _get_train_sampler(self, *args: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def fit(
    model: nn.Module, callback: Any, folder: Path, epochs: float = 4, resume: Any = None, **options: Any
) -> Any:
    arguments = transformers.TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=SIZE,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        max_grad_norm=0.0,
        **{"save_strategy": "no", **options},
    )
    optimizer = sgd(model)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Pictures(),
        eval_dataset=Pictures(),
        callbacks=[callback],
        optimizers=(optimizer, constant),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("frozen", [False, True], ids=["all trained", "a frozen batch norm"])
@pytest.mark.parametrize("freeze", [0.5, 0.0])
def test_the_weights_are_those_of_the_cores_loop(frozen: bool, freeze: float, tmp_path: Path) -> None:
    core, ours = soft(freeze=freeze), soft(freeze=freeze)
    expected, model = in_the_core(Net(frozen), core), Model(frozen)
    callback: Any = PruningCallback(ours, "net")
    fit(model, callback, tmp_path)
    assert same(model.net, expected) and ours.record == core.record and ours.frozen == (freeze > 0)
    assert core.plan is not None and same(callback.small, prunus.compact(expected, core.plan))
    assert callback.small.second.out_channels == 6 and not (
        frozen and callback.small.outer.weight.requires_grad
    )


def test_steps_are_those_of_the_optimiser_and_epochs_end_once(tmp_path: Path) -> None:
    told = Diary()
    fit(Model(), PruningCallback(told, "net"), tmp_path, 2, gradient_accumulation_steps=2)
    steps = [("step",)] * 3  # of two, two and one batch
    assert told.told == [("begin", 2), *steps, ("epoch", 0, 2), *steps, ("epoch", 1, 2)]
    told = Diary()
    fit(Model(), PruningCallback(told, "net"), tmp_path, max_steps=7)
    assert told.told == [("begin", 2), *[("step",)] * 5, ("epoch", 0, 2), *[("step",)] * 2, ("epoch", 1, 2)]


@pytest.mark.parametrize(
    "strategy", [{"save_strategy": "epoch"}, {"save_strategy": "steps", "save_steps": 1}]
)
@pytest.mark.parametrize("at", [5, 10, 15])
def test_a_resumed_training_ends_with_the_same_weights(
    strategy: dict[str, Any], at: int, tmp_path: Path
) -> None:
    whole, pruning = Model(), soft()
    fit(whole, PruningCallback(pruning, "net"), tmp_path, save_total_limit=None, **strategy)
    second, again = Model(), soft()
    callback: Any = PruningCallback(again, "net")
    fit(second, callback, tmp_path / "again", resume=str(tmp_path / f"checkpoint-{at}"))
    assert same(second, whole) and again.record == pruning.record
    assert callback.small.second.out_channels == 6


def test_callbacks_that_are_restored_by_the_trainer_are_no_hindrance(tmp_path: Path) -> None:
    told = Diary()
    fit(Model(), PruningCallback(told, "net", epochs=2), tmp_path, 1, save_strategy="epoch")
    again = Diary()
    fit(
        Model(),
        PruningCallback(again, "net"),
        tmp_path / "again",
        2,
        str(tmp_path / "checkpoint-5"),
        restore_callback_states_from_checkpoint=True,
    )
    assert again.told[: len(told.told)] == told.told and again.told[-1] == ("epoch", 1, 2)
    assert [entry for entry in again.told if entry[0] == "begin"] == [("begin", 2)]


def test_of_the_best_checkpoint_its_channels_go(tmp_path: Path) -> None:
    """Each epoch is worse than the one before, so that the first one's weights are loaded in the end."""
    scores = iter((4.0, 3.0, 2.0, 1.0))
    core, pruning, model = soft(freeze=0.0), soft(freeze=0.0), Model()
    callback: Any = PruningCallback(pruning, "net")
    trainer_options: dict[str, Any] = {
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": "score",
        "greater_is_better": True,
    }
    kind: Any = Trainer
    original = kind.evaluate
    kind.evaluate = lambda self, *args, **kwargs: {"eval_score": next(scores)}
    try:
        fit(model, callback, tmp_path, **trainer_options)
    finally:
        kind.evaluate = original

    class First(Pruning):
        """As the other one, until the first epoch has ended."""

        def before_training(self, model: nn.Module, epochs: int) -> None:
            core.before_training(model, 4)

        def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
            core.after_epoch(model, 0, 4)

    expected = in_the_core(Net(), First(), 1)
    assert same(model.net, expected) and core.plan is not None
    assert same(callback.small, prunus.compact(expected, core.plan))


def test_the_optimiser_goes_on_with_the_compact_network(tmp_path: Path) -> None:
    callback, model = PruningCallback(soft(), "net"), Model()
    trainer = fit(model, callback, tmp_path)
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    kept = model.net.norm.weight != 0
    momentum = optimizer.state[model.net.norm.weight]["momentum_buffer"][kept].clone()
    small = callback.compact(model, optimizer)
    assert torch.equal(optimizer.state[small.norm.weight]["momentum_buffer"], momentum)


def test_bfloat16_is_pruned_exactly(tmp_path: Path) -> None:
    callback: Any = PruningCallback(soft(), "net")
    model = Model()
    fit(model, callback, tmp_path, bf16=True)
    pruned = model.net.norm.weight == 0
    assert pruned.sum() == 4 and model.net.first.weight[pruned].count_nonzero() == 0
    assert callback.small.second.out_channels == 6


def test_a_network_of_the_package_is_pruned_by_its_named_inputs(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        num_channels=1,
        embedding_size=8,
        hidden_sizes=[8, 12],
        depths=[1, 1],
        layer_type="basic",
        num_labels=3,
    )
    torch.manual_seed(0)
    network = transformers.ResNetForImageClassification(config)

    class Renamed(Pictures):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"pixel_values": self.images[index], "labels": self.labels[index]}

    arguments = transformers.TrainingArguments(
        str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=SIZE,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
    )
    from prunus.methods.soft import SoftPruning

    callback: Any = PruningCallback(SoftPruning({"pixel_values": torch.zeros(1, 1, 8, 8)}, 0.5))
    transformers.Trainer(network, arguments, train_dataset=Renamed(), callbacks=[callback]).train()
    small = callback.small
    assert type(small) is type(network) and small.num_parameters() < 0.7 * network.num_parameters()
    assert small.eval()(pixel_values=torch.zeros(1, 1, 8, 8)).logits.shape == (1, 3)


def test_what_cannot_be_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Model has no module 'nets'.*its own are net"):
        fit(Model(), PruningCallback(soft(), "nets"), tmp_path)
