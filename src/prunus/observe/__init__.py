"""Observe: what layers get and make, on calibration inputs."""

from __future__ import annotations

from prunus._foundation.lazy import files_of

__all__ = ["capture", "matrices", "moments"]

__getattr__ = files_of(__name__, __all__)
