"""NNCodec, Fraunhofer HHI's implementation of ISO/IEC 15938-17, in a Python of its own, as it needs an old
numpy:

    python -m venv nncodec-venv && nncodec-venv/bin/pip install nncodec==2.1.3

This file is read by both Pythons: `coded` starts the other one, which runs `main`; neither torch nor prunus
is imported there but by NNCodec itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Values = dict[str, Any]  # arrays by name, float32
Settings = dict[str, Any]  # arguments of `nncodec.nnc.compress`
USUAL: Settings = {"use_dq": True, "param_opt": True, "row_skipping": True}  # as `nncodec.nn.encode` has them


@dataclass(frozen=True)
class Coded:
    """What the peer makes of a network with one of the settings.

    Attributes:
        bytes: of its bitstream.
        values: that it decodes.
        seconds: of encoding, and of decoding.
        version: of NNCodec.
    """

    bytes: int
    values: Values
    seconds: tuple[float, float]
    version: str


def absent(python: Path | None) -> str:
    """Why the peer cannot run; "" where it can."""
    if python is None:
        return "NNCodec is left out: --peer-python does not say where it is installed."
    found = subprocess.run([python, "-c", "import nncodec.nn"], capture_output=True, text=True, check=False)
    last = found.stderr.strip().splitlines()[-1:] or [""]
    return f"NNCodec is left out: {python} cannot import it ({last[0]})." if found.returncode else ""


def coded(python: Path, values: Mapping[str, Any], settings: Sequence[Settings]) -> Iterator[Coded]:
    """What the peer makes of arrays, with each of the settings."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.savez(place / "values.npz", **dict(values))
        (place / "settings.json").write_text(json.dumps(list(settings)))
        subprocess.run([python, __file__, folder], check=True, stdout=subprocess.DEVNULL)
        for number, found in enumerate(json.loads((place / "found.json").read_text())):
            with np.load(place / f"{number}.npz") as file:
                yield Coded(found["bytes"], dict(file), tuple(found["seconds"]), found["version"])


def main() -> None:
    """The other Python's part."""
    from nncodec import nnc  # type: ignore[import-not-found,unused-ignore]

    place = Path(sys.argv[1])
    with np.load(place / "values.npz") as file:
        values = dict(file)
    found = []
    for number, settings in enumerate(json.loads((place / "settings.json").read_text())):
        start = time.perf_counter()
        copies = {name: value.copy() for name, value in values.items()}
        stream = nnc.compress(copies, bitstream_path=None, return_bitstream=True, **USUAL | settings)
        middle = time.perf_counter()
        decoded = nnc.decompress(stream)
        seconds = [middle - start, time.perf_counter() - middle]
        np.savez(place / f"{number}.npz", **decoded)
        found.append({"bytes": len(stream), "seconds": seconds, "version": version("nncodec")})
    (place / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
