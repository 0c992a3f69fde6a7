"""Fourier transforms and complex numbers: channels are a batch to them."""

from __future__ import annotations

from collections.abc import Sequence

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, zero_or_unknown
from prunus.paint.rules.pointwise import pointwise


def transform(call: Call) -> Sequence[Paint]:
    """_fft_r2c, _fft_c2c, _fft_c2r (x, dims, ...): over other axes a channel stays one; over the channels
    they are pinned.
    """
    x = call.tensors[0]
    dims = {d % max(x.dim(), 1) for d in call.args[1]}
    call.pin([y for y in call.paint(x) if y.axis in dims], "a Fourier transform over the channels")
    return (tuple(_zero(y) for y in call.paint(x) if y.axis not in dims),)


def view_as_real(call: Call) -> Sequence[Paint]:
    """An axis of two is put behind."""
    return (tuple(_zero(y) for y in call.paint(call.tensors[0])),)


def view_as_complex(call: Call) -> Sequence[Paint]:
    """The last axis, of length two, is gone."""
    x = call.tensors[0]
    call.pin(call.stripes(x, -1), "real and imaginary parts")
    return (tuple(_zero(y) for y in call.paint(x) if y.axis < x.dim() - 1),)


def _zero(stripe: Stripe) -> Stripe:
    return Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("_fft_r2c", "_fft_c2c", "_fft_c2r"), transform),
    **dict.fromkeys(
        "view_as_real _neg_view _conj _conj_physical conj_physical resolve_conj resolve_neg".split(),
        view_as_real,
    ),
    "view_as_complex": view_as_complex,
    **dict.fromkeys(("complex", "polar"), pointwise),
}
