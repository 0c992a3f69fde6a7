"""One meaning of removed: what the mask sets to zero, painting takes for zero and surgery takes away are the
same, whatever reads it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

import prunus

IMAGE = torch.randn(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def with_parameters(
    run: Callable[..., Any], layers: dict[str, nn.Module], **shapes: tuple[int, ...]
) -> nn.Module:
    """A network with parameters of its own beside its layers."""
    net = Net(run, **layers)
    for name, shape in shapes.items():
        net.register_parameter(name, nn.Parameter(torch.ones(shape)))
    return randomised(net)


def conv(made: int, makes: int, kernel: int, **options: Any) -> nn.Module:
    return nn.Conv2d(made, makes, kernel, **options)


def low_rank(m: Any, x: Tensor) -> Tensor:
    return m.last(F.conv2d(m.first(x).relu(), (m.u @ m.v).view(24, 16, 3, 3)).relu())


def lora(m: Any, x: Tensor) -> Tensor:
    return m.last(F.conv2d(m.first(x).relu(), m.first2.weight + 0.5 * (m.u @ m.v).view(24, 16, 3, 3)).relu())


def fused(m: Any, x: Tensor) -> Tensor:
    kernel = torch.einsum("oi,ikl->okl", m.outer, m.inner.flatten(1).unsqueeze(-1)).view(
        len(m.outer), -1, 3, 3
    )
    return m.last(F.conv2d(m.first(x).relu(), kernel).relu())


def demodulated(m: Any, x: Tensor) -> Tensor:
    kernel = m.kernel * torch.rsqrt(m.kernel.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8)
    return m.last(F.conv2d(m.first(x).relu(), kernel).relu())


def tied(m: Any, x: Tensor) -> Tensor:
    return m.last(F.conv_transpose2d(F.conv2d(m.first(x).relu(), m.kernel).relu(), m.kernel).relu())


def queries(m: Any, x: Tensor) -> Tensor:
    tokens = m.first(x).relu().flatten(2).transpose(1, 2)
    return m.end(m.attention(m.query.expand(len(x), -1, -1), tokens, tokens)[0][:, 0])


def learned_step(m: Any, x: Tensor) -> Tensor:
    step = m.step.abs().view(-1, 1, 1, 1)
    return m.last(F.conv2d(x, (m.first.weight / step).round() * step, m.first.bias).relu())


def snake(m: Any, x: Tensor) -> Tensor:
    y, a = m.first(x), m.alpha.view(1, -1, 1, 1)
    return m.last(y + torch.sin(a * y) ** 2 / a)


def logarithm(m: Any, x: Tensor) -> Tensor:
    return m.last(m.first(x) * m.scale.abs().log().view(1, -1, 1, 1))


def divisive(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    return m.last(y * torch.rsqrt(F.conv2d(y * y, m.gamma.abs().view(16, 16, 1, 1), m.beta.abs())))


def filter_response(m: Any, x: Tensor) -> Tensor:
    y = m.first(x)
    y = y * torch.rsqrt(y.pow(2).mean((2, 3), keepdim=True) + m.eps.abs().view(1, -1, 1, 1))
    return m.last(torch.maximum(m.gain.view(1, -1, 1, 1) * y, m.tau.view(1, -1, 1, 1)))


def codebook(m: Any, x: Tensor) -> Tensor:
    y = m.first(x).permute(0, 2, 3, 1)
    distances = (y * y).sum(-1, keepdim=True) + (m.codes * m.codes).sum(-1) - 2 * y @ m.codes.t()
    return m.last(F.embedding(distances.argmin(-1), m.codes).permute(0, 3, 1, 2) + m.first(x))


FIRST: dict[str, nn.Module] = {"first": conv(3, 16, 3), "last": conv(24, 4, 1)}
CASES: dict[str, tuple[Callable[..., Any], dict[str, nn.Module], dict[str, tuple[int, ...]], int]] = {
    "low rank": (low_rank, FIRST, {"u": (24, 6), "v": (6, 144)}, 20),
    "lora": (lora, {**FIRST, "first2": conv(16, 24, 3)}, {"u": (24, 6), "v": (6, 144)}, 20),
    "composed kernels": (fused, FIRST, {"outer": (24, 12), "inner": (12, 16, 9)}, 6),
    "demodulated": (demodulated, FIRST, {"kernel": (24, 16, 3, 3)}, 20),
    "tied decoder": (tied, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, {"kernel": (24, 16, 3, 3)}, 12),
    "learned queries": (
        queries,
        {
            "first": conv(3, 32, 3),
            "attention": nn.MultiheadAttention(32, 4, batch_first=True),
            "end": nn.Linear(32, 5),
        },
        {"query": (1, 1, 32)},
        8,
    ),
    "learned steps": (learned_step, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, {"step": (16,)}, 8),
    "snake": (snake, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, {"alpha": (16,)}, 8),
    "logarithms": (logarithm, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, {"scale": (16,)}, 8),
    "divisive normalisation": (
        divisive,
        {"first": conv(3, 16, 3), "last": conv(16, 4, 1)},
        {"gamma": (16, 16), "beta": (16,)},
        8,
    ),
    "filter response": (
        filter_response,
        {"first": conv(3, 16, 3), "last": conv(16, 4, 1)},
        {"eps": (16,), "gain": (16,), "tau": (16,)},
        8,
    ),
    "codebook": (codebook, {"first": conv(3, 16, 3), "last": conv(16, 4, 1)}, {"codes": (7, 16)}, 8),
}


@pytest.mark.parametrize("name", CASES)
def test_masked_and_compact_agree_whatever_reads_a_parameter(name: str) -> None:
    run, layers, shapes, least = CASES[name]
    model = with_parameters(run, layers, **shapes)
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed >= least
    with torch.no_grad():
        assert prunus.mask(model, plan)(IMAGE).isfinite().all()
    prunus.verify(model, plan, small)  # in train mode as well


def test_old_spectral_norm_is_exact() -> None:
    layers = (
        spectral_norm(conv(3, 16, 3)),
        nn.ReLU(),
        spectral_norm(conv(16, 24, 3)),
        nn.ReLU(),
        conv(24, 4, 3),
    )
    plan, _ = pruned(randomised(nn.Sequential(*layers)), IMAGE)
    assert plan.exact and plan.removed == 20


@pytest.mark.parametrize("eps", [1e-5, 0.0])
def test_scale_and_shift_in_buffers_are_exact(eps: float) -> None:
    class Frozen(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.ones(n))

        def forward(self, x: Tensor) -> Tensor:
            scale = self.weight * (self.running_var + eps).rsqrt()
            return x * scale.view(1, -1, 1, 1) + (self.bias - self.running_mean * scale).view(1, -1, 1, 1)

    plan, _ = pruned(randomised(nn.Sequential(conv(3, 16, 3), Frozen(16), nn.ReLU(), conv(16, 4, 1))), IMAGE)
    assert plan.exact and plan.removed == 8


def test_a_divisor_of_the_data_alone_keeps_its_channels_or_the_masked_network_finite() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.first(x)
        return m.last(y / y.sum((2, 3), keepdim=True))

    model = with_parameters(run, {"first": conv(3, 16, 3, bias=False), "last": conv(16, 4, 1)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only")
        plan, small = pruned(model, IMAGE)
    with torch.no_grad():
        assert prunus.mask(model, plan)(IMAGE).isfinite().all()
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-12
