"""A pruned training under Lightning is the same training in the core's loop."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.integrations.loops import Diary, Net, batches, in_the_core, same, sgd, soft
from tests.torchvision_shim import missing
from torch import Tensor, nn
from torch.utils.data import DataLoader

import prunus
from prunus.errors import ConfigError, TargetError

pl: Any
for _name in ("lightning", "pytorch_lightning"):
    if not (_reason := missing(_name)):
        pl = importlib.import_module("lightning.pytorch" if _name == "lightning" else _name)
        break
else:
    pytest.skip(_reason, allow_module_level=True)
from prunus.integrations.lightning import PruningCallback  # noqa: E402 (torchvision is made importable above)

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's: few workers, no logger


class Module(pl.LightningModule):  # type: ignore[misc]
    """A user's."""

    def __init__(self, net: nn.Module, data: list[tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.net, self.data = net, data or batches()
        self.validated: list[float] = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.validated.append(float(self.net.norm.weight.eq(0).sum()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self.net)

    def train_dataloader(self) -> Any:
        return DataLoader(cast(Any, self.data), batch_size=None)


class Flat(pl.LightningModule):  # type: ignore[misc]
    """A user's whose layers are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self)

    def train_dataloader(self) -> Any:
        return DataLoader(cast(Any, batches()), batch_size=None)


def fit(module: Any, callback: Any, epochs: int | None = 4, ckpt: Any = None, **options: Any) -> Any:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    options = {"enable_checkpointing": False, **quiet, **options}
    callbacks = [*options.pop("callbacks", []), callback]
    trainer = pl.Trainer(max_epochs=epochs, callbacks=callbacks, **options)
    validation = options.get("limit_val_batches")
    trainer.fit(
        module,
        val_dataloaders=DataLoader(cast(Any, batches(1)), batch_size=None) if validation else None,
        ckpt_path=ckpt,
    )
    return trainer


@pytest.mark.parametrize("frozen", [False, True], ids=["all trained", "a frozen batch norm"])
@pytest.mark.parametrize("freeze", [0.5, 0.0])
def test_the_weights_are_those_of_the_cores_loop(frozen: bool, freeze: float) -> None:
    core, ours = soft(freeze=freeze), soft(freeze=freeze)
    expected, module = in_the_core(Net(frozen), core), Module(Net(frozen))
    callback: Any = PruningCallback(ours, "net")
    fit(module, callback)
    assert same(module.net, expected) and ours.record == core.record and ours.frozen == (freeze > 0)
    assert core.plan is not None and same(callback.small, prunus.compact(expected, core.plan))
    assert callback.small.second.out_channels == 6 and callback.small.prunus.verification.relative < 1e-5


def test_layers_of_the_module_itself_are_pruned() -> None:
    core, module = soft(), Flat()
    expected = in_the_core(Net(), core)
    callback: Any = PruningCallback(soft())
    trainer = fit(module, callback)
    assert same(module.inner, expected) and isinstance(callback.small, Flat)
    assert callback.small.inner.second.out_channels == 6
    assert module._trainer is not None and trainer.lightning_module is module


def test_a_frozen_batch_norm_stays_as_it_is() -> None:
    net = Net(frozen=True)
    before = {name: tensor.clone() for name, tensor in net.outer.state_dict().items()}
    callback: Any = PruningCallback(soft(freeze=0.0), "net")
    module = Module(net)
    fit(module, callback)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.outer.state_dict().items())
    for model in (net, callback.small):
        assert not model.outer.weight.requires_grad and model.norm.weight.requires_grad
        assert not model.outer.training


def test_steps_are_those_of_the_optimiser_and_epochs_end_once() -> None:
    told = Diary()
    fit(Module(Net()), PruningCallback(told, "net"), 2, accumulate_grad_batches=2)
    steps = [("step",)] * 3  # of two, two and one batch
    assert told.told == [("begin", 2), *steps, ("epoch", 0, 2), *steps, ("epoch", 1, 2)]
    told = Diary()
    fit(Module(Net()), PruningCallback(told, "net"), None, max_steps=7)
    assert told.told == [("begin", 2), *[("step",)] * 5, ("epoch", 0, 2), *[("step",)] * 2, ("epoch", 1, 2)]


def test_an_epoch_is_pruned_before_it_is_validated() -> None:
    module = Module(Net())
    fit(
        module,
        PruningCallback(soft(freeze=0.0, growth="constant"), "net"),
        2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    assert module.validated == [4.0, 4.0]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_training_ends_with_the_same_weights(at: int, tmp_path: Path) -> None:
    whole, pruning = Module(Net()), soft()
    fit(whole, PruningCallback(pruning, "net"))
    first = Module(Net())
    saving = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    fit(first, PruningCallback(soft(), "net", epochs=4), at, callbacks=[saving], enable_checkpointing=True)
    second, again = Module(Net()), soft()
    callback: Any = PruningCallback(again, "net")
    fit(second, callback, ckpt=tmp_path / "last.ckpt")
    assert same(second.net, whole.net) and again.record == pruning.record
    assert callback.small.second.out_channels == 6


def test_a_checkpoint_without_pruning_is_begun_with(tmp_path: Path) -> None:
    saving = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    fit(Module(Net()), saving, 1, enable_checkpointing=True)
    told = Diary()
    fit(Module(Net()), PruningCallback(told, "net"), 2, ckpt=tmp_path / "last.ckpt")
    assert told.told[0] == ("begin", 2) and told.told[-1] == ("epoch", 1, 2)


def test_a_call_of_fit_more_goes_on() -> None:
    told, module = Diary(), Module(Net())
    trainer = fit(module, PruningCallback(told, "net", epochs=3), 1)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module)
    assert [entry for entry in told.told if entry[0] != "step"] == [
        ("begin", 3),
        ("epoch", 0, 3),
        ("epoch", 1, 3),
        ("epoch", 2, 3),
    ]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_other_precisions_are_pruned_exactly(precision: str) -> None:
    callback: Any = PruningCallback(soft(), "net")
    module = Module(Net())
    fit(module, callback, precision=precision)
    assert callback.small.second.out_channels == 6
    pruned = module.net.norm.weight == 0
    assert pruned.sum() == 4 and module.net.first.weight[pruned].count_nonzero() == 0


def test_the_optimiser_goes_on_with_the_compact_network() -> None:
    callback, module = PruningCallback(soft(), "net"), Module(Net())
    trainer = fit(module, callback)
    (optimizer,) = trainer.optimizers
    kept = module.net.norm.weight != 0
    momentum = optimizer.state[module.net.norm.weight]["momentum_buffer"][kept].clone()
    small = callback.compact(module, optimizer)
    assert torch.equal(optimizer.state[small.norm.weight]["momentum_buffer"], momentum)
    before = small.norm.weight.clone()
    small.train()(batches()[0][0]).sum().backward()
    optimizer.step()
    assert not torch.equal(before, small.norm.weight)


def test_a_function_gives_what_is_pruned() -> None:
    callback: Any = PruningCallback(soft(), lambda module: module.net)
    fit(Module(Net()), callback)
    assert isinstance(callback.small, Net)


def test_what_cannot_be_is_said_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"Module has no module 'nets'.*its own are net"):
        fit(Module(Net()), PruningCallback(soft(), "nets"))
    with pytest.raises(ConfigError, match="give epochs="):
        fit(Module(Net()), PruningCallback(soft(), "net"), -1)
    with pytest.raises(ConfigError, match="epochs must be at least 1, not 0"):
        PruningCallback(soft(), "net", epochs=0)
    with pytest.raises(Exception, match="pruning must be"):
        PruningCallback(cast(Any, "soft"))
    with pytest.raises(TargetError, match="Nothing was pruned"):
        PruningCallback(Diary(), "net").compact(Module(Net()))
