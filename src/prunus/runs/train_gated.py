"""`prunus train --method dynamic`: gates that decide, input by input, which channels are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from prunus.runs import sample_gallery as kept
from prunus.runs.by_method import KEPT, METRICS, Job, by_method, line

if TYPE_CHECKING:
    from prunus.data import ImageData
    from prunus.dynamic import DynamicNetwork
    from prunus.runs.loading import Opened
    from prunus.training.distributed import Ranks


def train_gated_network(
    job: Job,
    opened: Opened,
    images: ImageData,
    record: dict[str, Any],
    command: str,
    onnx: bool,
    report: bool,
    ranks: Ranks,
) -> dict[str, Any]:
    """Gate the network, train it, and write the folder; where several processes train together, the first one
    writes.
    """
    from prunus.report.result import write_text
    from prunus.runs.gated import deliver_gated

    recipe, samples = job.recipe, job.samples
    outcome = by_method(job).outcome
    assert outcome is not None and outcome.training is not None
    if not ranks.first:
        return {}
    history, network = outcome.training, cast("DynamicNetwork", outcome.model)
    write_text("".join(map(line, history.epochs)), job.folder / METRICS)
    first = cast("DynamicNetwork", outcome.found["first"]).cpu().eval()
    network = first if network is outcome.found["first"] else network.cpu().eval()
    before = None if opened.random or not outcome.steps else outcome.steps[0].value
    return deliver_gated(
        job.folder,
        network,
        samples,
        images.classes,
        history,
        command=command,
        model=record,
        seed=recipe.seed,
        first=first,
        notes=outcome.notes,
        before=before,
        panels={
            "selection": kept.panel(job.folder / KEPT, history, samples.samples("train"), images.classes)
        },
        gallery=lambda split, macs: kept.extremes(split, images.classes, macs),
        with_onnx=onnx,
        with_report=report,
        watch=job.watch,
    )
