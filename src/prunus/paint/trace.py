"""`trace`: run the model once on meta tensors and read its channels off the paint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.collector import collector_paused
from prunus._foundation.warned import warn
from prunus._foundation.wording import given
from prunus.errors import ArgumentError, PrunusError, TraceError, clause
from prunus.paint.build import build
from prunus.paint.canvas import Canvas
from prunus.paint.constants import keep_sizes_out
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Arguments, Inputs, as_arguments, map_tensors, tensors_in, two_of
from prunus.paint.model_copy import meta_twin, unwrap, walk
from prunus.paint.modes import trains_alike
from prunus.paint.nests import held_by_functions, read_once, said_in
from prunus.paint.neutral import neutral_sources
from prunus.paint.painter import Painter
from prunus.paint.passes import listen, passes, run_once
from prunus.paint.program import Program, program_of, same_program
from prunus.paint.records import Mark
from prunus.paint.rules.extended import load_rules
from prunus.paint.source import Neutral, paint_sources
from prunus.paint.state import State, state_of
from prunus.paint.train_paint import Forward, keep_readable, pin_unkept, share, unread
from prunus.paint.widths import KeepsWidth, SiteLog

_OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, KeepsWidth)  # whose statistics are surely there
_SHARDING = ("torch.distributed.fsdp", "torch.distributed._composable", "torch.distributed.tensor")
_FACTORS = (0.5, 2.0, 0.25, 4.0)  # of the lengths of inputs
_SIDE = 288  # pixels: a multiple of what networks halve
_MOST = 4  # forwards that are painted besides, where every pass is another


@door(TraceError)
@collector_paused()
def trace(model: nn.Module, example_inputs: Inputs) -> ChannelGraph:
    """Find the channels of a model: which slots of which parameters live and die together.

    The model is not run on data and not changed: a twin on meta tensors is. Any Python control flow that does
    not depend on the data is fine.

    Args:
        model: any `nn.Module`.
        example_inputs: what the model is called with: a tensor, a tuple of positional arguments, or a dict of
            keyword arguments. Only shapes and dtypes are used.

    Raises:
        TraceError: the model is TorchScript or sharded, the forward reads the value of a tensor, or fails on
            these inputs; the text names the line.
    """
    load_rules()
    model = unwrap(model)
    _refuse_scripted(model)
    _refuse_sharded(model)
    return trace_model(model, *as_arguments(example_inputs))


def trace_model(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ChannelGraph:
    """`trace` with positional and keyword arguments.

    Where a removed channel would be divided by, it is painted again with what must not be zero; what still is
    then, stays.
    """
    runs, neutral = _runs(model, (args, kwargs))
    others = [*_other_sizes(model, runs, neutral), *_other_passes(model, runs, neutral)]
    for one in (*runs, *others):
        keep_sizes_out(one.canvas, partial(_repainted, model, one, neutral))
        for hazard in one.canvas.hazards:
            one.canvas.pins.append(
                Mark(hazard.labels, "a removed channel would be divided by", hazard.operator, hazard.where)
            )
    for other in others:
        pin_unkept(other, runs)
        share(runs[0], other)
    if len(runs) == 1:
        return runs[0].graph(model)
    share(*runs)
    return dataclasses.replace(runs[0].graph(model), training=runs[1].graph(model))


def _runs(model: nn.Module, inputs: Arguments) -> tuple[list[_Run], frozenset[Neutral]]:
    """The painted forward in eval mode, and the one in train mode where it is another.

    Watching every function of torch costs a tenth of a trace, and most networks call none that needs it.
    """
    if not any(isinstance(module, _OVER_CHANNELS) for module in walk(model).values()):
        try:
            runs, neutral = _runs_until_neutral(model, inputs, watched=False)
        except TraceError:
            pass
        else:
            if not any(run.canvas.statistics or run.canvas.unlisted for run in runs):
                return runs, neutral
    return _runs_until_neutral(model, inputs, watched=True)


def _runs_until_neutral(
    model: nn.Module, inputs: Arguments, watched: bool
) -> tuple[list[_Run], frozenset[Neutral]]:
    """Paint until nothing new turns up that must not be zero; that is returned, too."""
    neutral = frozenset[Neutral]()
    train_run: _Run | None = None
    while True:
        eval_run = _paint(model, inputs, neutral, watched=watched)
        if not neutral:
            train_run = _paint_training(model, eval_run)
        elif train_run is not None:
            train_run = _paint(model, train_run.inputs, neutral, training=True, watched=watched)
        runs = [run for run in (eval_run, train_run) if run is not None]
        found = (
            frozenset[Neutral]().union(
                *(neutral_sources(run.canvas.records, run.sources, run.canvas.hazards) for run in runs)
            )
            - neutral
        )
        if not found:
            return runs, neutral
        neutral |= found


@dataclasses.dataclass(frozen=True, eq=False)
class _Run(Forward):
    """A forward that was painted, and what its graph needs besides."""

    log: SiteLog | None  # where functions were watched
    state: State
    inputs: Arguments
    after: int  # so many other forwards
    varies: bool  # whether the next one may be another

    @property
    def program(self) -> Program:
        """The operators that it called."""
        return program_of(self.canvas.records, self.outputs, self.twin.modules)

    def graph(self, model: nn.Module) -> ChannelGraph:
        """The channels that it shows."""
        return build(
            model,
            self.twin,
            self.inputs,
            self.canvas,
            self.sources,
            None if self.log is None else self.log.sites,
            self.state,
        )


def _paint(
    model: nn.Module,
    inputs: Arguments,
    neutral: frozenset[Neutral] = frozenset(),
    training: bool = False,
    watched: bool = True,
    after: int = 0,
) -> _Run:
    """One forward, `after` others."""
    painter, twin = Painter(seed=after), meta_twin(model, training=training)
    for seed in range(after):
        listen(twin, inputs, seed)
    sources, state = paint_sources(painter, twin.modules, neutral), state_of(twin.modules)
    tensors = {source.name: source.tensor for source in sources}
    numbers = dict(twin.numbers)
    log = SiteLog(painter.running, painter.records) if watched else None
    outputs, varies = run_once(painter, twin, inputs, tensors, log or nullcontext())
    pin_outputs(painter, type(model).__name__, outputs)
    twin.numbers.update(numbers)  # as it was traced
    return _Run(painter, twin, sources, tuple(tensors_in(outputs)), log, state, inputs, after, varies)


def _listen(model: nn.Module, inputs: Arguments, training: bool = False) -> Program:
    """The operators that a forward calls, on a twin of its own."""
    return listen(meta_twin(model, training=training), inputs)[0]


def _repainted(
    model: nn.Module, run: _Run, neutral: frozenset[Neutral], change: Callable[[Tensor], Tensor]
) -> Canvas:
    return _paint(
        model, map_tensors(run.inputs, change), neutral, run.twin.training, run.log is not None, run.after
    ).canvas


def _paint_training(model: nn.Module, eval_run: _Run) -> _Run | None:
    """The forward in train mode; None where it is the one in eval mode, or cannot be followed.

    Batch norm may want a batch of more than one, and heads that only training runs larger images. What cannot
    be painted is told, and what parameters may read there stays.
    """
    if trains_alike(walk(model)):
        return None
    twice = map_tensors(eval_run.inputs, two_of)
    failure: TraceError | ArgumentError | None = None
    for inputs in (eval_run.inputs, twice, map_tensors(twice, _larger)):
        try:
            heard = _listen(model, inputs, training=True)
            if same_program(eval_run.program if inputs is eval_run.inputs else _listen(model, inputs), heard):
                return None
            return _paint(model, inputs, training=True, watched=eval_run.log is not None)
        except (TraceError, ArgumentError) as error:
            failure = failure or error
    assert failure is not None
    if eval_run.log is None:
        raise TraceError(str(failure)) from failure
    _warn_of_training(type(model).__name__, keep_readable(eval_run), failure)
    return None


def _other_sizes(model: nn.Module, runs: Sequence[_Run], neutral: frozenset[Neutral]) -> list[_Run]:
    """The forwards on larger and smaller inputs that read parameters which the painted ones do not: half and
    twice as long ones are listened to, and those of a quarter and four times, where something is not read.
    """
    left = set.intersection(*({source.name for source in unread(run)} for run in runs))
    found: list[_Run] = []
    for factor in _FACTORS:
        if not left:
            break
        inputs = map_tensors(runs[0].inputs, partial(_resized, factor=factor))
        try:
            read = left.intersection(_listen(model, inputs).read)
            if read:
                found.append(_paint(model, inputs, neutral, watched=runs[0].log is not None))
        except (TraceError, ArgumentError):
            continue  # too small, or of one size only
        left -= read
    return found


def _other_passes(model: nn.Module, runs: Sequence[_Run], neutral: frozenset[Neutral]) -> list[_Run]:
    """The forwards that do something else than the first ones, by chance or since they count, in eval and in
    train mode.
    """
    found: list[_Run] = []
    modes = [(one.twin.training, one.inputs) for one in runs if one.varies]
    if len(runs) == 1 and not trains_alike(walk(model)):
        modes.append((True, map_tensors(runs[0].inputs, two_of)))
    for training, inputs in modes:
        heard: list[Program] = []
        try:
            for count, program in enumerate(passes(meta_twin(model, training=training), inputs)):
                if any(same_program(program, other) for other in heard):
                    continue
                heard.append(program)
                if count:
                    found.append(_paint(model, inputs, neutral, training, runs[0].log is not None, count))
                if len(heard) > _MOST:
                    break
        except (TraceError, ArgumentError):
            continue  # which was told of, in train mode
    return found


def _resized(tensor: Tensor, factor: float) -> Tensor:
    """An image or a signal of another size."""
    if tensor.dim() < 3 or not tensor.is_floating_point():
        return tensor
    lengths = [max(1, round(n * factor)) for n in tensor.shape[2:]]
    return torch.empty([*tensor.shape[:2], *lengths], dtype=tensor.dtype, device="meta")


def _larger(tensor: Tensor) -> Tensor:
    """An image of the usual sizes instead of a small one."""
    if tensor.dim() != 4 or not tensor.is_floating_point():
        return tensor
    return torch.empty(
        [*tensor.shape[:2], *(n + _SIDE for n in tensor.shape[2:])], dtype=tensor.dtype, device="meta"
    )


def _warn_of_training(name: str, left: Sequence[str], failure: PrunusError) -> None:
    """`left` are parameters that the forward in eval mode does not read."""
    some = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    what = (
        f"{some} of {name} are not read in eval mode, and its forward" if left else f"The forward of {name}"
    )
    then = (
        "what they may read there stays whole"
        if left
        else "what it does there with pruned channels is not known"
    )
    warn(f"{what} in train mode cannot be followed ({clause(failure)}); {then}.")


def pin_outputs(painter: Painter, name: str, outputs: Any) -> None:
    """What a model returns stays as it is, and what functions hold that it returns. Raises TraceError if it
    returns no tensor, or what computes only when it is read.
    """
    once = read_once(outputs)
    if once is not None:
        raise TraceError(
            f"The forward of {name} returns {given(once)}, which computes when it is read, outside of what"
            " can be followed; return a list."
        )
    tensors = list(tensors_in(outputs))
    if not tensors:
        raise TraceError(
            f"The forward of {name} returns no tensor (but {type(outputs).__name__}), so nothing says what it"
            " computes."
        )
    painter.returned(tensors)
    painter.said = said_in(outputs)
    for tensor in held_by_functions(outputs):
        for stripe in painter.paint_of(tensor):
            painter.pin(stripe.labels, "held by a function that the model returns", "")


def _refuse_sharded(model: nn.Module) -> None:
    """Of a model whose parameters are spread over processes, none has all channels."""
    for name, module in walk(model).items():
        kinds = [*type(module).__mro__, *(type(p) for p in module._parameters.values())]
        if any(kind.__module__.startswith(_SHARDING) for kind in kinds):
            raise TraceError(
                f"{name or type(model).__name__} is sharded over several processes; prune the model before,"
                " and shard the compact one."
            )


def _refuse_scripted(model: nn.Module) -> None:
    """TorchScript runs its operators where nobody sees which parameters they read."""
    if isinstance(model, torch.jit.ScriptModule):
        raise TraceError(
            "The model is TorchScript, whose channels cannot be followed; give the torch.nn.Module that it"
            " was scripted or traced from."
        )
    scripted = [
        name
        for name, module in walk(model).items()
        if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters())
    ]
    outer = [name for name in scripted if name.rpartition(".")[0] not in scripted]
    if outer:
        warn(
            f"Channels in and around {', '.join(outer)} stay: TorchScript cannot be followed; put the module"
            " in before it is scripted."
        )
