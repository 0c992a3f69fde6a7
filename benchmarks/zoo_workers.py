"""One network of the zoo, one process: what pruning it does, step by step, each step's findings printed as
soon as they are there.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import prunus
from benchmarks.random_weights import randomise, scatter_statistics
from benchmarks.zoo_models import Entry
from benchmarks.zoo_models.entry import Inputs
from prunus.paint.dropout import NoDropout
from prunus.paint.inputs import as_arguments, map_tensors, tensors_in
from prunus.paint.model_copy import named_tensors

RATE = 0.5
FAINT = 1e-3  # outputs this much smaller than the largest are measured against that share of it

Row = dict[str, Any]


def pruning(entry: Entry) -> Iterator[Row]:
    """Half of the channels, in single and in double precision, and half of the MACs; a step that fails says
    why and the next goes on.
    """
    built = attempt("build", lambda: {"model": randomised(entry)})
    if "model" not in built:
        yield built
        return
    model, inputs = built["model"], entry.inputs(1, False)
    yield {"parameters": sum(p.numel() for p in model.parameters())}
    done: Row = attempt("prune", lambda: pruned(model, inputs))
    small, plan = done.pop("small", None), done.pop("plan", None)
    yield done
    if small is not None:
        yield attempt("double", lambda: in_double(model, plan, entry))
        yield attempt("half_macs", lambda: half_macs(model, inputs, plan.graph))
        yield attempt("file", lambda: through_file(small, entry))


def training(entry: Entry) -> Iterator[Row]:
    """Train mode: outputs, gradients and a step."""
    yield attempt("train", lambda: in_training(entry))


def attempt(name: str, step: Callable[[], Row]) -> Row:
    """What a step found, or the sentence it failed with."""
    start = time.process_time()
    try:
        return step() | {f"{name}_seconds": round(time.process_time() - start, 2)}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        return {
            f"{name}_failed": f"{type(error).__name__}: {str(error)[:400]} ({place})",
            f"{name}_seconds": round(time.process_time() - start, 2),
        }


def randomised(entry: Entry) -> nn.Module:
    """The model in eval mode with random weights, scales and statistics: nothing is zero or one by
    initialisation.
    """
    torch.manual_seed(0)
    model = entry.make().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.is_floating_point():
                randomise(name, parameter)
    hooks = [
        m.register_forward_pre_hook(scatter_statistics)
        for m in model.modules()
        if getattr(m, "running_var", None) is not None
    ]
    outputs_of(model, entry.inputs(2, False))
    for hook in hooks:
        hook.remove()
    return model


def call(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = as_arguments(inputs)
    return model(*args, **kwargs)


def outputs_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """All output tensors in eval mode, random numbers equal from call to call."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return list(tensors_in(call(model.eval(), inputs)))


def pruned(model: nn.Module, inputs: Inputs) -> Row:
    """Half of the channels by their norms."""
    start = time.process_time()
    graph = prunus.trace(model, inputs)
    traced = time.process_time()
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=RATE)
    planned = time.process_time()
    small = prunus.compact(model, plan, check=False)
    compacted = time.process_time()
    plan, wanted = small.prunus.plan, plan
    before, after = graph.cost(), graph.cost(plan)
    return {
        "small": small,
        "plan": plan,
        "mode": small.prunus.mode,
        "channels": graph.num_channels,
        "removed": plan.removed,
        "same_plan": plan == wanted,
        "exact": plan.exact,
        "notes": list(plan.notes[:4]),
        "macs": before.macs,
        "macs_left": round(after.macs / before.macs, 4) if before.macs else 1.0,
        "parameters_left": round(after.params / before.params, 4),
        "trace_seconds": round(traced - start, 2),
        "plan_seconds": round(planned - traced, 2),
        "compact_seconds": round(compacted - planned, 2),
        "pinned": pins_by_macs(graph),
        "relative": difference(outputs_of(prunus.mask(model, plan), inputs), outputs_of(small, inputs)),
    }


