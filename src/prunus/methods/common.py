"""What all methods share: what is wanted, what came of it, and how their trainings are kept and told about.

A method is `method(model, task, *, settings, config=None) -> Outcome`. The model is not changed; `task` says
what it is for; `config` is how the method trains where it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prunus._foundation.arguments import at_least, check_fields
from prunus.errors import ConfigError, TargetError

if TYPE_CHECKING:
    from torch import nn

    from prunus._foundation.progress import Watch
    from prunus.paint.cost import Cost
    from prunus.paint.graph import ChannelGraph
    from prunus.plans.plan import Plan, Trial
    from prunus.plans.verify import Verification
    from prunus.training import EpochRecord, History

# Called with the model, the plan and a watcher of its own steps; gives the copy of the model that is
# compacted in its place.
Compensate = Callable[["nn.Module", "Plan", Callable[[int, int], None]], "nn.Module"]
TargetKind = Literal["rate", "macs", "params", "bytes", "tolerance", "latency", "strength", "budget"]
FIRST = "training"  # the name of the first, and in most methods the only, training


@dataclass(frozen=True)
class Target:
    """What is wanted, and how the channels may be chosen; the fields are those of `prunus.plan`.

    Attributes:
        kind: which figure `value` is of; "strength" is that of a penalty, which leaves the size to the
            training, and "budget" the mean MACs of gates.
        value: fraction or absolute number (see `prunus.plan`), points for "tolerance", or text as "12ms" for
            "latency".
        scope: "uniform", "global" or "measured".
        round_to: widths become multiples of this, or "auto".
        floor: channels that every layer keeps at least.
        protect: glob patterns of what stays.
        exact: remove only channels whose removal is exact.
        prefer: "auto", or "eager" to rule out a traced module.
        confidence: with which a tolerance is kept.
        runtime: that latency and "auto" are measured in.
        threads: of the runtime.
    """

    kind: TargetKind
    value: float | str
    scope: Literal["uniform", "global", "measured"] = "uniform"
    round_to: int | Literal["auto"] = 1
    floor: int = 1
    protect: tuple[str, ...] = ()
    exact: bool = False
    prefer: Literal["auto", "eager"] = "auto"
    confidence: float = 0.95
    runtime: str = "onnxruntime"
    threads: int = 1

    @property
    def points(self) -> float:
        """The points of a tolerance."""
        return float(self.value)


@dataclass(frozen=True)
class Step:
    """The metric [points] on the test samples after one step of the run, and the loss where it has one per
    sample.
    """

    step: str
    value: float
    loss: float | None


@dataclass(frozen=True)
class Limit:
    """The metric [points] of the original on held-out samples, the lowest that the tolerance accepts, and
    with which confidence.
    """

    baseline: float
    lowest: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a method.

    What only one method finds (the numbers that it trained, say) is in `found`, by names that its own
    docstring has: a mapping, so that whoever draws, saves or compares outcomes needs to know one type, and
    none of the methods.

    Attributes:
        graph: the channels of the network that was pruned, without the blocks that were left out.
        plan: what was removed.
        model: the compact model, recalibrated and tuned, in eval mode.
        verification: compact against masked model, before recalibration and tuning.
        target: what was asked for.
        dense: the network that was compacted: the one that was given, or what the method trained it to be.
        steps: the metric along the way; empty without test samples.
        limit: of the search for a tolerance, if there was one.
        trials: of that search.
        trial_epochs: epochs that each trial was tuned before it was judged.
        training: the training that belongs to the method, if there was one.
        tuning: the fine-tuning, if there was one.
        seconds: wall time per step.
        notes: what was left out and why.
        blocks: residual blocks that were left out, the first one first.
        whole: cost of the original with them; None if nothing was left out.
        found: what else the method has to say.
    """

    graph: ChannelGraph
    plan: Plan
    model: nn.Module
    verification: Verification
    target: Target
    dense: nn.Module | None = None
    steps: tuple[Step, ...] = ()
    limit: Limit | None = None
    trials: tuple[Trial, ...] = ()
    trial_epochs: int = 0
    training: History | None = None
    tuning: History | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    whole: Cost | None = None
    found: Mapping[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> Cost:
        """Cost of the original."""
        return self.whole or self.plan.before

    @property
    def metric(self) -> float | None:
        """The metric [points] of what is left, on the test samples; None without any."""
        return self.steps[-1].value if self.steps else None


@dataclass(frozen=True)
class Journal:
    """How the trainings of a method are kept and told about, which changes nothing of what comes of them; a
    method of several has a file for each.

    Attributes:
        checkpoint: a file that the first training writes; the others have theirs beside it, such as
            checkpoint-round-1-pulling.
        checkpoint_seconds: how much work may be lost when the process is killed.
        resume: go on from these files where they are.
        on_epoch: called with the name of the training and the record of every finished epoch.
    """

    checkpoint: Path | str | None = None
    checkpoint_seconds: float = 60.0
    resume: bool = False
    on_epoch: Callable[[str, EpochRecord], None] | None = None

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        at_least(0, checkpoint_seconds=self.checkpoint_seconds)

    def options(self, step: str, watch: Watch) -> dict[str, Any]:
        """The options of `prunus.training.train` for one training, by its name."""
        told = self.on_epoch
        return {
            "checkpoint": None if self.checkpoint is None else _file(Path(self.checkpoint), step),
            "checkpoint_seconds": self.checkpoint_seconds,
            "resume": self.resume,
            "on_epoch": None if told is None else lambda record: told(step, record),
            "on_step": lambda done, total: watch(step, done, total),
        }


def wish(
    figures: Mapping[str, float | str | None], default: tuple[TargetKind, float] | None = None
) -> tuple[TargetKind, float | str]:
    """The one target that was given, or the default where none was; raises TargetError
    for several, or none.
    """
    given = [(kind, value) for kind, value in figures.items() if value is not None]
    if not given and default is not None:
        return default
    if len(given) != 1:
        raise TargetError(
            f"Give one target of {', '.join(figures)}, not"
            f" {' and '.join(kind for kind, _ in given) or 'none'}."
        )
    return given[0]  # type: ignore[return-value]  # the kinds are the names of the arguments


def _file(checkpoint: Path, step: str) -> Path:
    """The checkpoint of a training."""
    return (
        checkpoint
        if step == FIRST
        else checkpoint.with_stem(f"{checkpoint.stem}-{step.replace(',', '').replace(' ', '-')}")
    )
