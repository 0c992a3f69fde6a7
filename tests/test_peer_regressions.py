"""One test for everything that other pruning tools were found to do wrong without a word; each says what it
guards against.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus.errors import CompactError, FileFormatError, PrunusError, TraceError
from tests import hard_networks as hard
from tests.hard_networks import HARD_NETWORKS, HardNetwork, make
from tests.network_calls import Inputs, outputs_of, relative_error
from tests.network_check import check_network


def pruned(kind: type[HardNetwork], **options: Any) -> tuple[nn.Module, nn.Module, Inputs, prunus.Plan]:
    """Model, compact model, inputs and the plan that was carried out, with half of the channels gone where
    the class can do without them.
    """
    model, inputs = make(kind)
    graph = prunus.trace(model, inputs)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5)
    with warnings.catch_warnings():
        # OptionA pools by a size that it reads in Python
        warnings.filterwarnings("ignore", ".*hard_networks.py.* takes inputs of shape")
        small = prunus.compact(model, plan, **options)
    return model, small, inputs, small.prunus.plan


@pytest.mark.parametrize("kind", HARD_NETWORKS, ids=lambda kind: kind.__name__)
def test_hard_networks(kind: type[HardNetwork]) -> None:
    """Literal sizes, concat and split offsets, depthwise and grouped convolutions, YOLO blocks, pixel
    shuffle, shared modules: peers crash in the middle of pruning or at the next forward pass; here each is
    exact or says why not.
    """
    model, inputs = make(kind)
    outcome = check_network(model, inputs, seed=0)
    assert outcome.removed > 0
    assert outcome.exact or kind in (hard.Norms, hard.WindowAttention)  # norms across pruned channels


@pytest.mark.parametrize("kind", HARD_NETWORKS, ids=lambda kind: kind.__name__)
def test_hard_networks_keep_their_class_on_request(kind: type[HardNetwork]) -> None:
    """What a forward with literal sizes cannot lose stays, instead of a module that fails when it is called;
    where all stays, that is an error.
    """
    model, inputs = make(kind)
    try:
        outcome = check_network(model, inputs, seed=0, prefer="eager")
    except CompactError as error:
        assert str(error).startswith(f"Nothing can be removed in the own class of {kind.__name__}")
        return
    assert outcome.mode == "eager" and outcome.removed


@pytest.mark.parametrize("kind", HARD_NETWORKS, ids=lambda kind: kind.__name__)
def test_other_batch_sizes(kind: type[HardNetwork]) -> None:
    """A traced module that only takes the batch size of the example would be useless."""
    model, small, inputs, plan = pruned(kind)
    assert isinstance(inputs, Tensor)
    for batch in (1, 5):
        images = torch.randn(batch, *inputs.shape[1:])
        expected, found = outputs_of(prunus.mask(model, plan), images), outputs_of(small, images)
        assert relative_error(expected, found) < 1e-5 or not plan.exact


def test_other_resolutions() -> None:
    """The compact U-Net takes every resolution that the original takes, traced or not."""
    model, small, _, plan = pruned(hard.UNet)
    images = torch.randn(2, 3, 16, 24)
    assert relative_error(outputs_of(prunus.mask(model, plan), images), outputs_of(small, images)) < 1e-5


def test_functional_convolution_is_pruned() -> None:
    """Torch-Pruning skips `F.conv2d(x, self.w)` silently."""
    _, small, _, _ = pruned(hard.FunctionalConv)
    assert dict(small.named_parameters())["w"].shape == (5, 4, 3, 3)


def test_arguments_do_not_leak_between_calls() -> None:
    """Torch-Pruning's mutable default arguments carry the settings of one pruner into the next."""
    for function in (prunus.trace, prunus.plan, prunus.mask, prunus.compact, prunus.verify):
        for parameter in inspect.signature(function).parameters.values():
            assert not isinstance(parameter.default, list | dict | set), (
                f"{function.__name__}: {parameter.name}"
            )
    model, inputs = make(hard.UNet)
    graph = prunus.trace(model, inputs)
    scores = prunus.scores.norm(graph, p=2)
    first = prunus.plan(graph, scores, rate=0.5)
    prunus.plan(graph, scores, rate=0.5, protect=("mid*",), rates={"d1*": 0.0})
    assert prunus.plan(graph, scores, rate=0.5) == first


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [hard.UNet, hard.ViewLiteral])
def test_mode_is_kept(kind: type[HardNetwork], training: bool) -> None:
    """Torch-Pruning leaves a model that was in train mode in eval mode, and its batch norms with it."""
    model, inputs = make(kind)
    model.train(training)
    modes = {name: module.training for name, module in model.named_modules()}
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    graph = prunus.trace(model, inputs)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5)
    small = prunus.compact(model, plan)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert small.training == prunus.mask(model, plan).training == training
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, statistics[name]), f"{name} changed"


