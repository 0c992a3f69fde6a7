"""Data sets as whole uint8 tensors: the embedded digits, standard files, image folders."""

from __future__ import annotations

from prunus.data.catalogue import default_root, load, names
from prunus.data.download import Progress
from prunus.data.sets import ImageData, Split

__all__ = ["ImageData", "Progress", "Split", "default_root", "load", "names"]
