"""One architecture, one process: prune it with prunus or with Torch-Pruning, and measure what came out."""

from __future__ import annotations

import copy
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from tests.network_calls import outputs_of, relative_error
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.architectures import Architecture, build, classifiers
from benchmarks.random_weights import randomise, scatter_statistics

RATE = 0.5
PEER_LIMIT = 60  # seconds of the processor
REPEATS = 3  # of what takes less than SHORT seconds
SHORT = 5.0

Seconds = dict[str, list[float]]


def timed(seconds: Seconds, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call, and note how long the processor worked on it."""
    start = time.process_time()
    result = function(*args, **options)
    seconds.setdefault(name, []).append(time.process_time() - start)
    return result


@contextmanager
def rehearsal_timed(seconds: Seconds) -> Iterator[None]:
    """Note how much of `compact` the rehearsal takes: a check that proves the routing, not a part of the
    surgery itself.
    """
    module: Any = import_module("prunus.surgery.compact")
    rehearse = module.fit_attributes
    took: Seconds = {}
    module.fit_attributes = lambda *args: timed(took, "rehearsal", rehearse, *args)
    try:
        yield
    finally:
        module.fit_attributes = rehearse
        seconds.setdefault("rehearsal", []).append(sum(took.get("rehearsal", [])))


def medians(seconds: Seconds) -> dict[str, float]:
    """The median of every step, in seconds."""
    return {name: round(statistics.median(values), 5) for name, values in seconds.items()}


def spread(seconds: Seconds, steps: Sequence[str]) -> list[float]:
    """The fastest and the slowest of the repeated jobs, in seconds."""
    totals = [sum(parts) for parts in zip(*(seconds[step] for step in steps))]
    return [round(min(totals), 4), round(max(totals), 4)]


def randomised(architecture: Architecture) -> tuple[nn.Module, Tensor]:
    """The model with random weights, scales and statistics in eval mode, and a random batch of one image."""
    torch.manual_seed(0)
    model = build(architecture).eval()
    image = torch.randn(1, 3, architecture.size, architecture.size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            randomise(name, parameter)
    hooks = [
        m.register_forward_pre_hook(scatter_statistics) for m in model.modules() if hasattr(m, "running_var")
    ]
    outputs_of(model, torch.randn(4, *image.shape[1:]))
    for hook in hooks:
        hook.remove()
    return model, image


def warm_up() -> None:
    """Both tools once on a small network, so that no model pays for what is loaded on first use."""
    import torch_pruning

    import prunus

    model, image = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval(),
        torch.randn(1, 3, 8, 8),
    )
    graph = prunus.trace(model, image)
    prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=RATE))
    importance = torch_pruning.importance.MagnitudeImportance(p=2)
    torch_pruning.pruner.MetaPruner(
        model, image, importance=importance, pruning_ratio=RATE, ignored_layers=[model[3]]
    ).step()


def plan_at_rate(graph: Any) -> Any:
    """Half of the channels by L2 norm."""
    import prunus

    return prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=RATE)


def prune_with_prunus(architecture: Architecture) -> dict[str, Any]:
    """Trace, plan, compact and check, in float32 and again in float64."""
    import prunus

    model, image = randomised(architecture)
    graph = prunus.trace(model, image)
    plan = plan_at_rate(graph)
    small = prunus.compact(model, plan, check=False)
    fresh = torch.randn(2, *image.shape[1:])
    single = relative_error(
        outputs_of(prunus.mask(model, small.prunus.plan), fresh), outputs_of(small, fresh)
    )
    before, after = graph.cost(), graph.cost(small.prunus.plan)
    mode, used = small.prunus.mode, small.prunus.plan
    del small
    return {
        "mode": mode,
        "macs": before.macs,
        "macs_left": round(after.macs / before.macs, 4),
        "parameters": before.params,
        "parameters_left": round(after.params / before.params, 4),
        "same_plan": used == plan,
        "exact": used.exact,
        "notes": list(used.notes[:3]),
        "relative_float32": single,
        **_in_double(model, used, fresh),
        "pinned": [[p.reason, p.operator, p.where, p.channels] for p in _top(graph.pinned)],
    }


def time_prunus(architecture: Architecture) -> dict[str, Any]:
    """How long each step takes, and all of them with the checks."""
    import prunus

    model, image = randomised(architecture)
    seconds: Seconds = {}
    for _ in range(REPEATS):
        timed(seconds, "checked", with_all_checks, model, image)
        graph = timed(seconds, "trace", prunus.trace, model, image)
        plan = timed(seconds, "plan", plan_at_rate, graph)
        with rehearsal_timed(seconds):
            small = timed(seconds, "compact", prunus.compact, model, plan, check=False)
        if seconds["checked"][0] > SHORT:
            break
    timed(seconds, "check", prunus.verify, model, small.prunus.plan, small)
    graph.cost(plan)
    timed(seconds, "cost", graph.cost, plan)
    return {"seconds": medians(seconds), "spread": spread(seconds, ["trace", "plan", "compact"])}


def _top(pinned: Any) -> list[Any]:
    return sorted((p for p in pinned if p.reason != "model output"), key=lambda p: -p.channels)[:3]


def with_all_checks(model: nn.Module, image: Tensor) -> nn.Module:
    """All that a user waits for: trace, plan, and compact, which proves by itself that the result is right in
    eval and in train mode.
    """
    import prunus

    return prunus.compact(model, plan_at_rate(prunus.trace(model, image)))


def _in_double(model: nn.Module, plan: Any, fresh: Tensor) -> dict[str, Any]:
    """The whole job again in double precision with the same plan: only rounding may be left of the
    difference, in eval and in train mode.
    """
    import prunus
    from prunus.plans.verify import compare_training

    fresh, model = fresh.double(), model.double()  # the largest networks would not fit in memory twice
    plan = prunus.Plan.from_json(plan.to_json()).attach(prunus.trace(model, fresh[:1]))
    masked, small = prunus.mask(model, plan), prunus.compact(model, plan, check=False)
    for dense, left in zip(
        model.parameters(), masked.parameters()
    ):  # what is asked of it now is its structure
        dense.data = left.data
    trained = compare_training(model, small.prunus.plan, masked, small, ((fresh,), {}))
    return {
        "relative_float64": relative_error(outputs_of(masked, fresh), outputs_of(small, fresh)),
        "training_float64": None if trained is None else trained.relative,
        "training_differs": "" if trained is None or trained.same else trained.fails or trained.of,
    }


def prune_with_torch_pruning(architecture: Architecture) -> dict[str, Any]:
    """The same job by Torch-Pruning: group L2 norms, half of the channels, the classifier left alone."""
    import torch_pruning

    dense, image = randomised(architecture)
    before = macs(dense, image)
    seconds: Seconds = {}
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, PEER_LIMIT)
    for _ in range(REPEATS):
        model = copy.deepcopy(dense)
        importance = torch_pruning.importance.MagnitudeImportance(p=2)
        timed(
            seconds, "prune", _prune, model, image, importance=importance, ignored_layers=classifiers(model)
        )
        signal.setitimer(signal.ITIMER_PROF, PEER_LIMIT)
        if seconds["prune"][0] > SHORT:
            break
    signal.setitimer(signal.ITIMER_PROF, 0)
    outputs = outputs_of(model.eval(), image)
    return {
        "macs_left": round(macs(model, image) / before, 4),
        "relative_float32": relative_error(outputs_of(_zeroed(dense, model), image), outputs),
        "seconds": medians(seconds),
        "spread": spread(seconds, ["prune"]),
    }


def _prune(model: nn.Module, image: Tensor, **options: Any) -> None:
    import torch_pruning

    torch_pruning.pruner.MetaPruner(model, image, pruning_ratio=RATE, **options).step()


def _too_long(*_: object) -> None:
    raise TimeoutError(f"not finished in {PEER_LIMIT} s")


def macs(model: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of one forward pass, by torch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops() // 2


def _zeroed(dense: nn.Module, pruned: nn.Module) -> nn.Module:
    """The dense model with every output channel zeroed that is missing from the pruned one, recognised by its
    weights.
    """
    kept = dict(pruned.named_parameters())
    for path, module in dense.named_modules():
        axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        for name, parameter in module.named_parameters(recurse=False):
            small = kept.get(f"{path}.{name}" if path else name)
            dim = min(axis, parameter.ndim - 1)
            if (
                small is not None
                and small.ndim == parameter.ndim > 0
                and small.shape[dim] < parameter.shape[dim]
            ):
                _zero_missing(parameter.data.movedim(dim, 0), small.data.movedim(dim, 0))
    return dense


def _zero_missing(dense: Tensor, small: Tensor) -> None:
    """Zero the rows of `dense` from which no value of `small` comes; random weights make values as good as
    unique.
    """
    first = small.reshape(len(small), -1)[:, 0].contiguous()
    missing = ~torch.isin(dense.reshape(len(dense), -1), first).any(1)
    dense[missing] = 0


WORKERS: dict[str, Callable[[Architecture], dict[str, Any]]] = {
    "prunus": prune_with_prunus,
    "prunus_seconds": time_prunus,
    "torch_pruning": prune_with_torch_pruning,
}
