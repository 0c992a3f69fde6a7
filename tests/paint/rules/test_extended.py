"""Rules of other packages: taken up at the first trace, and never a crash."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.packages import Package, package
from torch import Tensor, nn

import prunus
from prunus.paint.rules import RULES, extended

__all__ = ["package"]


@torch.library.custom_op("prunus_extended::swish", mutates_args=())
def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


swish.register_fake(torch.empty_like)

SOURCE = """
import prunus

told = []

def swish():
    told.append("swish")
    prunus.paint_rule("prunus_extended::swish", like="pointwise")

def taken():
    prunus.paint_rule("prunus_extended::swish", like="pointwise")
    from prunus.paint.rules import RULES
    RULES["convolution"] = RULES["addmm"]

def fails():
    prunus.paint_rule("prunus_extended::swish", like="pointwise")
    raise RuntimeError("No such device")
"""


class Net(nn.Module):
    """A network with an operator of another package."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.ops.prunus_extended.swish(self.first(x)))


@pytest.fixture(autouse=True)
def _first_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(RULES)
    monkeypatch.setattr(extended, "_loaded", set())
    yield
    RULES.clear()
    RULES.update(before)


def channels() -> int:
    return prunus.trace(Net(), torch.zeros(1, 3, 8, 8)).num_channels


def test_a_rule_frees_channels_from_the_first_trace_on_and_is_loaded_once(package: Package) -> None:
    assert channels() == 0
    package("my-rules", SOURCE, rules="mine = my_rules:swish")
    assert [channels(), channels()] == [8, 8]
    import my_rules  # type: ignore[import-not-found]  # installed above

    assert my_rules.told == ["swish"]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("fails", r"'mine' of the package my-rules is left out: RuntimeError: No such device\.$"),
        ("nothing", r"of the package my-rules cannot be imported \(AttributeError.*\), and is left out\.$"),
        ("taken", r"of the package my-rules is left out: there is a rule for convolution already\.$"),
    ],
)
def test_a_broken_one_is_one_warning_and_is_left_out_whole(point: str, said: str, package: Package) -> None:
    package("my-rules", SOURCE, rules=f"mine = my_rules:{point}")
    before = dict(RULES)
    with pytest.warns(UserWarning, match=f"^The set of rules .*{said}") as caught:
        assert [channels(), channels()] == [0, 0]
    assert len(caught) == 1 and before == RULES


def test_the_warning_is_at_the_line_of_the_user(package: Package) -> None:
    package("my-rules", SOURCE, rules="mine = my_rules:fails")
    with pytest.warns(UserWarning) as caught:
        prunus.trace(Net(), torch.zeros(1, 3, 8, 8))
    assert caught[0].filename == __file__