def pins_by_macs(graph: Any, most: int = 4) -> list[list[Any]]:
    """Why layers cannot shrink, with the share of all MACs of the layers that each reason touches; largest
    share first.
    """
    macs = {layer.name: layer.macs_before for layer in graph.layers()}
    total = sum(macs.values()) or 1
    result = []
    for pin in graph.pinned:
        if pin.reason == "model output":
            continue
        held = {name.rpartition(":")[0].rpartition(".")[0] for name in pin.names}
        result.append(
            [
                round(sum(macs.get(name, 0) for name in held) / total, 3),
                pin.reason,
                pin.operator,
                short(pin.where),
                pin.channels,
            ]
        )
    return sorted(result, key=lambda row: -row[0])[:most]


def short(where: str) -> str:
    """The last two parts of a path."""
    return "/".join(where.split("/")[-2:])


def half_macs(model: nn.Module, inputs: Inputs, graph: Any) -> Row:
    """Half of the MACs, checked by compact itself."""
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), macs=0.5)
    small = prunus.compact(model, plan)
    left = graph.cost(small.prunus.plan).macs / graph.cost().macs
    return {
        "half_macs_left": round(left, 4),
        "half_macs_mode": small.prunus.mode,
        "half_macs_verified": small.prunus.verification.relative,
    }


@contextmanager
def double_throughout() -> Iterator[None]:
    """Forwards that cast to single precision themselves cast to double here; so do tensors they make."""
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@double_throughout()
def in_double(model: nn.Module, plan: prunus.Plan, entry: Entry) -> Row:
    """The whole job again in double precision with the same plan, on a batch and on another size: only
    rounding may be left.
    """
    model = copy.deepcopy(model).double()
    usual, larger = (to_double(entry.inputs(2, larger)) for larger in (False, True))
    plan = prunus.Plan.from_json(plan.to_json()).attach(
        prunus.trace(model, to_double(entry.inputs(1, False)))
    )
    masked, small = prunus.mask(model, plan), prunus.compact(model, plan, check=False)
    row: Row = {"double": difference(outputs_of(masked, usual), outputs_of(small, usual))}
    if not entry.fixed:
        try:
            expected = outputs_of(masked, larger)
        except Exception as error:
            return row | {"larger": f"the original does not take it: {type(error).__name__}"}
        try:
            row["larger"] = difference(expected, outputs_of(small, larger))
        except Exception as error:
            row["larger_failed"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row


def to_double(inputs: Inputs) -> Inputs:
    """The same inputs in double precision."""
    result: Inputs = map_tensors(inputs, lambda t: t.double() if t.is_floating_point() else t)
    return result


@double_throughout()
def in_training(entry: Entry) -> Row:
    """Outputs and gradients in train mode without dropout, in double precision, and one step of SGD."""
    model = without_dropout(randomised(entry)).double().train()
    inputs = to_double(entry.inputs(2, False))
    graph = prunus.trace(model, inputs)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=RATE)
    small = prunus.compact(model, plan, check=False)
    masked = prunus.mask(model, small.prunus.plan)
    try:
        expected, wanted = gradients(masked, inputs)
    except Exception as error:
        return {"train": f"the original cannot be trained so: {type(error).__name__}: {str(error)[:120]}"}
    found, got = gradients(small, inputs)
    row: Row = {"train": difference(expected, found), "train_mode_kept": small.training}
    row["gradients"], row["gradient_worst"] = gradient_difference(small, wanted, got)
    with torch.no_grad():
        for parameter in small.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-4 * parameter.grad / max(1.0, float(parameter.grad.abs().max())))
    after, _ = gradients(small, inputs)
    row["step_finite"] = all(bool(t.isfinite().all()) for t in after)
    return row


