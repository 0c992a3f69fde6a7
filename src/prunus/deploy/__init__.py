"""Deployment: export to ONNX, latency measured with care, and a record of the machine it was measured on."""

from __future__ import annotations

from prunus._lazy import files_of

__all__ = [
    "comparison",
    "environment",
    "inputs",
    "int8",
    "latency",
    "machine",
    "onnx",
    "onnx_accuracy",
    "per_input",
    "probe",
    "probe_onnx",
    "probe_torch",
    "qdq",
    "runtimes",
    "shapes",
    "tidy",
]

__getattr__ = files_of(__name__, __all__)
