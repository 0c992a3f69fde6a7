"""What a result depends on besides the code: versions, the processor and the command."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
_HALVES = {"avx512_bf16", "amx_tile", "bf16"}  # units that compute in bfloat16
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def describe(*packages: str, device: str = "cpu") -> dict[str, Any]:
    """Processor, its vector units, cores, threads, and the versions of Python, torch and `packages`; on a
    GPU, its name too.
    """
    cpu, flags = _cpu_info(), _cpu_flags()
    return _accelerator(device) | {
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "vector_units": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "precision": precision(),
        "system": platform.system(),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("torch", *packages)},
    }


def precision() -> Literal["bfloat16", "float32"]:
    """What benchmarks train in here: bfloat16 where the processor computes in it (elsewhere it takes ten
    times as long as float32), float32 where not.
    """
    return "bfloat16" if _cpu_flags() & _HALVES else "float32"


def command(module: str) -> str:
    """The command line that was run, with the module instead of the file's path."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def save(path: Path, result: dict[str, Any]) -> None:
    """Write JSON so that the file is never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(_text(result) + "\n")
    partial.replace(path)


def _text(result: dict[str, Any]) -> str:
    """JSON with an indent, but for the records in `measured`, which have a line each: they would be most of
    every file.
    """
    records: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, list):
            return [marked(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = {key: marked(one) for key, one in value.items() if key != "measured"}
        if "measured" in value:
            found["measured"] = {
                part: f"\0{len(records) + number}\0" for number, part in enumerate(value["measured"])
            }
            records.extend(json.dumps(how) for how in value["measured"].values())
        return found

    text = json.dumps(marked(result), indent=1)
    return re.sub(r'"\\u0000(\d+)\\u0000"', lambda found: records[int(found[1])], text)


def _accelerator(device: str) -> dict[str, str]:
    if not device.startswith("cuda"):
        return {}
    import torch

    return {"accelerator": torch.cuda.get_device_name(device)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _cpu_flags() -> set[str]:
    cpu = _cpu_info()
    return set(cpu.get("flags", cpu.get("Features", "")).split())


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
