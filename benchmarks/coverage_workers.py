"""One architecture, one process: prune it with prunus or with Torch-Pruning, and measure what came out."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
from tests.network_check import outputs_of, relative_error
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.architectures import Architecture, build, classifiers

RATE = 0.5
PEER_LIMIT = 60  # seconds


def timed(seconds: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """Call, and note how long it took."""
    start = time.perf_counter()
    result = function()
    seconds[name] = round(time.perf_counter() - start, 4)
    return result


def randomised(architecture: Architecture) -> tuple[nn.Module, Tensor]:
    """The model with random weights, scales and statistics in eval mode, and a random batch of one image."""
    torch.manual_seed(0)
    model = build(architecture).eval()
    image = torch.randn(1, 3, architecture.size, architecture.size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _randomise(name, parameter)
    hooks = [m.register_forward_pre_hook(_statistics) for m in model.modules() if hasattr(m, "running_var")]
    outputs_of(model, torch.randn(4, *image.shape[1:]))
    for hook in hooks:
        hook.remove()
    return model, image


def _randomise(name: str, parameter: Tensor) -> None:
    """Nothing may be zero or one by initialisation: norm scales, biases, layer scales, embeddings."""
    if parameter.ndim <= 1 or parameter.numel() == max(parameter.shape):
        if name.endswith("bias"):
            parameter.normal_(0, 0.1)
        elif parameter.abs().mean() < 0.01:  # a layer scale or gain that lets nothing through at first
            parameter.uniform_(0.1, 0.3)
        else:
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    elif parameter.std() == 0:
        parameter.normal_(0, 0.1)


def _statistics(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Random statistics around those of the data: what follows keeps a sane scale, however deep the network is."""
    x = args[0].detach().transpose(0, 1).flatten(1)
    if module.running_var is None:
        return
    std = x.std(1) if x.shape[1] > 1 else torch.ones(len(x))
    std = torch.where(std > 1e-3, std, torch.ones(()))
    module.running_mean.copy_(x.mean(1) + 0.3 * std * torch.randn(len(x)))
    module.running_var.copy_(std**2 * (torch.rand(len(x)) + 0.5))


def warm_up() -> None:
    """Both tools once on a small network, so that no model pays for what is loaded on first use."""
    import torch_pruning

    import prunus

    model, image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval(), torch.randn(1, 3, 8, 8)
    graph = prunus.trace(model, image)
    prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=RATE))
    importance = torch_pruning.importance.MagnitudeImportance(p=2)
    torch_pruning.pruner.MetaPruner(model, image, importance=importance, pruning_ratio=RATE, ignored_layers=[model[3]]).step()


def prune_with_prunus(architecture: Architecture) -> dict[str, Any]:
    """Trace, plan, compact and check, in float32 and again in float64."""
    import prunus

    model, image = randomised(architecture)
    seconds: dict[str, float] = {}
    graph = timed(seconds, "trace", lambda: prunus.trace(model, image))
    plan = timed(seconds, "plan", lambda: prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=RATE))
    small = timed(seconds, "compact", lambda: prunus.compact(model, plan, check=False))
    verified = timed(seconds, "check", lambda: prunus.verify(model, small.prunus.plan, small))
    graph.cost(plan)
    timed(seconds, "cost", lambda: graph.cost(plan))
    fresh = torch.randn(2, *image.shape[1:])
    masked = prunus.mask(model, small.prunus.plan)
    single = relative_error(outputs_of(masked, fresh), outputs_of(small, fresh))
    before, after = graph.cost(), graph.cost(small.prunus.plan)
    return {
        "mode": small.prunus.mode,
        "macs": before.macs,
        "macs_left": round(after.macs / before.macs, 4),
        "parameters": before.params,
        "parameters_left": round(after.params / before.params, 4),
        "same_plan": small.prunus.plan == plan,
        "exact": small.prunus.plan.exact,
        "notes": list(small.prunus.plan.notes[:3]),
        "relative_float32": max(single, verified.relative),
        "relative_float64": _in_double(model, small.prunus.plan, fresh),
        "pinned": [[p.reason, p.operator, p.where, p.channels] for p in _top(graph.pinned)],
        "seconds": seconds,
    }


def _top(pinned: Any) -> list[Any]:
    return sorted((p for p in pinned if p.reason != "model output"), key=lambda p: -p.channels)[:3]


def _in_double(model: nn.Module, plan: Any, fresh: Tensor) -> float:
    """The whole job again in double precision with the same plan: only rounding may be left of the difference."""
    import prunus

    fresh, model = fresh.double(), copy.deepcopy(model).double()
    plan = prunus.Plan.from_json(plan.to_json()).attach(prunus.trace(model, fresh[:1]))
    return relative_error(outputs_of(prunus.mask(model, plan), fresh), outputs_of(prunus.compact(model, plan, check=False), fresh))


def prune_with_torch_pruning(architecture: Architecture) -> dict[str, Any]:
    """The same job by Torch-Pruning: group L2 norms, half of the channels, the classifier left alone."""
    import torch_pruning

    model, image = randomised(architecture)
    dense = copy.deepcopy(model)
    before = macs(model, image)
    seconds: dict[str, float] = {}

    def prune() -> None:
        importance = torch_pruning.importance.MagnitudeImportance(p=2)
        pruner = torch_pruning.pruner.MetaPruner(model, image, importance=importance, pruning_ratio=RATE, ignored_layers=classifiers(model))
        pruner.step()

    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(PEER_LIMIT)
    timed(seconds, "prune", prune)
    signal.alarm(0)
    outputs = outputs_of(model.eval(), image)
    return {
        "macs_left": round(macs(model, image) / before, 4),
        "relative_float32": relative_error(outputs_of(_zeroed(dense, model), image), outputs),
        "seconds": seconds,
    }


def _too_long(*_: object) -> None:
    raise TimeoutError(f"not finished in {PEER_LIMIT} s")


def macs(model: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of one forward pass, by torch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops() // 2


def _zeroed(dense: nn.Module, pruned: nn.Module) -> nn.Module:
    """The dense model with every output channel zeroed that is missing from the pruned one, recognised by its weights."""
    kept = dict(pruned.named_parameters())
    for path, module in dense.named_modules():
        axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        for name, parameter in module.named_parameters(recurse=False):
            small = kept.get(f"{path}.{name}" if path else name)
            dim = min(axis, parameter.ndim - 1)
            if small is not None and small.ndim == parameter.ndim > 0 and small.shape[dim] < parameter.shape[dim]:
                _zero_missing(parameter.data.movedim(dim, 0), small.data.movedim(dim, 0))
    return dense


def _zero_missing(dense: Tensor, small: Tensor) -> None:
    """Zero the rows of `dense` from which no value of `small` comes; random weights make values as good as unique."""
    first = small.reshape(len(small), -1)[:, 0].contiguous()
    missing = ~torch.isin(dense.reshape(len(dense), -1), first).any(1)
    dense[missing] = 0


WORKERS: dict[str, Callable[[Architecture], dict[str, Any]]] = {
    "prunus": prune_with_prunus,
    "torch_pruning": prune_with_torch_pruning,
}
