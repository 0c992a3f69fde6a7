"""What models are called with and what they return."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from tests.paint.nets import Net
from torch import Tensor, nn

from prunus.errors import ArgumentError, CompactError
from prunus.paint.inputs import as_arguments, called, first_line, map_tensors, tensors_in, to_meta, two_of
from prunus.paint.trace import trace

ONE, TWO = torch.arange(3.0), torch.zeros(2, 4)


class Pair(NamedTuple):
    first: Tensor
    second: Any


@dataclasses.dataclass
class Output:
    logits: Tensor
    rest: Any = None


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        (ONE, (ONE,), {}),
        ((ONE, TWO), (ONE, TWO), {}),
        ([ONE, 3], (ONE, 3), {}),
        ({"x": ONE, "flag": True}, (), {"x": ONE, "flag": True}),
        ((), (), {}),
    ],
)
def test_inputs_become_arguments(given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    found = as_arguments(given)
    assert len(found[0]) == len(args) and found[1].keys() == kwargs.keys()
    assert all(a is b for a, b in zip(found[0], args)) and all(found[1][k] is kwargs[k] for k in kwargs)


@pytest.mark.parametrize("given", [(1, 3, 8, 8), [1, 3]])
def test_a_shape_is_no_input(given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"are a shape, .*give a tensor, such as torch\.zeros\("):
        as_arguments(given)


@pytest.mark.parametrize("given", [None, 3, "x", torch.float32])
def test_what_no_model_is_called_with_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="must be a tensor, a tuple of arguments or a dict"):
        as_arguments(given)


@pytest.mark.parametrize(
    "given", [torch.zeros(0, 3), (torch.zeros(0, 3), torch.zeros(0)), {"x": torch.zeros(0)}]
)
def test_inputs_without_samples_are_refused(given: Any) -> None:
    """A trace of nothing paints what is not there: a network cut by it did not run."""
    with pytest.raises(
        ArgumentError, match=r"The inputs hold no samples: their shape is \(0.*give one at least"
    ):
        as_arguments(given)
    as_arguments((torch.zeros(1, 3), torch.zeros(0, 3)))  # nothing in one of several, such as an empty cache


def test_tensors_made_in_inference_mode_are_copied() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
    (copied,), _ = as_arguments((x,))
    assert not copied.is_inference() and torch.equal(copied, torch.ones(2)) and x.is_inference()


def test_tensors_are_found_in_any_nest_and_in_order() -> None:
    nest = {
        "a": [ONE, (TWO, 3)],
        "b": Output(ONE, {"c": TWO}),
        "d": SimpleNamespace(e=ONE),
        "f": Pair(TWO, 1),
    }
    assert [id(t) for t in tensors_in(nest)] == [id(t) for t in (ONE, TWO, ONE, TWO, ONE, TWO)]
    assert list(tensors_in([nn.Linear(2, 2), Output, None, "text"])) == []


def test_tensors_are_replaced_and_containers_kept() -> None:
    nest = {"a": [ONE, (TWO, 3)], "b": Pair(ONE, "text")}
    found = map_tensors(nest, lambda t: t + 1)
    assert torch.equal(found["a"][0], ONE + 1) and found["a"][1][1] == 3 and isinstance(found["b"], Pair)
    assert all(t.is_meta and t.shape == u.shape for t, u in zip(tensors_in(to_meta(nest)), tensors_in(nest)))


def test_one_sample_becomes_two_that_differ() -> None:
    x = torch.rand(1, 3, 4)
    assert torch.equal(two_of(x), torch.cat([x, x.flip(-1)])) and two_of(ONE) is ONE and two_of(TWO) is TWO


def test_an_error_of_a_forward_is_told_with_the_shapes() -> None:
    model = Net(lambda m, x: m.a(x), a=nn.Linear(3, 2))
    assert called(model, (torch.zeros(1, 3),), {}).shape == (1, 2)
    with pytest.raises(
        CompactError,
        match=r"Net fails on inputs of shape \(1, 4\) at test_inputs\.py:\d+: .*a\(x\).* \(RuntimeError: ",
    ):
        called(model, (torch.zeros(1, 4),), {}, CompactError)
    with pytest.raises(CompactError, match=r"Linear takes other arguments than .* \(TypeError: .*tuple"):
        called(nn.Linear(3, 2), (ONE, ONE), {}, CompactError)
    refusing = Net(lambda m, x: as_arguments(None))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must be a tensor"):
        called(refusing, (ONE,), {}, CompactError)


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("one\ntwo")) == "one" and first_line(ValueError()) == "no message"


class _Picture(Tensor):
    """As fastai and others have them."""


def test_tensors_of_a_class_of_their_own_are_plain_ones() -> None:
    """What the class's functions return is wrapped anew, and would have no paint."""
    model = Net(lambda m, x: m.b(m.a(x).relu()), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1))
    x = torch.randn(2, 3, 4, 4).as_subclass(_Picture)
    graph = trace(model, x)
    assert type(as_arguments(x)[0][0]) is Tensor and graph.num_channels == 8


@pytest.mark.filterwarnings("ignore")  # of kinds of tensors that torch means to drop or to change
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)]), "a nested tensor"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2, 3)], layout=torch.jagged), "a nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.quint8), "a quantised tensor"),
        (lambda: iter([torch.zeros(2, 3)]), "a list_iterator, which can be read only once"),
    ],
)
def test_inputs_that_cannot_be_followed_are_refused(given: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=f"The inputs hold {said}"):
        as_arguments((given(),))
