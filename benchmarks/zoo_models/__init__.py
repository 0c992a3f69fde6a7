"""Networks of the packages that users prune with: how each is made with random weights, and what it is called
with.
"""

from __future__ import annotations

from benchmarks.zoo_models import brain, generators, hub, medical, segmenters, sound, vision
from benchmarks.zoo_models.entry import Entry

ENTRIES: tuple[Entry, ...] = (
    *segmenters.ENTRIES,
    *hub.ENTRIES,
    *medical.ENTRIES,
    *vision.ENTRIES,
    *brain.ENTRIES,
    *generators.ENTRIES,
    *sound.ENTRIES,
)

__all__ = ["ENTRIES", "Entry"]
