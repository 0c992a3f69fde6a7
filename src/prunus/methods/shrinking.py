"""`prunus.shrink`: a network made smaller in one call, as `prunus prune` does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import TargetError
from prunus.methods.common import Outcome, Target, TargetKind, wish
from prunus.methods.named import compensation_named, score_named
from prunus.methods.one_shot import one_shot
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.surgery.parts import is_core
from prunus.tasks import Task
from prunus.training import TrainConfig

ONE_CURRENCY = (
    "reconstruction",
    "taylor",
    "car",
)  # scores that are errors or losses, and so can be compared between layers


@door(TargetError)
def shrink(
    model: nn.Module,
    task: Task | None,
    *,
    rate: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    bytes: float | None = None,
    tolerance: float | None = None,
    latency: float | str | None = None,
    score: str | Callable[[ChannelGraph], Tensor] | None = None,
    compensate: str | None = None,
    scope: Literal["uniform", "global", "measured"] | None = None,
    round_to: int | Literal["auto"] = 1,
    floor: int = 1,
    protect: tuple[str, ...] = (),
    exact: bool = False,
    prefer: Literal["auto", "eager"] = "auto",
    confidence: float = 0.95,
    runtime: str = "onnxruntime",
    threads: int = 1,
    blocks: int = 0,
    evenly: bool = False,
    teach: bool = False,
    config: TrainConfig | None = None,
    trial_config: TrainConfig | None = None,
    example_inputs: Inputs | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Outcome:
    """Make a network smaller: score, plan or search, remove, verify, compensate, recalibrate, fine-tune,
    measure. The model itself is not changed.

    Exactly one of the first six settings says how small; with `blocks`, none of them leaves all channels.

    Args:
        model: trained.
        task: what it is for. None, with example inputs, prunes by the weights alone.
        rate: share of the channels that goes.
        macs: MACs that may be left: a share of all up to 1, a number above.
        params: parameters that may be left, likewise.
        bytes: of the weights that may be left, likewise.
        tolerance: points of the task's metric that may be lost on its held-out samples.
        latency: time that one forward may take: a share of the original's, or "12ms".
        score: what a channel is worth: a name that `prunus methods` lists, or a function graph -> one number
            per channel, higher = keep. None = "reconstruction", and "norm-l2" without a task.
        compensate: what makes up for the channels that went: "refit", "means", "merge" or "none". None =
            "refit", and "none" without a task.
        scope: how much goes of which layer: "uniform", the same share of each, "global", by comparing the
            scores of all, or "measured", by what the network loses with each layer narrower. None =
            "measured" for MACs, parameters, bytes and a latency, with a task; for a latency without one
            "global", where the score allows it; else "uniform".
        round_to: widths become multiples of this, or "auto".
        floor: channels that every layer keeps at least.
        protect: glob patterns of layers that stay whole.
        exact: remove only channels whose removal is exact.
        prefer: "auto", or "eager" to rule out a traced module; a `prunus.core` is always "eager".
        confidence: with which a tolerance is kept.
        runtime: that latency and "auto" are measured in.
        threads: of the runtime.
        blocks: residual blocks that are left out before any channel goes.
        evenly: of every stage alike.
        teach: the original teaches what is left while it is fine-tuned; for classes only.
        config: how to fine-tune; None leaves it out.
        trial_config: how each trial of a tolerance is tuned before it is judged; None judges it as it is.
        example_inputs: inputs of the shape for which MACs are counted; None = the task's.
        seed: of calibration samples.
        watch: told about progress.

    Raises:
        TargetError: not exactly one target, a number out of range, or a target that cannot be reached.
        ConfigError: no such score or compensation, or one that looks at samples, and there are none.
        PrunusError: whatever tracing, planning, compaction and training raise.
    """
    shares = {"rate": rate, "macs": macs, "params": params, "bytes": bytes, "tolerance": tolerance}
    figures = {**shares, "latency": latency}
    kind, value = wish(figures, ("rate", 0.0) if blocks else None)
    channels = any(one is not None for one in figures.values())
    chosen = score or ("reconstruction" if task is not None and channels else "norm-l2")
    prefer = "eager" if is_core(model) else prefer  # a traced module has no other forward
    where = scope or usual_scope(kind, chosen, task is not None)
    target = Target(kind, value, where, round_to, floor, protect, exact, prefer, confidence, runtime, threads)
    return one_shot(
        model,
        task,
        score=score_named(chosen, task, seed) if isinstance(chosen, str) else chosen,
        target=target,
        compensate=compensation_named(compensate, task, seed),
        config=config,
        trial_config=trial_config,
        blocks=blocks,
        evenly=evenly,
        teach=teach,
        example_inputs=example_inputs,
        seed=seed,
        watch=watch,
    )


def usual_scope(
    kind: TargetKind, score: str | Callable[[ChannelGraph], Tensor], samples: bool
) -> Literal["uniform", "global", "measured"]:
    """How much goes of which layer where nothing is said: a budget and a latency are met where least is lost,
    a rate is the papers'; without samples the score says what is lost for a latency, if it is in one
    currency. `samples`: whether there are any to measure on.
    """
    if samples and kind in ("macs", "params", "bytes", "latency"):
        return "measured"
    return "global" if kind == "latency" and isinstance(score, str) and score in ONE_CURRENCY else "uniform"