def without_dropout(model: nn.Module) -> nn.Module:
    """Every probability of dropping something becomes zero."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and (
                "drop" in name or (name == "p" and "rop" in type(module).__name__ + "StochasticDepth")
            ):
                setattr(module, name, 0.0)
    return model


def gradients(model: nn.Module, inputs: Inputs) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs, and the gradients of a random weighting of them."""
    model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with NoDropout():  # functions; modules have lost theirs before
            outputs = [t for t in tensors_in(call(model, inputs)) if t.is_floating_point()]
        torch.manual_seed(1)
        loss = sum((t * torch.randn_like(t)).mean() for t in outputs if t.requires_grad)
    loss.backward()  # type: ignore[union-attr]
    return [t.detach() for t in outputs], {
        n: p.grad for n, p in named_tensors(model).items() if p.grad is not None
    }


def gradient_difference(
    small: nn.Module, wanted: dict[str, Tensor], got: dict[str, Tensor]
) -> tuple[float, str]:
    """The largest difference of any gradient of what is left, relative to the largest gradient of its
    parameter; and whose it is.
    """
    origin: Any = small.prunus
    scaled = {name for change in origin.surgery.rescales for name in change.parameters}
    floor = FAINT * max((float(g.abs().max()) for g in wanted.values() if g.numel()), default=1.0)
    worst, name_of_worst = 0.0, ""
    for name, gradient in wanted.items():
        if name in scaled:
            continue
        for axis, kept in origin.surgery.slices.get(name, {}).items():
            gradient = gradient.index_select(axis, torch.from_numpy(kept))
        other = got.get(name)
        if other is None or other.shape != gradient.shape:
            error = math.inf if gradient.abs().max() > floor else 0.0
        else:
            error = (
                float((gradient - other).abs().max()) / max(float(gradient.abs().max()), floor, 1e-300)
                if gradient.numel()
                else 0.0
            )
        if not error <= worst:
            worst, name_of_worst = error, name
    return worst, name_of_worst


def through_file(small: nn.Module, entry: Entry) -> Row:
    """Saved, loaded, and the same outputs."""
    inputs = entry.inputs(1, False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        prunus.save(small, path)
        loaded = prunus.load(path, entry.make)
    return {"file": difference(outputs_of(small, inputs), outputs_of(loaded, inputs))}


def exporting(entry: Entry) -> Iterator[Row]:
    """The dense network and half of it as ONNX files, run beside PyTorch."""
    from prunus.deploy.onnx import export

    model, inputs = randomised(entry), entry.inputs(1, False)

    def exported(network: nn.Module, key: str) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            return {
                key: export(network, inputs, Path(folder) / "model.onnx", tolerance=float("inf")).relative
            }

    dense = attempt("onnx_dense", lambda: exported(model, "onnx_dense"))
    yield dense
    if "onnx_dense" in dense:
        graph = prunus.trace(model, inputs)
        small = prunus.compact(
            model, prunus.plan(graph, prunus.scores.norm(graph, p=2), rate=RATE), check=False
        ).eval()
        yield attempt("onnx", lambda: exported(small, "onnx"))


def difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference of any output, relative to the largest magnitude in that output; infinite where
    shapes or kinds differ.
    """
    if [t.shape for t in expected] != [t.shape for t in found]:
        return math.inf
    finite = [t[t.isfinite()].abs() for t in expected]
    if not any(t.numel() for t in finite):
        raise ValueError("No number of any output is finite, so nothing is compared.")
    scales = [float(t.max()) if t.numel() else 0.0 for t in finite]
    floor = FAINT * max(scales)
    worst = 0.0
    for a, b, scale in zip(expected, found, scales):
        if not (a.is_floating_point() or a.is_complex()):
            error = 0.0 if torch.equal(a, b) else math.inf
        elif not torch.equal(a.isfinite(), b.isfinite()):
            error = math.inf
        else:
            gap = (a - b)[a.isfinite()].abs()
            error = float(gap.max()) / (max(scale, floor) or 1.0) if gap.numel() else 0.0
        worst = max(worst, error)
    return worst


JOBS: dict[str, Callable[[Entry], Iterator[Row]]] = {"prune": pruning, "train": training, "onnx": exporting}
