"""How the blocks of random networks are drawn: from where the choices come from and the
shape that comes in.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tests import network_blocks as blocks
from tests import network_joins as joins
from tests import network_kinds as kinds
from tests.network_choices import Block, Draw, Drawn, Shape, block_of, chain, divisors, written, yes


def draw_conv(draw: Draw, shape: Shape, out: int | None = None, keep: bool = True) -> Drawn:
    """A convolution to `out` channels: any kernel, stride, dilation, grouping, norm and activation."""
    c, h, w = shape
    groups = draw.choice([1, 1, *divisors(c)])
    if out is None:
        out = groups * draw.integer(max(1, 2 // groups), max(1, 16 // groups))
    elif out % groups:
        groups = 1
    stride = 1 if keep or min(h, w) < 4 else draw.choice([1, 2])
    dilation = draw.choice([1, 1, 2])
    conv = block_of(
        blocks.Conv,
        c,
        out,
        kernel=draw.choice([1, 3, 5]),
        stride=stride,
        dilation=dilation,
        groups=groups,
        bias=yes(draw),
        norm_name=draw.choice(draw.norms),
        act=draw.choice(draw.activations),
        first=draw.integer(0, 3) == 3,
    )
    return conv, Shape(out, -(-h // stride), -(-w // stride))


def fit(draw: Draw, drawn: Drawn, channels: int) -> Drawn:
    """Bring what was drawn to `channels` channels with one more convolution, where they differ."""
    block, shape = drawn
    if shape.channels == channels:
        return drawn
    conv, shape = draw_conv(draw, shape, channels)
    return chain(block, conv), shape


def draw_body(draw: Draw, shape: Shape, depth: int, channels: int | None = None) -> Drawn:
    """One to three blocks that keep the resolution; with `channels`, ending in that many."""
    drawn = draw_block(draw, shape, depth - 1, keep=True)
    for _ in range(draw.integer(0, 1 if depth > 1 else 2)):
        more, after = draw_block(draw, drawn[1], depth - 1, keep=True)
        drawn = chain(drawn[0], more), after
    return drawn if channels is None else fit(draw, drawn, channels)


def _depthwise(draw: Draw, shape: Shape, depth: int) -> Drawn:
    out = shape.channels * (draw.integer(1, 2) if shape.channels <= 12 else 1)
    conv = block_of(
        blocks.Conv,
        shape.channels,
        out,
        kernel=3,
        groups=shape.channels,
        bias=yes(draw),
        norm_name=draw.choice(draw.norms),
        act=draw.choice(draw.activations),
    )
    return conv, shape._replace(channels=out)


def _functional(draw: Draw, shape: Shape, depth: int) -> Drawn:
    out = draw.integer(2, 12)
    conv = block_of(
        blocks.FunctionalConv, shape.channels, out, standardise=draw.wild and yes(draw), bias=yes(draw)
    )
    return conv, shape._replace(channels=out)


def _plain(draw: Draw, shape: Shape, depth: int) -> Drawn:
    """Blocks that change neither the channels nor the resolution."""
    c = shape.channels
    groups = draw.choice([1, *divisors(c)])
    tame = ("scale", "context", "square")
    modes = (
        (*tame, "offset", "position", "both", "affine", "spatial-gate", "normalize", "softmax")
        if draw.wild
        else tame
    )
    options: list[Callable[[], Block]] = [
        lambda: block_of(blocks.SqueezeExcite, c, draw.integer(1, 6), linear=yes(draw)),
        lambda: block_of(blocks.Shuffle, c, groups=groups, literal=draw.choice(draw.literals)),
        lambda: block_of(blocks.Broadcast, *shape, mode=draw.choice(modes)),
        lambda: block_of(blocks.Reorder, c, mode=draw.choice(["roll", "flip", "index"])),
        lambda: block_of(
            blocks.Attention, c, heads=groups, literal=draw.choice(draw.literals), separate=yes(draw)
        ),
    ]
    return draw.choice(options)(), shape


def _tokens(draw: Draw, shape: Shape, depth: int) -> Drawn:
    out = draw.integer(2, 12)
    return block_of(
        blocks.Tokens, shape.channels, out, linear=yes(draw), literal=draw.choice(draw.literals)
    ), shape._replace(channels=out)


def _widen(draw: Draw, shape: Shape, depth: int) -> Drawn:
    c, h, w = shape
    if c > 12:
        return draw_conv(draw, shape)
    if yes(draw):
        before, after = draw.integer(0, 3), draw.integer(0, 3)
        return block_of(blocks.PadChannels, before=before, after=after), Shape(c + before + after, h, w)
    mode = draw.choice(["double", "repeat", "interleave"])
    return block_of(blocks.Reorder, c, mode=mode), Shape(2 * c, h, w)


def _halve(draw: Draw, shape: Shape, depth: int) -> Drawn:
    even, (c, h, w) = _multiple(draw, shape, 2)
    last = (
        block_of(blocks.Maxout, neighbours=yes(draw))
        if yes(draw)
        else block_of(blocks.SimpleGate, sigmoid=yes(draw))
    )
    return (chain(even, last) if even else last), Shape(c // 2, h, w)


def _multiple(draw: Draw, shape: Shape, of: int) -> tuple[Block | None, Shape]:
    """A convolution to a multiple of `of` channels, or nothing where there are so many already."""
    if shape.channels % of == 0:
        return None, shape
    return draw_conv(draw, shape, of * draw.integer(1, 12 // of))


def _residual(draw: Draw, shape: Shape, depth: int) -> Drawn:
    shortcut: Block | None = None
    how = draw.choice(["identity", "project", "pad"])
    out = shape.channels
    if how == "project":
        out = draw.integer(2, 16)
        shortcut = block_of(blocks.Conv, shape.channels, out, norm_name=draw.choice(["none", "batch"]))
    elif how == "pad" and shape.channels <= 12:
        before, after = draw.integer(0, 2), draw.integer(1, 4)
        out += before + after
        shortcut = block_of(joins.PadShortcut, before=before, after=after)
    body, _ = draw_body(draw, shape, depth, out)
    residual = block_of(
        joins.Residual, parts=(body, shortcut), relu=yes(draw), weighted=draw.integer(0, 3) == 3
    )
    return residual, shape._replace(channels=out)


def _branches(draw: Draw, shape: Shape, depth: int) -> Drawn:
    mode = draw.choice(["concat", "add", "keep-concat", "multiply", "interleave", "select", "maximum"])
    n, out = draw.integer(2, 3), draw.integer(2, 8)
    same = mode not in ("concat", "keep-concat")
    parts = [draw_body(draw, shape, depth, out if same else None) for _ in range(n)]
    if not same:
        parts = [fit(draw, part, min(part[1].channels, 10)) for part in parts]
    total = sum(after.channels for _, after in parts)
    channels = {"concat": total, "keep-concat": total + shape.channels, "interleave": n * out}.get(mode, out)
    return block_of(joins.Branches, parts=tuple(p for p, _ in parts), mode=mode), shape._replace(
        channels=channels
    )


def _dense(draw: Draw, shape: Shape, depth: int) -> Drawn:
    n, growth, keep = draw.integer(1, 3), draw.integer(2, 5), yes(draw)
    parts = []
    for i in range(n):
        parts.append(draw_body(draw, shape._replace(channels=shape.channels + i * growth), 1, growth)[0])
    dense = block_of(joins.Dense, parts=tuple(parts), keep=keep)
    return dense, shape._replace(channels=shape.channels + n * growth if keep else growth)


def _split(draw: Draw, shape: Shape, depth: int) -> Drawn:
    how = draw.choice(["chunk", "split", "slice", "narrow", "tensor_split", "unbind", "index", "stride"])
    n = draw.integer(2, 3)
    before: Block | None = None
    if how in ("split", "slice", "narrow") and shape.channels > n:
        cuts = sorted({draw.integer(1, shape.channels - 1) for _ in range(n - 1)})
        sizes = tuple(b - a for a, b in zip([0, *cuts], [*cuts, shape.channels], strict=True))
    else:
        before, shape = _multiple(draw, shape, n)
        sizes = (shape.channels // n,) * n
    drawn = [_piece(draw, shape._replace(channels=size), depth) for size in sizes]
    split = block_of(
        joins.Split,
        parts=tuple(p for p, _ in drawn),
        sizes=sizes,
        how=how,
        source=written(draw),
        swap=yes(draw),
    )
    out = shape._replace(channels=sum(after.channels for _, after in drawn))
    return (chain(before, split) if before else split), out


def _piece(draw: Draw, shape: Shape, depth: int) -> Drawn:
    return draw_body(draw, shape, depth) if yes(draw) else (block_of(nn.Identity), shape)


def _cascade(draw: Draw, shape: Shape, depth: int) -> Drawn:
    n = draw.integer(2, 3)
    before, shape = _multiple(draw, shape, n)
    width, add = shape.channels // n, yes(draw)
    parts = tuple(draw_body(draw, shape._replace(channels=width), 1, width)[0] for _ in range(n - 1))
    cascade = block_of(joins.Cascade, parts=parts, width=width, source=written(draw), add=add)
    out = shape._replace(channels=width * (n if add else 2 * n - 1))
    return (chain(before, cascade) if before else cascade), out


def _twice(draw: Draw, shape: Shape, depth: int) -> Drawn:
    mode = draw.choice(
        ["row", "norms", "pools", "pyramid"]
        if min(shape.height, shape.width) >= 4
        else ["row", "norms", "pools"]
    )
    if mode == "pools":
        body, after = draw_conv(draw, shape, draw.integer(2, 5))
        return block_of(joins.Twice, after.channels, parts=(body,), mode=mode), after._replace(
            channels=3 * after.channels
        )
    if mode == "pyramid":  # at two resolutions: nothing in the body may know the size
        body = chain(
            draw_conv(draw, shape, 6)[0], draw_conv(draw, shape._replace(channels=6), shape.channels)[0]
        )
    else:
        body = draw_body(draw, shape, depth, shape.channels)[0]
    return block_of(joins.Twice, shape.channels, parts=(body,), mode=mode), shape


def _hourglass(draw: Draw, shape: Shape, depth: int) -> Drawn:
    c, h, w = shape
    if min(h, w) < 4:
        return _residual(draw, shape, depth)
    concat = yes(draw)
    down, (inner, _, _) = draw_conv(draw, shape)
    kernel, out = draw.integer(2, 4), draw.integer(2, 8) if concat else c
    groups = draw.choice([d for d in [1, *divisors(inner)] if out % d == 0])
    up = block_of(
        blocks.Transposed,
        inner,
        out,
        kernel=kernel,
        groups=groups,
        bias=yes(draw),
        act=draw.choice(draw.activations),
    )
    return block_of(joins.Hourglass, parts=(down, up), concat=concat), Shape(c + out if concat else c, h, w)


def _resize(draw: Draw, shape: Shape, depth: int) -> Drawn:
    """Blocks that change the resolution."""
    c, h, w = shape
    if min(h, w) >= 4 and yes(draw):
        if h % 2 == w % 2 == 0 and c <= 6 and yes(draw):
            return block_of(blocks.Pixels, up=False), Shape(4 * c, h // 2, w // 2)
        mode = draw.choice(["max", "adaptive", "stride"])
        size = (-(-h // 2), -(-w // 2)) if mode == "stride" else (h // 2, w // 2)
        return block_of(blocks.Pool, mode=mode), Shape(c, *size)
    if max(h, w) > 8:
        mode = draw.choice(["avg", "reflect"])
        grow = mode == "reflect"
        return block_of(blocks.Pool, mode=mode), Shape(c, h + grow, w + grow)
    how = draw.choice(["pixels", "nearest", "bilinear", "transposed"])
    if how == "pixels":
        before, shape = _multiple(draw, shape, 4)
        shuffle = block_of(blocks.Pixels, up=True)
        return (chain(before, shuffle) if before else shuffle), Shape(shape.channels // 4, 2 * h, 2 * w)
    if how == "transposed":
        groups = draw.choice([1, *divisors(c)])
        out = groups * draw.integer(1, max(1, 10 // groups))
        up = block_of(
            blocks.Transposed,
            c,
            out,
            kernel=3,
            groups=groups,
            bias=yes(draw),
            act=draw.choice(draw.activations),
        )
        return up, Shape(out, 2 * h, 2 * w)
    return block_of(blocks.Pool, mode=how), Shape(c, 2 * h, 2 * w)


LEAVES: tuple[Callable[[Draw, Shape, int], Drawn], ...] = (
    lambda draw, shape, depth: draw_conv(draw, shape),
    _depthwise,
    _plain,
    _plain,
    _functional,
    _tokens,
    _widen,
    _halve,
    *kinds.LEAVES,
)
JOINS = (_residual, _branches, _split, _dense, _cascade, _twice, _hourglass)


def draw_block(draw: Draw, shape: Shape, depth: int, keep: bool = False) -> Drawn:
    """Any block; with `keep` one that keeps the resolution, with `depth` 0 one without branches."""
    if shape.channels > 24:
        return draw_conv(draw, shape, keep=keep)
    families = ["conv", "leaf", *(["join"] * 3 if depth else []), *([] if keep else ["resize"])]
    match draw.choice(families):
        case "conv":
            return draw_conv(draw, shape, keep=keep)
        case "leaf":
            return draw.choice(LEAVES)(draw, shape, depth)
        case "join":
            return draw.choice(JOINS)(draw, shape, depth)
        case _:
            return _resize(draw, shape, depth)
