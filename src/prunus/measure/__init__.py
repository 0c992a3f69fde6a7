"""Measure: latency with care, in PyTorch and other runtimes, and tables of what layers take."""

from __future__ import annotations

from prunus._foundation.lazy import files_of

__all__ = [
    "comparison",
    "machine",
    "per_input",
    "probe",
    "probe_onnx",
    "probe_torch",
    "runtimes",
    "shapes",
    "timing",
]

__getattr__ = files_of(__name__, __all__)
