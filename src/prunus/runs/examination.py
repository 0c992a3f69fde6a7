"""What this installation can do: the machine, the versions, the runtimes, and which extras are missing.

It tells what is broken, so it must not need it: everything that may not import is imported inside.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from typing import Any

from prunus.errors import PrunusError

INTERNAL = ("dev",)  # extras of those who work on prunus
RUNTIMES = {
    "torch": "PyTorch",
    "torch-compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
# Name, extras and least version of a requirement, as metadata write it: "onnx>=1.17; extra == 'onnx'".
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w.,\s-]+)\])?\s*([^;]*)(?:;\s*(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w.-]+)['\"]")


def doctor() -> dict[str, Any]:
    """What is here, ready for JSON.

    Returns:
        What `prunus._foundation.environment` says, and besides: "ok", whether all that is required imports;
        "broken", what does not and why; "runtimes", name -> why it cannot time networks, "" where it can;
        "extras", name -> packages that it lacks; "cuda", names of the devices; "extensions", what other
        packages add, by group.
    """
    from prunus._foundation import extensions

    requirements = metadata.requires("prunus") or []
    broken = {name: why for name in required(requirements) if (why := _import_fault(name))}
    found = {"ok": not broken, "broken": broken} | _surroundings(broken)
    return found | {
        "cuda": _devices(broken),
        "runtimes": {} if broken else {name: _runtime_fault(name) for name in RUNTIMES},
        "extras": extras(requirements),
        "extensions": {
            group: {name: one.package for name, one in extensions.offered(group).items()}
            for group in extensions.GROUPS
        },
    }


def required(requirements: list[str]) -> list[str]:
    """Packages that prunus cannot do without."""
    found = (_REQUIREMENT.match(text) for text in requirements if not _EXTRA.search(text))
    return [match[1] for match in found if match is not None]


def extras(requirements: list[str]) -> dict[str, list[str]]:
    """Name -> packages that the extra lacks here, or that are older than it needs.

    Args:
        requirements: of prunus, as its metadata have them.
    """
    wanted: dict[str, list[str]] = {}
    for text in requirements:
        match = _REQUIREMENT.match(text)
        extra = _EXTRA.search(match[4] or "") if match else None
        if extra is not None and extra[1] not in INTERNAL:
            wanted.setdefault(extra[1], []).append(text.partition(";")[0].strip())
    return {extra: sorted(set(_lacking(extra, wanted))) for extra in wanted}


def _lacking(extra: str, wanted: Mapping[str, list[str]]) -> Iterator[str]:
    for text in wanted.get(extra, []):
        match = _REQUIREMENT.match(text)
        assert match is not None
        if match[1] == "prunus":  # an extra made of others
            for other in (match[2] or "").split(","):
                yield from _lacking(other.strip(), wanted)
        elif not _installed(match[1], match[3].strip()):
            yield text


def _installed(package: str, versions: str) -> bool:
    """Whether a package is there, and not older than the least of its versions."""
    try:
        here = metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    least = re.search(r">=\s*([\d.]+)", versions)
    return least is None or _numbers(here) >= _numbers(least[1])


def _numbers(version: str) -> tuple[int, ...]:
    """1.10.2rc1 -> (1, 10, 2): enough to tell an older version."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))


def _import_fault(package: str) -> str:
    """Why a package does not import; "" where it does."""
    try:
        import_module(package)
    except Exception as error:  # whatever a broken installation raises
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
    return ""


def _surroundings(broken: Mapping[str, str]) -> dict[str, Any]:
    """What torch need not be there for, if it is not."""
    if "torch" in broken or "numpy" in broken:
        return {
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
        }
    from prunus._foundation.environment import environment

    return environment()


def _devices(broken: Mapping[str, str]) -> list[str]:
    if "torch" in broken:
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(number) for number in range(count)]


def _runtime_fault(name: str) -> str:
    """Why networks cannot be timed in a runtime; "" where they can."""
    from prunus.measure import runtimes

    try:
        runtimes.require(name)  # type: ignore[arg-type]  # one of RUNTIMES
    except PrunusError as error:
        return str(error)
    except Exception as error:  # a library that is installed and does not import
        return f"{RUNTIMES[name]} does not import: {type(error).__name__}."
    return ""
