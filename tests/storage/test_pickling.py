"""Compact models, plans, gated networks and cascades in a user's own processes: pickled, copied, spawned."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from tests.paint.nets import Halves, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.dynamic import Cascade, attach, skipping
from prunus.models import lenet5
from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan
from prunus.surgery.traced.module import TracedModule

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
DIGIT = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Again = Callable[[Any], Any]


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again: nn.Module = torch.serialization.load(file, weights_only=False)
    return again


WAYS: dict[str, Again] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "torch.save": saved_and_loaded,
}


def eager() -> tuple[nn.Module, Tensor]:
    model = randomised(lenet5())
    return prunus.compact(model, random_plan(prunus.trace(model, DIGIT))), DIGIT


def traced() -> tuple[nn.Module, Tensor]:
    model = randomised(Halves())
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    assert isinstance(small, TracedModule)
    return small, IMAGE


def gated() -> tuple[nn.Module, Tensor]:
    return attach(randomised(lenet5()), DIGIT).eval(), DIGIT


def skipped() -> tuple[nn.Module, Tensor]:
    return skipping(attach(randomised(lenet5()), DIGIT), DIGIT), DIGIT


def staged() -> tuple[nn.Module, Tensor]:
    small, images = eager()
    made = Cascade([small, randomised(lenet5())], images)
    made.ask([(images, torch.tensor([1, 2]))])
    made.threshold = 0.5
    return made, images


class NormedHalves(Halves):
    """A literal that needs the traced fallback, and a norm over channels, which keeps its width."""

    def __init__(self) -> None:
        super().__init__()
        self.more, self.norm, self.last = nn.Linear(4, 12), nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.more(super().forward(x))))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 16, 1), nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x).permute(0, 2, 3, 1)).relu())


def normed() -> tuple[nn.Module, Tensor]:
    model = randomised(Normed())
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    return prunus.compact(small, random_plan(prunus.trace(small, IMAGE))), IMAGE


def traced_twice() -> tuple[nn.Module, Tensor]:
    model = randomised(NormedHalves())
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    return prunus.compact(small, random_plan(prunus.trace(small, IMAGE), 0.3)), IMAGE


KINDS = {
    "normed": normed,
    "traced twice": traced_twice,
    "eager": eager,
    "traced": traced,
    "gated": gated,
    "skipping": skipped,
    "cascade": staged,
}


@cache
def made(kind: str) -> tuple[nn.Module, Tensor]:
    """One of a kind, for all ways."""
    return KINDS[kind]()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_computes_the_same_and_shares_nothing(kind: str, way: str) -> None:
    model, x = made(kind)
    last = list(model.parameters())[-1].requires_grad_(False)
    again = WAYS[way](model)
    assert type(again) is type(model)
    assert torch.equal(again(x), model(x))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert again.training is model.training
    before = again(x)
    with torch.no_grad():
        last.add_(1.0)
    assert torch.equal(again(x), before)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    assert again.to(torch.float32)(x.float()).dtype == torch.float32


@pytest.mark.parametrize("kind", ["eager", "traced"])
def test_a_copy_knows_its_plan_without_the_graph(kind: str) -> None:
    model, _ = KINDS[kind]()
    again = pickle.loads(pickle.dumps(model))
    assert again.prunus.plan == model.prunus.plan
    assert again.prunus.mode == kind
    assert again.prunus.plan.graph is None
    assert not any(isinstance(value, ChannelGraph) for value in vars(again.prunus.plan).values())
    assert model.prunus.plan.graph is not None  # the original keeps its own
    assert copy.deepcopy(model).prunus.plan.graph is model.prunus.plan.graph


def test_a_pickle_holds_no_dense_weights() -> None:
    """A worker gets what the compact model needs, not the model that it was cut from."""
    model = nn.Sequential(
        nn.Conv2d(3, 400, 3), nn.ReLU(), nn.Conv2d(400, 400, 3), nn.ReLU(), nn.Conv2d(400, 2, 1)
    )
    graph = prunus.trace(model, IMAGE.float())
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.9), check=False)
    assert len(pickle.dumps(small)) < len(pickle.dumps(model)) / 4


def test_a_plan_from_a_pickle_prunes_and_is_attached_again() -> None:
    model = randomised(lenet5())
    plan = random_plan(prunus.trace(model, DIGIT))
    again: Plan = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert torch.equal(prunus.compact(model, again)(DIGIT), prunus.compact(model, plan)(DIGIT))
    assert again.attach(prunus.trace(model, DIGIT)).removed == plan.removed


def test_a_traced_copy_switches_its_mode_and_is_pruned_on(tmp_path: Any) -> None:
    model, x = traced()
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(again.train()(x), model.train()(x), rtol=0, atol=0)
    plan = random_plan(prunus.trace(again.eval(), x), 0.4)
    assert plan.removed > 0
    prunus.save(prunus.compact(again, plan), tmp_path / "m")
    assert prunus.load(tmp_path / "m")(x).shape == model.eval()(x).shape


def test_gates_of_a_copy_still_know_their_macs() -> None:
    network, x = gated()
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again.macs(again.openings(x)), network.macs(network.openings(x)))
    assert torch.equal(skipping(again, x)(x), skipping(network, x)(x))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["normed", "traced twice"])
def test_norms_of_a_loaded_file_keep_their_width(kind: str, tmp_path: Any) -> None:
    model, x = KINDS[kind]()
    prunus.save(model, tmp_path / "m")
    again = prunus.load(tmp_path / "m", lambda: Normed().double())
    assert torch.equal(again(x), model(x))
    assert torch.equal(again.train()(x), model.train()(x))


def outputs(model: nn.Module, x: Tensor, queue: Any) -> None:
    """In another process; a list, as tensors would be shared through files."""
    with torch.no_grad():
        queue.put(model(x).tolist())


@pytest.mark.parametrize("kind", ["traced", "eager"])
def test_a_spawned_process_computes_the_same(kind: str) -> None:
    model, x = KINDS[kind]()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=outputs, args=(model, x, queue))
    process.start()
    found = queue.get(timeout=120)
    process.join()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), model(x), rtol=1e-9, atol=1e-9)
