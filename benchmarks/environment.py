"""What a result depends on besides the code: versions, the processor and the command."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def describe(*packages: str) -> dict[str, Any]:
    """Processor, its vector units, cores, threads, and the versions of Python, torch and `packages`."""
    cpu = _cpu_info()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "vector_units": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "system": platform.system(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in ("torch", *packages)},
    }


def command(module: str) -> str:
    """The command line that was run, with the module instead of the file's path."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def save(path: Path, result: dict[str, Any]) -> None:
    """Write JSON so that the file is never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
