"""What a measurement depends on: the processor and its vector instructions, the threads, and the versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = tuple("prunus torch numpy onnx onnxscript onnxruntime openvino timm torchvision".split())

# The flags that decide which kernels run, and so how latency depends on the width of a layer.
FLAGS = tuple(
    "avx avx2 fma f16c avx512f avx512_vnni avx512_bf16 avx_vnni amx_tile amx_int8 asimd sve".split()
)


def environment() -> dict[str, object]:
    """A record for result files, ready for JSON: nothing in it identifies the machine or its user."""
    name, flags = processor()
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": name,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of the installed packages that matter; those not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> tuple[str, list[str]]:
    """Name and flags of the first processor; outside Linux only what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor(), []
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in fields.items()}
    present = set(known.get("flags", known.get("Features", "")).split())
    return known.get("model name", platform.processor()), [flag for flag in FLAGS if flag in present]
