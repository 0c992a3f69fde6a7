"""The Hub: a run's folder goes up with a model card, and a compact module comes back.

What comes down is data: nothing in it is unpickled, imported or called, and what it says of itself decides at
most which network of prunus, timm or torchvision is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunus._foundation.lazy import names_of

if TYPE_CHECKING:
    from prunus.hub.card import About, card_of
    from prunus.hub.fetch import from_pretrained
    from prunus.hub.push import Pushed, push_to_hub

_HOMES = {
    **dict.fromkeys(("About", "card_of"), "card"),
    "from_pretrained": "fetch",
    **dict.fromkeys(("Pushed", "push_to_hub"), "push"),
}
__all__ = ["About", "Pushed", "card_of", "from_pretrained", "push_to_hub"]

__getattr__ = names_of(__name__, _HOMES)
