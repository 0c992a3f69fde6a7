"""The samples that a training kept, epoch by epoch: files while it runs, and pictures of the extremes at its
end.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from prunus.data import Split
    from prunus.selection import Selection
    from prunus.training import History

KEPT = "kept"  # folder of the samples that every epoch was trained on
OF_EPOCHS = "epoch-*.npy"  # its files
SHOWN = 12  # pictures of each kind


def write(folder: Path, epoch: int, selection: Selection) -> None:
    """Write the positions of the kept samples of one epoch (counted from 0) among the training samples,
    int32.
    """
    import numpy as np

    from prunus.storage import write_atomically

    content = io.BytesIO()
    np.save(content, selection.indices.astype(np.int32))
    write_atomically(folder / f"epoch-{epoch + 1:04d}.npy", content.getvalue())


def panel(folder: Path, history: History, split: Split, classes: Sequence[str]) -> dict[str, Any] | None:
    """What the report shows of a selection: samples per epoch, and the samples that were kept most and least
    often (pictures need Pillow). None without a selection.
    """
    import numpy as np

    files = sorted(folder.glob(OF_EPOCHS)) if folder.is_dir() else []
    if not files:
        return None
    counts = np.zeros(len(split), dtype=np.int64)
    for file in files:
        counts[np.load(file, allow_pickle=False)] += 1
    order = np.argsort(-counts, kind="stable")
    rows = (
        (f"Most critical: kept in {_times(counts[order[:SHOWN]], len(files))}", order[:SHOWN]),
        (f"Most redundant: kept in {_times(counts[order[-SHOWN:]], len(files))}", order[-SHOWN:]),
    )
    drawable = find_spec("PIL") is not None
    gallery = [
        {"title": title, "pictures": [_picture(split, classes, int(i)) for i in chosen]}
        for title, chosen in rows
        if drawable
    ]
    return {"samples": [epoch.samples for epoch in history.epochs], "total": len(split), "gallery": gallery}


def extremes(split: Split, classes: Sequence[str], macs: Tensor) -> list[dict[str, Any]]:
    """Pictures of the samples that cost least and most, which need Pillow; `macs` are
    relative, (samples,).
    """
    if find_spec("PIL") is None:
        return []
    order = macs.argsort().tolist()
    return [
        {
            "title": f"{title}: {100 * float(macs[chosen].mean()):.0f} % of the MACs",
            "pictures": [_picture(split, classes, i) for i in chosen],
        }
        for title, chosen in (("Cheapest", order[:SHOWN]), ("Dearest", order[: -SHOWN - 1 : -1]))
    ]


def _times(counts: NDArray[np.int64], epochs: int) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} of {epochs} choices" if low == high else f"{low} to {high} of {epochs} choices"


def _picture(split: Split, classes: Sequence[str], index: int) -> dict[str, str]:
    from PIL import Image

    pixels = split.images[index].permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return {"png": base64.b64encode(buffer.getvalue()).decode(), "label": classes[int(split.labels[index])]}
