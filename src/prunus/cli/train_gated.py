"""`prunus train --method dynamic`: gates that decide, input by input, which channels are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prunus.cli import kept
from prunus.cli import recipe_parts as parts
from prunus.cli.train_methods import CHECKPOINT, KEPT, METRICS, Job, line
from prunus.errors import PlanError, clause

if TYPE_CHECKING:
    from prunus.cli.opening import Opened
    from prunus.data import ImageData
    from prunus.dynamic import DynamicNetwork
    from prunus.training.distributed import Ranks


def train_gated_network(
    job: Job, opened: Opened, images: ImageData, record: dict[str, Any], command: str, onnx: bool, report: bool, ranks: Ranks
) -> dict[str, Any]:
    """Gate the network, train it, and write the folder; where several processes train together, the first one writes."""
    from prunus.dynamic import attach
    from prunus.methods.gating import settle_trained, train_gated
    from prunus.report.gated import deliver_gated
    from prunus.report.result import write_text
    from prunus.training import evaluate

    recipe, samples = job.recipe, job.samples
    before = None if opened.random else evaluate(job.model, samples.samples("test"), samples.normalisation).accuracy
    network = attach(
        job.model, job.example[:1], recipe.gated or "auto", recipe.gates,
        hidden=recipe.gate_hidden, block=recipe.gate_block, widths=recipe.widths,
    )  # fmt: skip
    history = train_gated(
        network,
        samples,
        job.config,
        recipe.budget,
        curriculum=parts.curriculum(recipe, samples, job.folder / KEPT),
        checkpoint=job.folder / CHECKPOINT,
        resume=job.resume,
        on_epoch=lambda record: job.note(record, ""),
        watch=job.watch,
    )
    if not ranks.first:
        return {}
    write_text("".join(map(line, history.epochs)), job.folder / METRICS)
    first, notes = network.cpu().eval(), list[str]()
    network = first
    if recipe.settle:
        job.watch("removing what never opens", 0, 0)
        try:
            network = settle_trained(first, samples, job.example[:1].cpu())
            notes = _settled(first, network)
        except PlanError as error:  # the training is not to be lost
            notes = [f"Nothing was settled: {clause(error)}."]
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
        notes=notes,
        before=before,
        panels={"selection": kept.panel(job.folder / KEPT, history, samples.samples("train"), images.classes)},
        gallery=lambda split, macs: kept.extremes(split, images.classes, macs),
        with_onnx=onnx,
        with_report=report,
        watch=job.watch,
    )


def _settled(first: DynamicNetwork, network: DynamicNetwork) -> list[str]:
    """What `--settle` did."""
    if network is first:
        return ["Nothing was settled: every gate closes channels for some held-out samples and opens all of them for others, or none would be left."]
    fewer = first.graph.num_channels - network.graph.num_channels
    gone = [name for name in first.gates if name not in network.gates]
    words = [f"{fewer} channels that no held-out sample opened are gone for good"] if fewer else []
    words += [f"no gate is left at {', '.join(gone)}, where none ever closed a channel that is left"] if gone else []
    return [f"{'; '.join(words)}."]
