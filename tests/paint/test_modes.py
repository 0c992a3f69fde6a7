"""Whether a model asks for its mode, by its code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.paint.model_copy import walk
from prunus.paint.modes import leaves_gradients, trains_alike


def helped(module: nn.Module, x: Tensor) -> Tensor:
    return further(module, x)


def further(module: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if module.training else x


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.conv(x)).relu())


class Asking(Plain):
    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return (y, y) if self.training else y


class Inside(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return (lambda y: y if self.training else -y)(super().forward(x))


class Helped(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return helped(self, super().forward(x))


class Switched(Plain):
    def train(self, mode: bool = True) -> Switched:
        super().train(False)
        return self


class Gradients(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if torch.is_grad_enabled() else 1)


class Held(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.then = partial(helped, self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.then(super().forward(x))


class DropBranch(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        return x * x.new_empty(self.shape(x)).bernoulli_(1 - self.drop_prob)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return (len(x), 1, 1, 1)


class DropChannels(DropBranch):
    def shape(self, x: Tensor) -> tuple[int, ...]:
        return (*x.shape[:2], 1, 1)


class Told(Plain):
    """Tells dropout and attention of its mode, once through a function."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(super().forward(x), 0.1, self.training)
        x = F.dropout2d(thinned(x, training=self.training), training=self.training)
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1 if self.training else 0.0)


def thinned(x: Tensor, training: bool) -> Tensor:
    return F.dropout1d(x, p=0.2, training=training)


class Noisy(Plain):
    """Drops to a number that is not zero."""

    def forward(self, x: Tensor) -> Tensor:
        return F.alpha_dropout(super().forward(x), 0.1, self.training)


class ToldElsewhere(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return noisy(super().forward(x), training=self.training)


def noisy(x: Tensor, training: bool) -> Tensor:
    return F.dropout(x * 2 if training else x, training=training)


class NeverAsked(Plain):
    """What names the mode is out of the forward's reach."""

    def fuse(self) -> None:
        assert not self.training


class AskedByName(Plain):
    def forward(self, x: Tensor) -> Any:
        kind = "plain"
        return getattr(self, f"forward_{kind}")(x)

    def forward_plain(self, x: Tensor) -> Any:
        return (x, x) if self.training else x


class AskedThroughOther(nn.Module):
    """One module's forward calls another one's method."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = AskedByMethod()

    def forward(self, x: Tensor) -> Any:
        return self.inner.pieces(x)


class AskedByMethod(Plain):
    def pieces(self, x: Tensor) -> Any:
        return (x, x) if self.training else x


class AskedByText(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * (2 if getattr(self, "training", False) else 1)


class Helper:
    """An object that is no module of torch's."""

    def __call__(self, module: nn.Module, x: Tensor) -> Tensor:
        return helped(module, x)

    def helped(self, module: nn.Module, x: Tensor) -> Tensor:
        return further(module, x)

    def unused(self, module: nn.Module) -> Tensor:
        return rounded(next(module.parameters()))


class Rounding:
    @staticmethod
    def rounded(x: Tensor) -> Tensor:
        return rounded(x)

    def unused(self, module: nn.Module) -> bool:
        return module.training


def rounded(x: Tensor) -> Tensor:
    result: Tensor = Straight.apply(x)
    return result


ELSEWHERE: Any = ModuleType("elsewhere")  # as `import elsewhere` gives it
INSIDE: Any = ModuleType("elsewhere.inside")
INSIDE.helped, INSIDE.rounded, ELSEWHERE.inside = helped, rounded, INSIDE
HELPER, BY_NAME, IN_LISTS, ROUNDED = Helper(), {"helped": helped}, [[helped]], {"rounded": rounded}


def out_of_reach(x: Tensor) -> Tensor:
    return Rounding.rounded(x).relu()


class Keeping(Plain):
    """What is called is kept by the model, or elsewhere."""

    def __init__(self, how: Callable[[Any, Tensor], Tensor], kept: object = None) -> None:
        super().__init__()
        self.how, self.kept = how, kept

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, super().forward(x))