def test_mixed_modes_are_kept() -> None:
    """A frozen batch norm in a training model stays frozen."""
    model, inputs = make(hard.UNet)
    model.train()
    frozen = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name in frozen:
        model.get_submodule(name).eval()
    graph = prunus.trace(model, inputs)
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5))
    assert small.training
    assert not any(small.get_submodule(name).training for name in frozen)
    assert not any(model.get_submodule(name).training for name in frozen)


def test_a_traced_module_trains_like_the_original() -> None:
    """Switching to train mode must switch the batch norms of the traced graph too."""
    model, small, inputs, _ = pruned(hard.ReshapeLiterals)
    assert small.prunus.mode == "traced"
    small.train()
    before = {name: buffer.clone() for name, buffer in small.named_buffers()}
    sum(output.square().mean() for output in [small(inputs)]).backward()
    assert any(not torch.equal(buffer, before[name]) for name, buffer in small.named_buffers())
    gradients = {name for name, p in small.named_parameters() if p.grad is not None}
    assert gradients == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("network", [hard.UNet, hard.ViewLiteral])
def test_optimizer_does_not_hold_dead_parameters(
    network: type[HardNetwork], kind: Callable[..., torch.optim.Optimizer]
) -> None:
    """After Torch-Pruning's step the optimiser still holds the old parameters, and fine-tuning trains
    nothing.
    """
    model, inputs = make(network)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(model.parameters(), lr=0.01, **options)
    for _ in range(2):
        step(model, inputs, optimizer)
    graph = prunus.trace(model, inputs)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5)
    small = prunus.compact(model, plan, optimizer=optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in small.parameters()}
    for parameter, state in optimizer.state.items():
        for value in state.values():
            assert not isinstance(value, Tensor) or value.ndim == 0 or value.shape == parameter.shape
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    step(small, inputs, optimizer)
    assert all(not torch.equal(p, before[name]) for name, p in small.named_parameters())


def step(model: nn.Module, inputs: Inputs, optimizer: torch.optim.Optimizer) -> None:
    """One step of training on the sum of squares of the output."""
    optimizer.zero_grad()
    F.mse_loss(model(inputs), torch.zeros(()).expand(model(inputs).shape)).backward()
    optimizer.step()


def test_optimizer_state_is_sliced_like_its_parameter() -> None:
    """Momentum goes on where it was for the channels that stay."""
    model, inputs = make(hard.UNet)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step(model, inputs, optimizer)
    for parameter in model.parameters():  # momentum that tells where it comes from: the parameter itself
        optimizer.state[parameter]["momentum_buffer"] = parameter.detach().clone()
    graph = prunus.trace(model, inputs)
    small = prunus.compact(
        model, prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5), optimizer=optimizer
    )
    for parameter in small.parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], parameter.detach())


def test_version_matches_metadata() -> None:
    """Torch-Pruning 1.6.1 says that it is 1.6.0."""
    assert prunus.__version__ == version("prunus")


@pytest.mark.parametrize("kind", [hard.UNet, hard.ViewLiteral])
def test_saved_file_loads_without_pickle(
    kind: type[HardNetwork], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch-Pruning pickles the whole module: `torch.load` refuses that by default, and with it anything
    could run.
    """

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    _, small, inputs, _ = pruned(kind)
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    prunus.save(small, tmp_path / "small.safetensors")
    traced = small.prunus.mode == "traced"
    loaded = prunus.load(tmp_path / "small.safetensors", build_model=None if traced else kind)
    for a, b in zip(outputs_of(small, inputs), outputs_of(loaded, inputs), strict=True):
        assert torch.equal(a, b)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Half a file, or one with a flipped bit, must not load as something."""
    _, small, _, _ = pruned(hard.UNet)
    path = tmp_path / "small.safetensors"
    prunus.save(small, path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:], b""):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError):
            prunus.load(path, build_model=hard.UNet)


def test_the_compact_model_shares_no_storage_with_the_original() -> None:
    """Training the one must not change the other (Torch-Pruning's saved state shares storage with the live
    model).
    """
    for kind in (hard.UNet, hard.ViewLiteral, hard.Shared):
        model, small, _, _ = pruned(kind)
        kept = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
        assert not kept & {t.untyped_storage().data_ptr() for t in small.state_dict().values()}


