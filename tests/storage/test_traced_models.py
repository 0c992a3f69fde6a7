"""What is written of traced models: nothing that could not be read, names of any kind, and operators that
check what they are given.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.paint.nets import Halves
from tests.storage.nets import IMAGE, compacted
from torch import Tensor, nn

import prunus
from prunus.errors import FileFormatError
from prunus.surgery.traced.code import as_written, attention, lstm
from prunus.surgery.traced.module import TracedModule

Node = list[Any]


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    """The same list at both ends: a file that is there can be read."""
    small = compacted(Halves)
    assert isinstance(small, TracedModule)
    node = next(node for node in small.graph.nodes if node.op == "call_function")
    with small.graph.inserting_before(node):
        small.graph.call_function(torch.ops.aten.nonzero.default, (node.args[0],))
    with pytest.raises(FileFormatError, match="nonzero"):
        prunus.save(small, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_type_than_its_plan_is_saved(tmp_path: Path) -> None:
    small = compacted(Halves).to(torch.float32)
    prunus.save(small, tmp_path / "m")
    assert torch.equal(prunus.load(tmp_path / "m")(IMAGE.float()), small(IMAGE.float()))


# -- operators that trust their arguments --------------------------------------------------------------------


def test_attention_checks_what_its_kernel_does_not() -> None:
    query = torch.randn(1, 2, 4, 8)
    assert torch.equal(
        attention(query, query, query), nn.functional.scaled_dot_product_attention(query, query, query)
    )
    with pytest.raises(ValueError, match="as many values as keys"):
        attention(query, query, torch.randn(1, 2, 5, 8))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_checks_what_its_kernel_does_not(layers: int, both: bool) -> None:
    net = nn.LSTM(3, 5, layers, bidirectional=both, batch_first=True)
    x, states = torch.randn(4, 7, 3), [torch.zeros(layers * (1 + both), 4, 5)] * 2
    weights = [weight for group in net.all_weights for weight in group]
    rest: tuple[Any, ...] = (True, layers, 0.0, False, both, True)
    assert torch.equal(lstm(x, states, weights, *rest)[0], net(x)[0])
    for bad in (
        (x, [state[:, :1] for state in states], weights),
        (x, states, [weights[0], *weights[1:-1], weights[-1][:2]]),
        (x, states, weights[:-1]),
    ):
        with pytest.raises(ValueError, match="fit together"):
            lstm(*bad, *rest)


# -- names ---------------------------------------------------------------------------------------------------


class Part(nn.Module):
    """A child of any name; the literal of the reshape needs the traced fallback."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Conv2d(16, 16, 3, padding=1))
        self.out = nn.Linear(16 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(getattr(self, self.name)(x).relu().view(x.shape[0], 16 * 64))


@pytest.mark.parametrize(
    "name", ["self", "0", "été", "a b", "conv-1", "ﬁ", "graph", "class", "q'\"", "None", "forward_"]
)
def test_children_of_any_name_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """Networks with names that torch.export itself cannot write stay as they are, and that is said."""
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), Part(name)).double().eval()
    graph = prunus.trace(model, IMAGE)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    assert not said or (
        name in ("class", "q'\"", "None") and "16 of 16 channels stay" in str(said[0].message)
    )
    prunus.save(small, tmp_path / "m")
    assert torch.allclose(prunus.load(tmp_path / "m", lambda: model)(IMAGE), small(IMAGE))
    if name in ("self", "0", "été", "graph"):
        assert small.prunus.mode == "traced" and small.prunus.plan.removed == 16


@pytest.mark.parametrize("name", ["class", "ﬁ", 'x"', "x\\", "a\nb", "💐", "None", "x", "été"])
def test_names_are_written_so_that_python_reads_them_back(name: str) -> None:
    written = as_written(name)
    assert eval(f'"{written}"') == name
    assert written == name or not written.isidentifier()
