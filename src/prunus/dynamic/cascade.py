"""Cascades: a small network answers what it is sure of, and only the rest is asked of larger ones.

Big/little networks: Park et al. 2015, "Big/Little Deep Neural Network for Ultra Low Power Inference"
(CODES+ISSS); how sure a network is, is the margin of its two highest scores. Our choice: any number of
stages, made by pruning one network; the margin of probabilities; and a threshold that is found from held-out
samples, for a budget or within a tolerance. Every stage is a plain dense network, so all of the work that is
skipped is time saved, on any runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus._foundation.confidence import CONFIDENCE, judged
from prunus._foundation.finite import named_class
from prunus.errors import ConfigError, PrunusError, TargetError
from prunus.paint import trace
from prunus.plans.verify import evaluating

NEVER_SURE = 2.0  # above every margin: all inputs reach the last stage
_STEPS = 1000  # thresholds that are tried


class Cascade(nn.Module):
    """Classifiers from the cheapest to the dearest; an input goes on to the next until one is sure of it. For
    inference: it stays in eval mode.

    It begins with no stage ever sure, so it computes what the last one computes.

    Args:
        stages: images (batch, ...) to logits (batch, classes); kept as they are, not copied.
        example_inputs: what they are called with, for their MACs.

    Attributes:
        threshold: the margin, highest probability less the second, from which a stage is sure.
        known: what the stages say about held-out samples, set by `ask`; None before.
        macs: of every stage for one input.

    Raises:
        ConfigError: fewer than two stages, or a later one that is not dearer.
    """

    known: Answers | None

    @checked(ConfigError)
    def __init__(self, stages: Sequence[nn.Module], example_inputs: Tensor) -> None:
        super().__init__()
        self.macs = tuple(trace(stage, example_inputs).cost().macs // len(example_inputs) for stage in stages)
        if len(stages) < 2 or any(a >= b for a, b in zip(self.macs, self.macs[1:])):
            raise ConfigError(
                "A cascade has two stages or more, each dearer than the one before; these have"
                f" {', '.join(map(str, self.macs))} MACs."
            )
        self.stages = nn.ModuleList(stages)
        self.threshold, self.known = NEVER_SURE, None
        self.eval()

    def train(self, mode: bool = True) -> Cascade:
        """Stays in eval mode: stages are trained one by one, as networks of their own."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes), each input's from the first stage that is sure of it; inputs that go on do
        so together.
        """
        logits: Tensor = self.stages[0](x)
        waiting = torch.arange(len(x), device=x.device)
        last = logits
        for stage in list(self.stages)[1:]:
            unsure = margin(last) < self.threshold
            if not bool(unsure.any()):
                break
            waiting = waiting[unsure]
            last = stage(x if len(waiting) == len(x) else x[waiting])
            logits = last if len(waiting) == len(x) else logits.index_put((waiting,), last)
        return logits

    def ask(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Answers:
        """Run every stage on labelled held-out batches, (images, labels), which were not trained on; what
        they say is kept, for `budget`.

        Raises PrunusError if there are none.
        """
        sure, right = [], []
        with evaluating(self):
            for images, labels in pairs:
                logits = [stage(images) for stage in self.stages]
                sure.append(torch.stack([margin(one) for one in logits], 1).cpu())
                right.append(torch.stack([named_class(one) == labels for one in logits], 1).cpu())
        if not sure:
            raise PrunusError("There is no batch to ask the stages about; at least one is needed.")
        self.known = Answers(torch.cat(sure), torch.cat(right), self.macs)
        return self.known

    @property
    def budget(self) -> float:
        """MACs relative to the last stage's, on average over the samples that were asked about; setting it
        sets the threshold, without retraining.

        Raises ConfigError before `ask`, and TargetError for less than the first stage costs.
        """
        return float(self._known().cost(self.threshold).mean())

    @budget.setter
    def budget(self, share: float) -> None:
        self.threshold = self._known().at(share)

    def _known(self) -> Answers:
        if self.known is None:
            raise ConfigError(
                "What a threshold costs is known from held-out samples; call ask(batches of images and"
                " labels) first."
            )
        return self.known


def margin(logits: Tensor) -> Tensor:
    """The highest probability less the second, 0 to 1, shape (batch,); raises ConfigError for anything but
    (batch, two classes or more).
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ConfigError(
            "The stages of a cascade give logits (batch, classes) of two classes or more, not"
            f" {tuple(logits.shape)}."
        )
    highest = logits.softmax(1).topk(2, 1).values
    return highest[:, 0] - highest[:, 1]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the stages of a cascade say about samples; with it, any threshold is judged without running them
    again.

    Attributes:
        sure: margins, (samples, stages).
        right: whether the answers are right, bool, likewise.
        macs: of every stage.
    """

    sure: Tensor
    right: Tensor
    macs: tuple[int, ...]

    def stage(self, threshold: float) -> Tensor:
        """The stage that answers each sample, int64 (samples,)."""
        sure = self.sure >= threshold
        sure[:, -1] = True
        return sure.int().argmax(1)

    def points(self, threshold: float) -> Tensor:
        """100 for a right answer and 0 for a wrong one, (samples,); the mean is the accuracy in percent."""
        return 100.0 * self.right.gather(1, self.stage(threshold)[:, None])[:, 0].double()

    def cost(self, threshold: float) -> Tensor:
        """MACs of each sample relative to those of the last stage alone, (samples,); above 1 where all stages
        were asked.
        """
        running = torch.tensor(list(accumulate(self.macs)), dtype=torch.float64) / self.macs[-1]
        return running[self.stage(threshold)]

    def answered(self, threshold: float) -> list[float]:
        """The share of the samples that each stage answers."""
        stage = self.stage(threshold)
        return [float((stage == number).double().mean()) for number in range(len(self.macs))]

    def alone(self) -> list[float]:
        """The accuracy of each stage on all samples [percent]."""
        return [float(100 * right.double().mean()) for right in self.right.unbind(1)]

    def at(self, budget: float) -> float:
        """The highest threshold with at most this share of the last stage's MACs, on average over the
        samples.

        Raises TargetError if the first stage alone costs more.
        """
        low, high = 0, _STEPS + 1
        if float(self.cost(0.0).mean()) > budget:
            least = self.macs[0] / self.macs[-1]
            raise TargetError(
                f"A budget of {budget:g} cannot be kept: the first stage alone has {least:.3f} of the last"
                " one's MACs."
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if float(self.cost(middle / _STEPS).mean()) <= budget else (low, middle)
            )
        return low / _STEPS

    def within(self, tolerance: float, confidence: float = CONFIDENCE) -> float:
        """The lowest threshold that loses at most so many points against the last stage, on samples like
        these.

        Thresholds are tried from the highest down until the first that may lose more, which keeps the
        confidence however many are tried (a fixed sequence of tests). `NEVER_SURE` if none is within the
        tolerance.
        """
        if tolerance < 0:
            raise TargetError(
                f"tolerance is the number of points that may be lost, 0 or more, not {tolerance}."
            )
        whole, found = self.points(NEVER_SURE), NEVER_SURE
        for step in range(_STEPS, -1, -1):
            _, lowest = judged(whole, self.points(step / _STEPS), confidence)
            if float(whole.mean()) - lowest > tolerance:
                break
            found = step / _STEPS
        return found