def test_shared_weights_stay_shared() -> None:
    """A weight under two names is still one weight afterwards."""
    _, small, _, _ = pruned(hard.Shared)
    assert small.a.weight is small.b.weight


def test_unknown_operators_are_pinned_and_named() -> None:
    """Peers crash on operators without a rule, or prune around them; here the channels stay, and the line is
    named.
    """
    model, inputs = make(hard.Unknown)
    graph = prunus.trace(model, inputs)
    where = [
        pinned for pinned in graph.pinned if "hard_networks.py" in pinned.where and "cumsum" in pinned.where
    ]
    assert where and where[0].reason and where[0].operator
    _, small, _, _ = pruned(hard.Unknown)
    parameters = dict(small.named_parameters())
    assert parameters["two.0.weight"].shape == (
        8,
        4,
        3,
        3,
    )  # what meets the unknown operator is whole, the rest is not


def test_control_flow_on_data_is_named() -> None:
    """A tracer that cannot follow must say so, with the line, instead of guessing one branch."""
    model, inputs = make(hard.DataDependent)
    with pytest.raises(TraceError, match=re.escape("hard_networks.py")) as caught:
        prunus.trace(model, inputs)
    assert "y.mean() > 0" in str(caught.value)


def test_a_failing_call_leaves_the_model_alone() -> None:
    """Torch-Pruning raises in the middle of pruning and leaves the model half changed."""
    model, inputs = make(hard.UNet)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = prunus.trace(model, inputs)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5)
    other, images = make(hard.YoloLike)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    for attempt in (
        lambda: prunus.compact(other, plan),
        lambda: prunus.mask(other, plan),
        lambda: prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5, protect=("nothing.like.this",)),
        lambda: prunus.plan(graph, prunus.scores.norm(graph, p=2), macs=1e-9),
        lambda: prunus.compact(model, plan, optimizer=optimizer),
    ):
        with pytest.raises(PrunusError):
            attempt()
    assert outputs_of(other, images)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in other.parameters()}


def test_a_layer_never_loses_all_its_channels() -> None:
    """Global ranking in peers can empty a layer."""
    model, inputs = make(hard.UNet)
    graph = prunus.trace(model, inputs)
    scores = torch.zeros(graph.num_channels)
    scores[torch.from_numpy(graph.groups[0].channels)] = -1.0
    plan = prunus.plan(graph, scores, rate=0.9, scope="global")
    small = prunus.compact(model, plan)
    assert all(p.numel() > 0 for p in small.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    """Peers come back in float32, or fail on anything else."""
    model, inputs = make(hard.UNet)
    assert isinstance(inputs, Tensor)
    model, inputs = model.to(dtype), inputs.to(dtype)
    graph = prunus.trace(model, inputs)
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5))
    assert {p.dtype for p in small.parameters()} == {dtype}
    assert small(inputs).dtype == dtype


def test_hooks_and_attributes_are_kept() -> None:
    """A user's forward hook and own attributes survive surgery."""
    network, inputs = make(hard.UNet)
    model: Any = network
    seen: list[torch.Size] = []
    model.mid.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    model.note = {"classes": ["a", "b"]}
    graph = prunus.trace(model, inputs)
    seen.clear()
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5))
    seen.clear()
    small(inputs)
    assert [shape[1] for shape in seen] == [5]
    assert small.note == {"classes": ["a", "b"]}


def test_a_compact_model_is_an_ordinary_module() -> None:
    """It can be copied, saved as a state dict, and pruned again."""
    for kind in (hard.UNet, hard.ReshapeLiterals):
        _, small, inputs, _ = pruned(kind)
        twin = copy.deepcopy(small)
        twin.load_state_dict(small.state_dict())
        assert torch.equal(outputs_of(twin, inputs)[0], outputs_of(small, inputs)[0])
        graph = prunus.trace(small, inputs)
        plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=0.5)
        smaller = prunus.compact(small, plan)
        expected, found = outputs_of(prunus.mask(small, plan), inputs), outputs_of(smaller, inputs)
        assert relative_error(expected, found) < 1e-5
        assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in small.parameters())


def test_random_numbers_are_left_alone() -> None:
    """Pruning must not shift the user's random sequence."""
    model, inputs = make(hard.ViewLiteral)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    graph = prunus.trace(model, inputs)
    prunus.compact(model, prunus.plan(graph, prunus.scores.random(graph, 0), rate=0.5))
    assert torch.equal(torch.rand(3), expected)
