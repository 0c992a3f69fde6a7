"""Numbers of a metric as people read them: in percent, or in the unit of a user's own function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunus._foundation.wording import PERCENT
from prunus.report.words import MANY, SPACE, TOP_1, number, points, title


@dataclass(frozen=True)
class MetricWords:
    """A metric in words.

    Attributes:
        name: what it is called in a sentence.
        percent: its numbers are percents, and differences of them points.
    """

    name: str
    percent: bool

    @property
    def title(self) -> str:
        """The name at the beginning of a line."""
        return title(self.name)

    @property
    def unit(self) -> str:
        """What follows the name over an axis: ", %", or nothing."""
        return ", %" if self.percent else ""

    def text(self, value: float) -> str:
        """A number: 71.2 %, or with the digits that say something: −0.00123."""
        return f"{self.figure(value)}{SPACE}%" if self.percent else self.figure(value)

    def figure(self, value: float, decimals: int = 1) -> str:
        """The same without a unit."""
        return f"{value:.{decimals}f}" if self.percent and abs(value) < MANY else number(value)

    def change(self, before: float, after: float) -> str:
        """From one number to another: +0.3 points, or in its own unit +0.00123; ±0 for nothing."""
        if self.percent:
            return f"{points(after - before)} points"
        if number(before) == number(after):
            return "±0"
        return f"{'+' if after > before else ''}{number(after - before)}"

    def verdict(self, before: float, after: float) -> str:
        """The same as a part of a sentence: accuracy unchanged, squared error −0.03."""
        change = self.change(before, after)
        return f"{self.name} {'unchanged' if change.startswith('±') else change}"

    def amount(self, difference: float) -> str:
        """How much of it: 0.5 points of accuracy, 0.01 of squared error."""
        unit = f" point{'s' if difference != 1 else ''}" if self.percent else ""
        return f"{difference:g}{unit} of {self.name}"


def metric_words(recorded: str | None) -> MetricWords:
    """Of the name that a result has for its metric; accuracy, where it has none."""
    name = (recorded or TOP_1).removesuffix(PERCENT)
    return MetricWords("accuracy" if name == TOP_1 else name, name in (TOP_1, "accuracy") or name != recorded)


def metric_of(result: Mapping[str, Any]) -> MetricWords:
    """The metric of a result of pruning."""
    return metric_words((result.get("accuracy") or {}).get("metric"))
