"""A training with gates that decide, input by input, which channels are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from prunus._foundation.run_files import KEPT
from prunus.runs import sample_gallery as kept
from prunus.runs.by_method import Job, by_method
from prunus.runs.describe import Provenance
from prunus.runs.gated import Gated, deliver_gated
from prunus.tasks.words import record_of

if TYPE_CHECKING:
    from prunus.data import ImageData
    from prunus.dynamic import DynamicNetwork
    from prunus.runs.loading import Opened


def train_gated_network(job: Job, opened: Opened, images: ImageData) -> dict[str, Any]:
    """Gate the network, train it, and write the folder; where several processes train together, the first one
    writes.
    """
    run, samples = job.run, job.samples
    outcome = by_method(job).outcome
    assert outcome is not None and outcome.training is not None
    if not run.ranks.first:
        return {}
    history, network = outcome.training, cast("DynamicNetwork", outcome.model)
    run.settle(history.epochs)
    first = cast("DynamicNetwork", outcome.found["first"]).cpu().eval()
    network = first if network is outcome.found["first"] else network.cpu().eval()
    gated = Gated(
        network,
        images.classes,
        first,
        before=None if opened.random or not outcome.steps else outcome.steps[0].value,
        gallery=lambda split, macs: kept.extremes(split, images.classes, macs),
    )
    shown = kept.panel(run.folder / KEPT, history, samples.samples("train"), images.classes)
    about = Provenance(
        opened.record(run.folder) | {"data": record_of(samples)},
        seed=run.recipe.seed,
        command=run.command,
        training=history,
        notes=outcome.notes,
        panels={"selection": shown},
    )
    return deliver_gated(run.folder, gated, samples, about, run.delivery, run.watch)
