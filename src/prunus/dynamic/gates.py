"""Gates: small modules that look at what a layer gets and say, for every input anew, which of the channels
that it makes are needed.

* `KernelActivation`, learned kernel-activation modules: Theodorakopoulos et al. 2017 (arXiv 1701.05221),
  Fragoulis et al. 2019 (IISA).
* `Winners`, feature boosting and suppression: Gao et al. 2019 (arXiv 1810.05331).
* `Widths`, one of a few widths: Li et al. 2021, "Dynamic Slimmable Network" (arXiv 2103.13258).

All three begin with every channel open, so a gated network begins as the network that it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus.errors import ConfigError
from prunus.surgery.channel_scaling import straight_through

OPEN, SPREAD, LEAST = (
    2.0,
    3.0,
    0.1,
)  # logits at the start: of gates alike; from the weakest channel to the strongest, and of the weakest
WIDTHS = (0.25, 0.5, 0.75, 1.0)
Kind = Literal["activation", "winners", "widths"]


@dataclass(frozen=True)
class Form:
    """What the gates of a network are like.

    Attributes:
        kind: "activation" (`KernelActivation`), "winners" (`Winners`) or "widths" (`Widths`).
        hidden: maps of the first layer of two-layer gates; 0 = gates of one layer.
        block: neighbouring channels that share a switch, for "activation".
        widths: for "widths"; the channels of the largest filters (l2 norm) come first.
    """

    kind: Kind = "activation"
    hidden: int = 0
    block: int = 1
    widths: tuple[float, ...] = WIDTHS


class Opening(NamedTuple):
    """What a gate says about a batch.

    Attributes:
        open: 1 for the channels that are computed, 0 for the others, shape (batch, channels); between the two
            where a gate is soft.
        boost: what their normalised outputs are multiplied with besides, (batch, channels); None = 1.
    """

    open: Tensor
    boost: Tensor | None = None


class Gate(nn.Module):
    """What the kinds of gates have in common: the logits, from what the gated layer gets.

    One layer: mean over all places, brought to mean 0 and variance 1 over the channels of every input (our
        choice: so that gates tell inputs apart
    from the first step on), then a linear layer. Two layers: a 1 x 1 convolution to `hidden` maps and a
    rectifier before that.

    Args:
        inputs: channels that the gated layer gets.
        outputs: logits.
        hidden: maps of the first of two layers; 0 = one layer.

    Attributes:
        channels: that it opens and closes.
        zeros: inputs that were always zero and are gone, but count in mean and variance; the last column of
            weights is the sum of theirs.
    """

    channels: int
    zeros: int = 0

    @checked()
    def __init__(self, inputs: int, outputs: int, hidden: int = 0) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden) if hidden else None
        self.last = nn.Linear(hidden or inputs, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, OPEN)

    def logits(self, x: Tensor) -> Tensor:
        """Inputs (batch, channels, *places) to logits (batch, outputs)."""
        if self.first is not None:
            x = F.relu(self.first(x.movedim(1, -1))).movedim(-1, 1)
        means = x.flatten(2).mean(2) if x.dim() > 2 else x
        count = means.shape[1]
        if count + self.zeros > 1:
            whole = F.pad(means, (0, self.zeros)) if self.zeros else means
            means = F.layer_norm(whole, whole.shape[1:])[:, : self.last.in_features]
        logits: Tensor = self.last(means)
        return logits

    def look_past(self, zeros: int) -> None:
        """Get so many inputs less than before, all of them zero; the weights are left to the caller."""
        if zeros and not self.zeros:
            self.last = nn.Linear(self.last.in_features + 1, self.last.out_features).to(self.last.weight)
        self.zeros = zeros

    def macs(self, places: int) -> int:
        """Multiply-accumulates for one input of so many places."""
        hidden = self.first.weight.numel() * places if self.first is not None else 0
        return hidden + self.last.weight.numel()

    def forward(self, x: Tensor) -> Opening:
        """What is open for each input."""
        raise NotImplementedError

    def tighten(self, strictness: float) -> None:
        """Open fewer channels in evaluation, the larger the number; 0 is as trained."""
        raise NotImplementedError


class KernelActivation(Gate):
    """A switch per channel, or per block of neighbouring channels: open where sigmoid(slope * logit) is at
    least the threshold.

    In training a soft gate multiplies by that sigmoid, a hard one by 0 or 1 with the sigmoid's gradient
    (straight through). In evaluation gates are hard, and of channels that are all below the threshold the
    highest stays open.

    Args:
        inputs, hidden: see `Gate`.
        channels: that are switched.
        block: neighbouring channels that share a switch.
        order: the channels, the most important first; the others' switches begin nearer to closing. None =
            all alike, and then they close together.

    Attributes:
        slope, hard: of the gate in training; see `prunus.dynamic.anneal`.
        threshold: the logit at which a channel opens in evaluation; 0 is a sigmoid of one half.
    """

    @checked()
    def __init__(
        self, inputs: int, channels: int, hidden: int = 0, block: int = 1, order: Tensor | None = None
    ) -> None:
        super().__init__(inputs, ceil(channels / block), hidden)
        self.channels, self.block = channels, block
        if order is not None:
            parts = torch.split(order.argsort(), block)  # places in the order
            weakest_first = torch.stack([part.double().mean() for part in parts]).argsort(
                descending=True, stable=True
            )
            with torch.no_grad():
                self.last.bias[weakest_first] = torch.linspace(LEAST, LEAST + SPREAD, len(parts))
        self.slope, self.hard, self.threshold = 1.0, True, 0.0

    def forward(self, x: Tensor) -> Opening:
        """See the class."""
        logits = self.logits(x)
        if self.training:
            soft = torch.sigmoid(self.slope * logits)
            switches = straight_through((logits >= 0).to(soft.dtype), soft) if self.hard else soft
        else:
            switches = self.switches(logits).to(logits.dtype)
        return Opening(switches.repeat_interleave(self.block, 1)[:, : self.channels])

    def tighten(self, strictness: float) -> None:
        """`strictness` is the threshold."""
        self.threshold = strictness

    def switches(self, logits: Tensor) -> Tensor:
        """Which are on in evaluation, bool, from logits (batch, switches)."""
        return (logits >= self.threshold) | (logits >= logits.amax(1, keepdim=True))


class Winners(Gate):
    """The `density` of the channels with the largest saliency relu(logit) is open, and its normalised output
    is boosted by that saliency.

    Args:
        inputs, channels, hidden: see `KernelActivation`.

    Attributes:
        density: fraction of the channels that is open, above 0 and at most 1; ceil(density * channels) of
            them.
    """

    @checked()
    def __init__(self, inputs: int, channels: int, hidden: int = 0) -> None:
        super().__init__(inputs, channels, hidden)
        nn.init.ones_(self.last.bias)
        self.channels, self.density = channels, 1.0

    def forward(self, x: Tensor) -> Opening:
        """See the class."""
        saliency = F.relu(self.logits(x))
        if self.density == 1:
            return Opening(torch.ones_like(saliency), saliency)
        count = max(1, ceil(self.density * self.channels - 1e-9))
        winners = torch.zeros_like(saliency).scatter_(1, saliency.topk(count, 1).indices, 1.0)
        return Opening(winners, saliency)

    def tighten(self, strictness: float) -> None:
        """`strictness` is the fraction of the channels that is closed."""
        self.density = 1 - strictness


class Widths(Gate):
    """One of a few widths: the first channels of an order are open, and one logit per width says how many.

    Args:
        inputs, channels, hidden: see `KernelActivation`.
        widths: fractions of the channels, rising, the last of them 1.
        order: the channels, the most important first.

    Attributes:
        bias: added to every logit but that of the largest width, in evaluation; more of it costs accuracy and
            saves time.
    """

    opens: Tensor

    @checked()
    def __init__(
        self, inputs: int, channels: int, widths: Sequence[float], order: Tensor, hidden: int = 0
    ) -> None:
        if not widths or list(widths) != sorted(set(widths)) or widths[0] <= 0 or widths[-1] != 1:
            raise ConfigError(
                f"Widths are fractions of the channels above 0, rising up to 1, not {tuple(widths)}."
            )
        super().__init__(inputs, len(widths), hidden)
        with torch.no_grad():
            self.last.bias[:-1] = 0.0
        opens = torch.zeros(len(widths), channels)
        for row, width in zip(opens, widths):
            row[order[: max(1, ceil(width * channels - 1e-9))]] = 1
        self.register_buffer("opens", opens)
        self.channels, self.bias = channels, 0.0

    def forward(self, x: Tensor) -> Opening:
        """See the class."""
        logits = self.logits(x)
        if not self.training and self.bias:
            logits = torch.cat([logits[:, :-1] + self.bias, logits[:, -1:]], 1)
        chosen = F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
        weights = straight_through(chosen, logits.softmax(1)) if self.training else chosen
        return Opening(weights @ self.opens.to(logits.dtype))

    def tighten(self, strictness: float) -> None:
        """`strictness` is the bias."""
        self.bias = strictness
