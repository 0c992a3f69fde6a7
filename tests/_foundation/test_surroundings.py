"""What torch is set to around a call changes nothing; compiled models are pruned, and scripted ones are met
with a sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import prunus
from prunus import compensation, scores, training
from prunus.data.sets import Split
from prunus.errors import TraceError

IMAGES = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4


class Passing(TorchDispatchMode):
    """A mode of the user's that changes nothing, but hides that an operator was called on plain tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def default(setter: Callable[[Any], object], value: object, before: object) -> Iterator[None]:
    setter(value)
    try:
        yield
    finally:
        setter(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64 by default": lambda: default(torch.set_default_dtype, torch.float64, torch.float32),
    "meta by default": lambda: default(torch.set_default_device, "meta", None),
    "meta around it": lambda: torch.device("meta"),
    "a mode of the user's": Passing,
    "a counter of operations": lambda: FlopCounterMode(display=False),
    "deterministic algorithms": lambda: default(torch.use_deterministic_algorithms, True, False),
    "all together": lambda: all_of_them(),  # type: ignore[has-type]
}


@contextmanager
def all_of_them() -> Iterator[None]:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"), Passing():
        yield


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 12, 3), nn.ReLU()),
        nn.Conv2d(12, 4, 3),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def everything(model: nn.Module) -> dict[str, Any]:
    """One of each: a graph, scores of all kinds, a plan, models made with it."""
    graph = prunus.trace(model, IMAGES)
    loss = nn.functional.cross_entropy
    made: dict[str, Any] = {
        "channels": graph.num_channels,
        "norm": scores.norm(graph),
        "bn": scores.bn_scale(graph),
        "activation": scores.activation_mean(graph, [IMAGES]),
        "taylor": scores.taylor(graph, [(IMAGES, LABELS)], loss),
        "similarity": scores.similarity(graph).scores,
        "reconstruction": scores.reconstruction(graph, [IMAGES]),
        "nisp": scores.nisp(graph, [IMAGES]),
        "thinet": scores.thinet(graph, [IMAGES]),
        "random": scores.random(graph),
    }
    plan = prunus.plan(graph, made["norm"], macs=0.5)
    made |= {
        "plan": plan.to_json(),
        "masked": prunus.mask(model, plan),
        "compact": prunus.compact(model, plan),
    }
    made |= {
        "apart": prunus.verify(model, plan, made["compact"], IMAGES).max_abs,
        "refitted": compensation.refit(model, plan, [IMAGES]),
    }
    recalibrated = prunus.mask(model, plan)
    split = Split((IMAGES.abs() * 50).to("cpu", torch.uint8), LABELS)
    scale: Any = (torch.full((3,), 0.5, device="cpu"), torch.full((3,), 0.5, device="cpu"))
    training.recalibrate(recalibrated, split, scale, 1)
    return made | {"recalibrated": recalibrated}


def tensors(value: Any) -> list[Tensor]:
    return (
        [*value.parameters(), *value.buffers()]
        if isinstance(value, nn.Module)
        else [value]
        if isinstance(value, Tensor)
        else []
    )


@pytest.fixture(scope="module")
def outside() -> dict[str, Any]:
    return everything(network())


@pytest.mark.parametrize("setting", SETTINGS)
def test_results_are_those_made_outside(setting: str, outside: dict[str, Any]) -> None:
    model = network()
    with SETTINGS[setting]():
        inside = everything(model)
    for name, want in outside.items():
        got = inside[name]
        assert all(not tensor.is_inference() and tensor.device.type == "cpu" for tensor in tensors(got)), name
        if tensors(want):
            for a, b in zip(tensors(want), tensors(got), strict=True):
                assert (
                    a.dtype == b.dtype
                    and a.requires_grad == b.requires_grad
                    and torch.allclose(a, b, rtol=1e-5, atol=1e-7)
                ), name
        else:
            assert got == pytest.approx(want, abs=1e-6), name
    inside["compact"](IMAGES).sum().backward()


def test_settings_are_as_before_afterwards() -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        prunus.trace(nn.Linear(2, 2, device="cpu"), torch.zeros(1, 2, device="cpu"))
        assert (
            torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu") and torch.empty(1).is_meta
        )
    with torch.no_grad():
        prunus.trace(nn.Linear(2, 2), torch.zeros(1, 2))
        assert not torch.is_grad_enabled()


