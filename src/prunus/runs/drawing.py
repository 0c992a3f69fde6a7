"""Pictures of samples for the report: small, and in colours that tell classes apart. They need Pillow."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from prunus.training.feeding import Normalise

LONGEST = 256  # pixels of a side; larger pictures are made smaller
SHORT = 128  # smaller ones are enlarged to about that, by whole pixels
HEAVY = 20_000  # bytes of a PNG from which on a JPEG takes its place
STRONG = 0.55  # how much of a pixel is the colour of its class
# Told apart by nearly everybody (Okabe and Ito 2008); further classes go round the circle of hues.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#8c8c8c")


def colour_of(label: int) -> str:
    """The colour of a class, as #rrggbb."""
    if 0 <= label < len(COLOURS):
        return COLOURS[label]
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.65, 0.9)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def pixels_of(inputs: Tensor, scale: Normalise | None) -> Tensor:
    """A sample (planes, H, W) as uint8 (1 or 3, H, W): the first three planes, or the first of fewer.

    Args:
        inputs: pixels from 0 to 255 as bytes, or what a network is called with.
        scale: (mean, std) of the planes by which these were normalised; without it numbers from 0 to 1 are
            taken for what they are, and others are stretched from their least to their largest.
    """
    planes = 3 if len(inputs) >= 3 else 1
    if inputs.dtype == torch.uint8:
        return inputs[:planes]
    found = inputs.detach().float().cpu()
    if scale is not None and len(scale[0]) == len(found):
        mean, std = (torch.tensor(list(values)).view(-1, 1, 1) for values in scale)
        found = found * std + mean
    elif found.min() < 0 or found.max() > 1:
        found = (found - found.min()) / (found.max() - found.min()).clamp(min=1e-12)
    return (255 * found[:planes].nan_to_num()).clamp(0, 255).round().to(torch.uint8)


def picture(pixels: Tensor) -> Image:
    """Pixels, uint8 (1 or 3, H, W), at a size for the page."""
    return _fitted(_coloured(pixels))


def with_mask(pixels: Tensor, classes: Tensor, without: Sequence[int] = ()) -> Image:
    """Pixels in grey under the colours of their classes (H, W); some classes, which may stand for what
    nobody knows, have no colour.
    """
    from PIL import Image

    image = _coloured(pixels).convert("L").convert("RGB")  # else the colours of classes would be others
    result = image.copy()
    for label in sorted(set(torch.unique(classes).tolist()) - set(without)):
        share = ((classes == label) * round(255 * STRONG)).to(torch.uint8).cpu().numpy()
        result.paste(Image.new("RGB", image.size, colour_of(label)), mask=Image.fromarray(share))
    return _fitted(result)


def with_boxes(pixels: Tensor, boxes: Mapping[str, Any]) -> Image:
    """Pixels with boxes (boxes, 4) in the colours of their labels (boxes,)."""
    from PIL import ImageDraw

    plain = _coloured(pixels)
    image = _fitted(plain)
    drawing, factor = ImageDraw.Draw(image), image.width / plain.width
    for corners, label in zip(boxes["boxes"].tolist(), boxes["labels"].tolist()):
        left, top, right, bottom = (round(factor * value) for value in corners)
        if right < left or bottom < top:
            continue
        drawing.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="#000000", width=4)
        drawing.rectangle((left, top, right, bottom), outline=colour_of(label), width=2)
    return image


def as_uri(image: Image) -> str:
    """A picture as text that a page holds: a PNG, or a JPEG where that would be heavy."""
    kind, content = "png", _encoded(image, format="PNG", optimize=True)
    if len(content) > HEAVY:
        kind, content = "jpeg", _encoded(image, format="JPEG", quality=85, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _coloured(pixels: Tensor) -> Image:
    from PIL import Image

    planes = pixels.cpu().expand(3, -1, -1) if len(pixels) == 1 else pixels.cpu()
    return Image.fromarray(planes.permute(1, 2, 0).contiguous().numpy())


def _fitted(image: Image) -> Image:
    from PIL.Image import Resampling

    longest = max(image.size)
    if longest > LONGEST:
        size = tuple(max(1, round(side * LONGEST / longest)) for side in image.size)
        return image.resize((size[0], size[1]), Resampling.LANCZOS)
    factor = max(1, SHORT // longest)
    return image.resize((image.width * factor, image.height * factor), Resampling.NEAREST)
