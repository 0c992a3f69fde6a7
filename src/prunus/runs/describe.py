"""From what a run returned to the plain data of `result.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunus._foundation.arguments import check_fields
from prunus._foundation.confidence import CONFIDENCE, unseen_loss
from prunus.errors import ConfigError
from prunus.planning.latency_target import wanted
from prunus.report import words
from prunus.report.metric import MetricWords, metric_words
from prunus.report.result import SCHEMA
from prunus.report.verdict import not_faster
from prunus.tasks.words import metric_text, record_of, reported_on

if TYPE_CHECKING:
    from prunus.measure.comparison import Measured
    from prunus.methods.common import Outcome
    from prunus.tasks import Task
    from prunus.training import History


@dataclass(frozen=True, eq=False)
class Provenance:
    """Where a result comes from.

    Attributes:
        model: name, class, input shape and whatever else identifies the model; a name is enough.
        score: what the channels were chosen by.
        seed: of everything random.
        command: what the user typed, if it was a command.
        task: the samples.
        training: a training that came before, if there was one.
        notes: further remarks.
        panels: further parts of the result that the report shows: such as "selection" and "soft".
    """

    model: Mapping[str, Any]
    score: str = ""
    seed: int = 0
    command: str = ""
    task: Task | None = None
    training: History | None = None
    notes: Sequence[str] = ()
    panels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


def describe(
    outcome: Outcome,
    about: Provenance,
    *,
    environment: Mapping[str, Any],
    latency: Sequence[Measured] = (),
) -> dict[str, Any]:
    """The result of a run, ready for JSON; keys are never left out because something was not measured.

    Args:
        outcome: of a method.
        about: where it comes from; the task's data are added to its model.
        environment: of `prunus._foundation.environment`.
        latency: of `prunus.measure.comparison`.
    """
    plan, target = outcome.plan, asdict(outcome.target)
    task, histories = about.task, [("training", about.training), ("fine-tuning", outcome.tuning)]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "command": about.command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": about.seed,
        "environment": dict(environment),
        "model": (
            {
                "name": type(outcome.model).__name__,
                "input_shape": [],
                "data": record_of(task) if task else None,
            }
            | dict(about.model)
        ),
        "target": {
            **target,
            "protect": list(outcome.target.protect),
            "text": target_text(outcome, metric_words(metric_text(task) if task else None)),
            "score": about.score,
        },
        "cost": {"before": asdict(outcome.before), "after": asdict(plan.after)},
        "layers": [_plain(asdict(layer)) for layer in outcome.graph.layers(plan)],
        "pinned": [_plain(asdict(entry)) for entry in outcome.graph.pinned],
        "notes": [*plan.notes, *outcome.notes, *about.notes],
        "verification": _plain(asdict(outcome.verification)),
        "accuracy": _accuracy(outcome, task),
        "search": _search(outcome, task),
        "timings": [asdict(timing) for timing in plan.timings],
        "training": [
            {
                "name": name,
                "config": _plain(asdict(history.config)),
                "epochs": [asdict(epoch) for epoch in history.epochs],
            }
            for name, history in histories
            if history is not None
        ],
        "latency": [_measured(asdict(row)) for row in latency],
        "seconds": {step: round(seconds, 3) for step, seconds in outcome.seconds.items()},
        "files": {},
    }
    slow = not_faster(result)
    return result | {"notes": [*result["notes"], slow]} if slow else result


def files(paths: Mapping[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> path inside the folder, and size [bytes]."""
    return {
        name: {"path": str(path.relative_to(folder)), "bytes": path.stat().st_size}
        for name, path in paths.items()
    }


def target_text(outcome: Outcome, metric: MetricWords) -> str:
    """What was asked for, to go after "pruned to"; a tolerance is one of the metric."""
    target, count = outcome.target, len(outcome.blocks)
    if count and target.kind != "strength":
        named = f"{count} residual block{'s' if count != 1 else ''}"
        if target.kind == "rate" and not float(target.value):
            return f"do without {named}"
        return f"{target_text(replace(outcome, blocks=()), metric)}, {named} left out before,"
    names = {"macs": "MACs", "params": "parameters", "bytes": "bytes"}
    if target.kind == "tolerance":
        return f"lose at most {metric.amount(target.points)} on held-out samples"
    if target.kind == "strength":
        named = f", without {count} residual block{'s' if count != 1 else ''}" if count else ""
        return f"what is left under a penalty of strength {float(target.value):g}{named}"
    if target.kind == "latency":
        asked = wanted(target.value)
        time = (
            f"{100 * asked.share:g} % of its time" if asked.share is not None else f"at most {asked.ms:g} ms"
        )
        return f"take {time} in {words.RUNTIMES.get(target.runtime, target.runtime)}"
    value = float(target.value)
    if target.kind == "rate":
        return f"lose {100 * value:g} % of its channels"
    amount = f"{100 * value:g} % of its" if value <= 1 else f"at most {value:,.0f}"
    return f"{amount} {names[target.kind]}"


def _accuracy(outcome: Outcome, task: Task | None) -> dict[str, Any] | None:
    if not outcome.steps or task is None:
        return None
    count, name = reported_on(task), task.metric_name
    kind = "samples" if task.kind("test") == "batches" else task.kind("test")
    spread = _spread(outcome.steps[-1].value / 100, count) if name == words.TOP_1 else ""
    return {
        "metric": metric_text(task),
        "count": count,
        "note": f"{count:,} test {kind}, by which nothing was chosen{spread}.",
        "steps": [asdict(step) for step in outcome.steps],
    }


def _spread(right: float, count: int) -> str:
    """How far the accuracy of other samples may be from that of so many, of which this share is right."""
    if 0 < right < 1:
        return f"; one standard error is {100 * (right * (1 - right) / count) ** 0.5:.1f} points"
    unseen = unseen_loss(count, 100.0, CONFIDENCE)  # none of them is otherwise
    other, sure = "wrong" if right else "right", 100 * CONFIDENCE
    return f"; of others up to {unseen:.1f} % may be {other}, with {sure:.0f} % confidence"


def _search(outcome: Outcome, task: Task | None) -> dict[str, Any] | None:
    if outcome.limit is None or task is None or task.validation is None:
        return None
    before, epochs = outcome.before.macs, outcome.trial_epochs
    tuned = f" after {epochs} epoch{'s' if epochs != 1 else ''} of tuning" if epochs else ""
    sure = outcome.limit.confidence
    bounds = (
        f" The lines below go down to what is not undercut with {100 * sure:g} % confidence."
        if sure > 0.5
        else ""
    )
    return {
        "tolerance": outcome.target.points,
        "baseline": outcome.limit.baseline,
        "limit": outcome.limit.lowest,
        "confidence": outcome.limit.confidence,
        "note": (
            f"Filled: accepted on {task.count('validation'):,} held-out {task.kind('validation')}{tuned}."
            f" Open: rejected.{bounds}"
        ),
        "trials": [
            {
                "rate": trial.rate,
                "left": trial.macs / before,
                "value": trial.metric,
                "lowest": trial.lowest,
                "accepted": trial.accepted,
            }
            for trial in outcome.trials
        ],
    }


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    """Samples to a tenth of a microsecond: a clock is not better than that."""
    for side in ("before", "after"):
        row[side]["samples_ms"] = [round(sample, 4) for sample in row[side]["samples_ms"]]
    return row


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, so that what is written is what is read."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}