def test_a_model_made_in_inference_mode_gives_one_that_trains() -> None:
    with torch.inference_mode():
        model, images = network(), IMAGES + 1
    graph = prunus.trace(model, images)
    plan = prunus.plan(graph, scores.taylor(graph, [(images, LABELS)], nn.functional.cross_entropy), rate=0.5)
    small = prunus.compact(model, plan)
    assert prunus.verify(model, plan, small, images).relative < 1e-5
    small(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def compiled(model: Any, how: str) -> Any:
    if how == "in place":
        model.compile(backend="eager")
    elif how == "a child in place":
        model[3].compile(backend="eager")
    elif how == "a child":
        model[3] = torch.compile(model[3], backend="eager")
    else:
        return torch.compile(model, backend="eager")
    return model


@pytest.mark.filterwarnings("ignore")  # torch's own, of compiling on a machine that could do better
@pytest.mark.parametrize("how", ["in place", "a child in place", "a child", "whole"])
def test_a_compiled_model_is_pruned_as_it_was_written(how: str, outside: dict[str, Any]) -> None:
    model = compiled(network(), how)
    with torch.no_grad():
        model(IMAGES)
    graph = prunus.trace(model, IMAGES)
    assert graph.num_channels == outside["channels"]
    plan = prunus.plan(graph, scores.norm(graph), macs=0.5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        small = prunus.compact(model, plan)
    assert ("compiled in place" in " ".join(str(warning.message) for warning in said)) == ("in place" in how)
    assert torch.allclose(small(IMAGES), outside["compact"](IMAGES), atol=1e-6)
    assert all(vars(module).get("_compiled_call_impl") is None for module in small.modules())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript's
@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, IMAGES)])
def test_a_scripted_model_is_refused_and_a_scripted_child_is_named(
    make: Callable[[nn.Module], nn.Module],
) -> None:
    with pytest.raises(TraceError, match="The model is TorchScript"):
        prunus.trace(make(network()), IMAGES)
    model = network()
    model[3] = torch.jit.script(model[3])
    with pytest.warns(UserWarning, match="Channels in and around 3 stay: TorchScript"):
        prunus.trace(model, IMAGES)
    model = network()
    model[2] = torch.jit.script(nn.ReLU())
    assert prunus.trace(model, IMAGES).num_channels == 20, (
        "a scripted child without parameters takes nothing away"
    )


def half_of(x: Tensor) -> Tensor:
    return x / 2


class Halved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.halve = torch.jit.script(half_of)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.halve(x)
        return halved


def recorded(child: nn.Module) -> nn.Module:
    """A child that `torch.jit.trace` made."""
    made: nn.Module = torch.jit.trace(child, torch.ones(2, 8, 6, 6, dtype=torch.float64))
    return made


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Channels in and around 3 stay")
@pytest.mark.parametrize("script", [torch.jit.script, recorded])
def test_what_lies_around_a_scripted_child_is_pruned_and_all_of_it_trains(
    script: Callable[[nn.Module], nn.Module],
) -> None:
    model = nn.Sequential(*network(), nn.Linear(4, 8), Halved(), nn.Linear(8, 2)).double()
    model[3] = script(model[3])
    graph = prunus.trace(model, IMAGES.double())
    assert not any((axis.channels >= 0).any() for axis in graph.axes if axis.name.startswith("3."))
    small = prunus.compact(model, prunus.plan(graph, scores.norm(graph), rate=0.5))
    masked = prunus.mask(model, small.prunus.plan)
    assert small.get_submodule("7").out_features == 4
    for one in (small, masked):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        one(IMAGES.double()).square().sum().backward()
        optimizer.step()
    weight, kept, before = (one.state_dict()["3.0.weight"] for one in (small, masked, model))
    torch.testing.assert_close(weight, kept, rtol=1e-12, atol=1e-14)
    assert not torch.equal(weight, before)


def test_a_sharded_model_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    model, sharded = network(), network()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        fully_shard(sharded[3], mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(TraceError, match="3 is sharded over several processes; prune the model before"):
            prunus.trace(sharded, IMAGES)
        assert prunus.trace(model, IMAGES).num_channels == 20
    finally:
        distributed.destroy_process_group()
