"""Deployment: export to ONNX, 8 bits, and what a file says of itself."""

from __future__ import annotations

from prunus._foundation.lazy import files_of

__all__ = [
    "inputs",
    "int8",
    "onnx",
    "onnx_accuracy",
    "qdq",
    "skeleton",
    "tidy",
]

__getattr__ = files_of(__name__, __all__)