REACHED = [
    lambda: Keeping(lambda module, x: ELSEWHERE.inside.helped(module, x)),
    lambda: Keeping(lambda module, x: HELPER(module, x)),
    lambda: Keeping(lambda module, x: HELPER.helped(module, x)),
    lambda: Keeping(lambda module, x: Helper.helped(HELPER, module, x)),
    lambda: Keeping(lambda module, x: BY_NAME["helped"](module, x)),
    lambda: Keeping(lambda module, x: IN_LISTS[0][0](module, x)),
    lambda: Keeping(lambda module, x: module.kept(module, x), Helper()),
    lambda: Keeping(lambda module, x: module.kept.helped(module, x), Helper()),
    lambda: Keeping(lambda module, x: module.kept[0](module, x), [helped]),
]
ROUNDING = [
    lambda: Keeping(lambda module, x: ELSEWHERE.inside.rounded(x)),
    lambda: Keeping(lambda module, x: Rounding.rounded(x)),
    lambda: Keeping(lambda module, x: ROUNDED["rounded"](x)),
    lambda: Keeping(lambda module, x: module.kept(x), Straight.apply),
    lambda: Keeping(lambda module, x: module.kept["x"](x), {"x": Straight.apply}),
]


@pytest.mark.parametrize("make", REACHED)
def test_functions_are_found_where_they_are_kept(make: Any) -> None:
    assert not trains_alike(walk(make()))
    assert leaves_gradients(walk(make()))


@pytest.mark.parametrize("make", ROUNDING)
def test_gradients_are_found_where_their_functions_are_kept(make: Any) -> None:
    assert not leaves_gradients(walk(make()))
    assert trains_alike(walk(make()))


def test_what_nobody_names_is_out_of_reach() -> None:
    model = Keeping(lambda module, x: out_of_reach(x))
    assert trains_alike(walk(model)) and not leaves_gradients(walk(model))


def hooked() -> nn.Module:
    model = Plain()
    model.conv.register_forward_hook(lambda module, inputs, output: output)
    return model


def other_forward() -> nn.Module:
    model: Any = Plain()
    model.forward = lambda x: x
    return model


@pytest.mark.parametrize(
    "make",
    [
        Plain,
        lambda: DropBranch(0.0),
        lambda: DropBranch(0.1),
        Told,
        NeverAsked,
        lambda: nn.Sequential(Plain(), nn.LSTM(3, 4)),
        lambda: nn.AlphaDropout(0.0),
    ],
)
def test_what_is_the_same_in_both_modes(make: Any) -> None:
    assert trains_alike(walk(make()))


OTHERS = [
    Asking,
    Inside,
    Helped,
    Switched,
    Gradients,
    Held,
    ToldElsewhere,
    AskedByName,
    AskedByText,
    AskedThroughOther,
    lambda: DropChannels(0.1),
    Noisy,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
]


@pytest.mark.parametrize("make", [*OTHERS, hooked, other_forward])
def test_what_may_be_another_network_in_training(make: Any) -> None:
    assert not trains_alike(walk(make()))


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * grad.shape[1]


class Custom(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return Straight.apply(super().forward(x))


class Listening(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(lambda grad: grad * 2)
        return y


def hooked_backward() -> nn.Module:
    model = Plain()
    model.conv.register_full_backward_hook(lambda module, before, after: None)
    return model


@pytest.mark.parametrize("make", [Plain, Asking, Helped])
def test_whose_gradients_follow_from_the_forward(make: Any) -> None:
    assert leaves_gradients(walk(make()))


@pytest.mark.parametrize("make", [Custom, Listening, hooked_backward])
def test_who_makes_or_hears_of_gradients(make: Any) -> None:
    assert not leaves_gradients(walk(make()))
