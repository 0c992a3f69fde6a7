"""Compact models of the user's own class: what is kept, what is refused, and that the given model never
changes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tests.paint.nets import Halves, Net, difference, outputs, pruned, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import CompactError, PlanError, TraceError, VerifyError
from prunus.models import lenet5, resnet20
from prunus.plans.plan import make_plan

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def chain() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten(), nn.Linear(128, 4)
    )
    randomised(model)
    return model


def frozen_copy(model: nn.Module) -> tuple[list[Any], dict[str, Tensor]]:
    return [
        (m.training, {k: v for k, v in vars(m).items() if isinstance(v, (int, tuple))})
        for m in model.modules()
    ], copy.deepcopy(model.state_dict())


def assert_same(before: tuple[list[Any], dict[str, Tensor]], model: nn.Module) -> None:
    after = frozen_copy(model)
    assert before[0] == after[0]
    assert all(torch.equal(before[1][k], after[1][k]) for k in after[1])


# -- trace errors --------------------------------------------------------------------------------------------


def test_control_flow_that_depends_on_the_data_names_the_line_and_the_way_out() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        x = m.a(x)
        if x.mean() > 0:  # the line to be named
            x = -x
        return x

    with pytest.raises(
        TraceError, match=r"test_compact\.py:\d+: if x\.mean\(\) > 0:  # the line to be named.*torch\.where"
    ):
        prunus.trace(randomised(Net(run, a=nn.Conv2d(3, 4, 1))), IMAGE)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda m, x: m.a(x.transpose(0, 1)), "check the example inputs"),
        (lambda m, x: m.a(x)[x[:, 0].nonzero()[:, 0]], "trace a sub-module"),
        (lambda m, x: m.a(torch.from_numpy(x.numpy())), "trace"),
    ],
)
def test_a_forward_that_fails_names_its_line(run: Callable[..., Any], words: str) -> None:
    model = randomised(Net(run, a=nn.Conv2d(3, 4, 1)))
    before = frozen_copy(model)
    with pytest.raises(TraceError, match=rf"forward of Net fails at test_compact\.py:\d+.*{words}"):
        prunus.trace(model, IMAGE)
    assert_same(before, model)


def test_a_lazy_module_must_be_run_first() -> None:
    with pytest.raises(TraceError, match="run the model once"):
        prunus.trace(nn.LazyLinear(3), torch.zeros(1, 2))


# -- what is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_gradients_of_parameters_are_told_of(hook: str) -> None:
    model = chain()
    getattr(model[0].weight, hook)(lambda _: None)
    with pytest.warns(UserWarning, match=r"Hooks on the gradient of 0\.weight are not carried over"):
        prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))


def test_class_mode_hooks_gradients_and_attributes_are_kept() -> None:
    model = chain()
    model.train()
    model[1].eval()
    model[3].weight.requires_grad_(False)
    model[0].weight.my_tag = "kept"
    seen: list[tuple[int, ...]] = []
    model[0].register_forward_hook(lambda *_: seen.append(tuple(_[2].shape)))
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert type(small) is nn.Sequential
    assert [m.training for m in small.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in model.parameters()]
    assert small[0].weight.my_tag == "kept"
    seen.clear()
    small(IMAGE)
    assert seen == [(2, 3, 6, 6)]
    assert (small[0].out_channels, small[1].num_features, small[3].in_channels, small[5].in_features) == (
        3,
        3,
        3,
        64,
    )
    assert all(p.is_leaf and p.grad is None for p in small.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    model = chain().to(dtype)
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE.to(dtype))))
    assert {p.dtype for p in small.parameters()} == {dtype}


def test_buffers_and_plain_tensors_follow_and_stay_what_they_are() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 1)
            self.register_buffer("scale", torch.rand(6, 1, 1), persistent=False)
            self.register_buffer("shift", torch.rand(6))
            self.head = nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x) * self.scale * self.shift[:, None, None])

    model = randomised(Scaled())
    plan, small = pruned(model, IMAGE)
    assert plan.removed == 3
    assert small.scale.shape == (3, 1, 1)
    assert small.shift.shape == (3,)
    assert "scale" not in small.state_dict()
    assert "shift" in small.state_dict()


def test_shared_modules_and_tied_parameters_stay_shared() -> None:
    model: Any = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2)
    )
    model[4].weight = model[2].weight
    model.add_module("again", model[5])
    model = randomised(
        Net(lambda m, x: (m.body[5](m.body[:5](x)), m.twice(m.body[0](x))), body=model, twice=model[5])
    )
    plan, small = pruned(model, torch.randn(3, 4, dtype=torch.float64))
    assert plan.removed > 0
    assert small.body[4].weight is small.body[2].weight
    assert small.twice is small.body[5]


class Pair(NamedTuple):
    first: Tensor
    rest: dict[str, Any]


@pytest.mark.parametrize("as_dict", [True, False])
def test_nested_outputs_and_inputs_by_name_or_position(as_dict: bool) -> None:
    def run(m: nn.Module, image: Tensor, extra: Tensor, scale: float = 1.0) -> Pair:
        x = m.a(image).relu()
        return Pair(m.b(x) * scale, {"deep": [m.c(x + m.d(extra))], "none": None})

    model = randomised(
        Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1), c=nn.Conv2d(6, 3, 1), d=nn.Conv2d(1, 6, 1))
    )
    inputs: Any = (
        {"image": IMAGE, "extra": IMAGE[:, :1], "scale": 2.0} if as_dict else (IMAGE, IMAGE[:, :1], 2.0)
    )
    plan, small = pruned(model, inputs)
    assert plan.removed == 3
    found = small(**inputs) if as_dict else small(*inputs)
    assert type(found) is Pair
    assert list(found.rest) == ["deep", "none"]


def test_the_model_is_unwrapped() -> None:
    inner = chain()
    model = nn.DataParallel(inner)
    assert type(prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))) is nn.Sequential


def test_a_model_can_be_pruned_again_and_copied() -> None:
    model = randomised(resnet20())
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    small = model
    for seed in range(2):
        small = prunus.compact(small, random_plan(prunus.trace(small, x), 0.3, seed))
    twin = copy.deepcopy(small)
    assert difference(small, twin, x) == 0
    assert next(twin.parameters()) is not next(small.parameters())


def test_where_a_model_comes_from_is_not_copied_over_and_over() -> None:
    """What a compact model remembers (its plan, and so the traced dense model) must not ride along in every
    twin and copy.
    """
    model = chain()
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)))
    graph = prunus.trace(small, IMAGE)
    origin = getattr(graph.twin.model, "prunus", None)
    assert origin is None or origin.plan.graph is None or origin.plan.graph.model is model


# -- nothing half changed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [chain, lambda: randomised(Halves())])
def test_the_given_model_never_changes(build: Callable[[], nn.Module]) -> None:
    model = build()
    model.train()
    before = frozen_copy(model)
    graph = prunus.trace(model, IMAGE)
    plan = random_plan(graph)
    small = prunus.compact(model, plan)
    prunus.verify(model, plan, small)
    prunus.mask(model, plan)
    assert_same(before, model)
    with torch.no_grad():
        for tensor in (*small.parameters(), *small.buffers(), *prunus.mask(model, plan).parameters()):
            tensor.add_(1) if tensor.dtype.is_floating_point else None
    assert_same(before, model)


def test_nothing_changes_when_compact_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plan = random_plan(prunus.trace(model, IMAGE))
    before = frozen_copy(model)

    def broken(*_: Any, **__: Any) -> None:
        raise VerifyError("broken")

    monkeypatch.setitem(inspect.unwrap(prunus.compact).__globals__, "verification", broken)
    with pytest.raises(VerifyError):
        prunus.compact(model, plan, optimizer=optimizer)
    assert_same(before, model)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize("prefer", ["fast", None, 3])
def test_an_unknown_preference(prefer: Any) -> None:
    model = chain()
    with pytest.raises(CompactError, match="prefer must be"):
        prunus.compact(model, random_plan(prunus.trace(model, IMAGE)), prefer=prefer)


# -- verify --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_verify_catches_a_broken_compact_model(value: float) -> None:
    model = chain()
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    result = prunus.verify(model, plan, small, IMAGE)
    assert result.exact
    assert result.mode == "eager"
    assert result.relative <= 1e-12
    with torch.no_grad():
        small[5].bias[0] += value
    with pytest.raises(VerifyError):
        prunus.verify(model, plan, small, IMAGE)


@pytest.mark.parametrize(
    "broken",
    [lambda y: (y, y), lambda y: y[:, :2], lambda y: y + 1e-3, lambda y: torch.full_like(y, torch.nan)],
)
def test_verify_looks_at_number_shape_and_values(broken: Callable[[Tensor], Any]) -> None:
    model = chain()
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    with pytest.raises(VerifyError):
        prunus.verify(model, plan, Net(lambda m, x: broken(m.small(x)), small=small), IMAGE)


def test_verify_looks_at_outputs_that_are_not_floating_point() -> None:
    model = randomised(Net(lambda m, x: m.body(x).argmax(1), body=chain()))
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    with pytest.raises(VerifyError):
        prunus.verify(model, plan, Net(lambda m, x: 3 - m.small(x), small=small), IMAGE)


# -- optimisers ----------------------------------------------------------------------------------------------


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    outputs_ = model(x)
    (outputs_ * torch.linspace(-1, 1, outputs_.numel(), dtype=x.dtype).view_as(outputs_)).sum().backward()
    optimizer.step()


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(
    "build",
    [lambda: randomised(lenet5(in_channels=3, image_size=12)), lambda: randomised(Halves())],
    ids=["eager", "traced"],
)
def test_one_more_step_equals_the_masked_models_step_on_what_is_kept(
    kind: str, build: Callable[[], nn.Module]
) -> None:
    x = torch.randn(4, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model = build()
    optimizer = OPTIMIZERS[kind](model.parameters())
    step(model, optimizer, x)
    plan = random_plan(prunus.trace(model, x))
    masked = prunus.mask(model, plan)
    dense_optimizer = OPTIMIZERS[kind](masked.parameters())
    dense_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    small = prunus.compact(model, plan, optimizer=optimizer)
    slices = small.prunus.surgery.slices
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in small.parameters()}
    step(small.eval(), optimizer, x)
    step(masked.eval(), dense_optimizer, x)
    for name, parameter in small.named_parameters():
        wanted: Tensor = masked.get_parameter(name)
        for axis, kept in slices.get(name, {}).items():
            wanted = wanted.index_select(axis, torch.from_numpy(kept))
        assert torch.allclose(parameter, wanted, rtol=1e-9, atol=1e-12), name
    assert len(slices) >= 4


def test_a_foreign_optimiser_is_refused_and_unchanged() -> None:
    model, other = chain(), chain()
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], 0.1, momentum=0.9)
    step(model, optimizer, IMAGE)
    before = (
        [id(p) for p in optimizer.param_groups[0]["params"]],
        {id(k): dict(v) for k, v in optimizer.state.items()},
    )
    with pytest.raises(CompactError, match="not one of Sequential's"):
        prunus.compact(model, random_plan(prunus.trace(model, IMAGE)), optimizer=optimizer)
    assert (
        [id(p) for p in optimizer.param_groups[0]["params"]],
        {id(k): dict(v) for k, v in optimizer.state.items()},
    ) == before


def test_a_bias_made_by_folding_is_trained_too() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Sigmoid(), nn.Conv2d(6, 2, 1, bias=False)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    small = prunus.compact(model, random_plan(prunus.trace(model, IMAGE)), optimizer=optimizer)
    assert small[2].bias is not None
    assert any(p is small[2].bias for g in optimizer.param_groups for p in g["params"])


def test_outputs_of_small_and_masked_agree_on_other_batches_and_sides() -> None:
    model = randomised(resnet20())
    plan, small = pruned(model, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    for shape in ((1, 3, 32, 32), (5, 3, 40, 24)):
        x = torch.randn(shape, dtype=torch.float64)
        assert difference(prunus.mask(model, plan), small, x) < 1e-12
    assert len(outputs(small, torch.zeros(1, 3, 32, 32, dtype=torch.float64))) == 1


def test_a_convolution_without_channels_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    graph = prunus.trace(model, IMAGE)
    first = prunus.plan(graph, torch.arange(4.0), rate=0.5)
    both = first | prunus.plan(graph, -torch.arange(4.0), rate=0.5)
    with pytest.raises(PlanError, match="removes every channel of 0, and a convolution needs one"):
        prunus.compact(model, both, check=False)
    assert not prunus.mask(model, both)(IMAGE).isnan().any()
    linear = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    rows = torch.randn(2, 3, dtype=torch.float64)
    everything = make_plan(prunus.trace(linear, rows), np.ones(4, bool))
    assert difference(prunus.mask(linear, everything), prunus.compact(linear, everything), rows) < 1e-12
