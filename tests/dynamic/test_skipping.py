"""What computes live channels only against what computes all of them and masks."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import prunus.dynamic.patterns as split_by
from prunus.dynamic import DynamicNetwork, Widths, Winners, attach, skipping
from prunus.errors import CompactError
from tests.dynamic.nets import NETWORKS, network

CASES = [(name, "auto") for name in NETWORKS] + [("projected", ["layer?.*"]), ("separable", ["*"])]


def lively(dynamic: DynamicNetwork, seed: int = 7) -> DynamicNetwork:
    """Gates that say something else for every input."""
    generator = torch.Generator().manual_seed(seed)
    for gate in dynamic.gates.values():
        weight = gate.last.weight
        weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        gate.last.bias.data.zero_()
        if isinstance(gate, Widths):
            gate.last.bias.data.normal_(0, 0.3, generator=generator)
        if isinstance(gate, Winners):
            weight.data *= 0.01
            gate.last.bias.data.fill_(1.0)
            gate.density = 0.4
    return dynamic.eval()


@pytest.mark.parametrize("kind", ["activation", "winners", "widths"])
@pytest.mark.parametrize(("name", "layers"), CASES)
@torch.no_grad()
def test_live_channels_are_enough(name: str, layers: list[str], kind: str) -> None:
    model, x = network(name, batch=4)
    dynamic = lively(attach(model, x, layers, kind))  # type: ignore[arg-type]
    fast = skipping(dynamic, x)
    wanted = dynamic(x)
    scale = float(wanted.abs().max())
    assert torch.allclose(fast(x), wanted, rtol=0, atol=1e-9 * scale)
    opens = [opening.open for opening in dynamic.openings(x).values()]
    assert not all(bool(open_.all()) for open_ in opens)
    # inputs differ in what they need
    assert kind == "widths" or any(bool((open_ != open_[:1]).any()) for open_ in opens)
    for i in range(4):
        assert torch.allclose(fast(x[i : i + 1]), wanted[i : i + 1], rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("kind", ["activation", "winners", "widths"])
@pytest.mark.parametrize(("name", "layers"), CASES)
@torch.no_grad()
def test_batches_are_split_by_what_inputs_need(
    name: str, layers: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = network(name, batch=6)
    x[3] = x[1]  # two that need the same
    dynamic = lively(attach(model, x[:1], layers, kind))  # type: ignore[arg-type]
    fast, wanted = skipping(dynamic, x[:1]), dynamic(x)
    macs = {}
    for copying in (0, 10**9):  # always apart where anything differs, and always together
        monkeypatch.setattr(split_by, "COPYING", copying)
        with FlopCounterMode(display=False) as counted:
            found = fast(x)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))
        macs[copying] = counted.get_total_flops() / 2
    assert macs[0] < macs[10**9]
    expected = float(dynamic.macs(dynamic.openings(x)).sum())
    # what each needs, and no more; depthwise layers run once for all
    assert macs[0] <= 1.02 * expected or name == "separable"


def test_patterns_are_worth_it_only_where_work_is_saved() -> None:
    flags = torch.eye(4, dtype=torch.bool).repeat_interleave(2, 0)  # eight inputs, four patterns
    found = split_by.patterns(flags, None, 4, 16, places=1000.0)
    assert found is not None and [one.numbers.tolist() for one in found] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert all(
        torch.equal(one.rows, flags[one.numbers[0]]) and one.columns is None
        for one in found
        if one.rows is not None
    )
    assert split_by.patterns(flags[:1].expand(8, 4), None, 4, 16, places=1000.0) is None  # all alike
    # copying rows is all the work
    assert split_by.patterns(torch.rand(8, 64) > 0.1, None, 64, 64, places=1.0) is None


class Rearranged(nn.Module):
    """Parts of a map become inputs of their own, or its places become tokens."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens
        self.stem, self.a = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.b: nn.Module = nn.Linear(12, 5) if tokens else nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x).relu()).relu()
        if self.tokens:
            return self.b(x.flatten(2).transpose(1, 2)).mean(1)
        halves = torch.stack([x[:, :, :6], x[:, :, 6:]], 1).flatten(0, 1)
        return self.b(halves).mean((2, 3))


@pytest.mark.parametrize("tokens", [False, True])
@torch.no_grad()
def test_what_was_rearranged_since_the_gates_spoke_is_not_split(
    tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_by, "COPYING", 0)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 12, 12, dtype=torch.float64)
    dynamic = lively(attach(Rearranged(tokens).double().eval(), x[:1], ["a"], "widths"))
    fast, wanted = skipping(dynamic, x[:1]), dynamic(x)
    assert torch.allclose(fast(x), wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))


@torch.no_grad()
def test_closed_channels_are_not_computed() -> None:
    model, x = network("vgg", batch=1)
    dynamic = lively(attach(model, x))
    seen: list[int] = []
    fast = skipping(dynamic, x)
    for module in fast.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, inputs, output: seen.append(output.shape[1]))
    fast(x)
    live = [int(opening.open.sum()) for opening in dynamic.openings(x).values()]
    assert set(live) <= set(seen) and sum(live) < 0.7 * sum(
        opening.open.shape[1] for opening in dynamic.openings(x).values()
    )


@torch.no_grad()
def test_threads_and_copies() -> None:
    model, x = network("resnet14", batch=12)
    fast = skipping(lively(attach(model, x[:1])), x[:1])
    wanted = [fast(x[i : i + 1]) for i in range(12)]
    found: dict[int, Tensor] = {}

    def work(start: int, form: nn.Module) -> None:
        for i in range(start, 12, 4):
            found[i] = form(x[i : i + 1])

    threads = [
        threading.Thread(target=work, args=(start, fast if start % 2 else copy.deepcopy(fast)))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(found[i], wanted[i], atol=1e-12) for i in range(12))


@torch.no_grad()
def test_padded_shortcuts_keep_their_streams() -> None:
    """The shortcut of option A pads by a number of channels that is written in its forward."""
    model, x = network("resnet14")
    with pytest.raises(CompactError, match="CifarResNet does not run with live channels only"):
        skipping(lively(attach(model, x, ["layer?.*"])), x)


class Fixed(nn.Module):
    """Its forward knows how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.head = (
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 8, 3),
            nn.Conv2d(8, 8, 3),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x).relu()).relu()
        return self.head(self.b(x.view(len(x), 8, *x.shape[2:])).relu().mean((2, 3)))


def test_what_cannot_be_skipped_is_said() -> None:
    x = torch.zeros(1, 3, 12, 12)
    dynamic = attach(Fixed(), x, ["a"])
    next(iter(dynamic.gates.values())).last.bias.data[:4] = -2
    with pytest.raises(CompactError, match="Fixed does not run with live channels only"):
        skipping(dynamic, x)
