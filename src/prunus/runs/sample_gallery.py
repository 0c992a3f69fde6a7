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

from prunus._foundation.run_files import OF_EPOCHS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from prunus.data import Split
    from prunus.selection import Selection
    from prunus.training import History

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
    choices = [kept for file in files if (kept := _kept(file, len(split))) is not None]
    if not choices:
        return None
    counts = np.zeros(len(split), dtype=np.int64)
    for kept in choices:
        counts[kept] += 1
    order = np.argsort(-counts, kind="stable")
    rows = (
        (f"Most critical: kept in {_times(counts[order[:SHOWN]], len(choices))}", order[:SHOWN]),
        (f"Most redundant: kept in {_times(counts[order[-SHOWN:]], len(choices))}", order[-SHOWN:]),
    )
    drawable = find_spec("PIL") is not None
    gallery = [
        {"title": title, "pictures": [_picture(split, classes, int(i)) for i in chosen]}
        for title, chosen in rows
        if drawable
    ]
    return {"samples": [epoch.samples for epoch in history.epochs], "total": len(split), "gallery": gallery}


def _kept(file: Path, samples: int) -> NDArray[np.int32] | None:
    """The positions that a file holds; None where it is damaged, which must not end a training of days."""
    import numpy as np

    try:
        if not file.is_file() or file.stat().st_size > 4 * samples + 1024:  # positions, and a header
            return None
        found: NDArray[np.int32] = np.load(file, allow_pickle=False)
    except Exception:  # a header that is none makes whatever it likes of numpy's parser
        return None
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype != np.int32:
        return None
    inside = not len(found) or (int(found.min()) >= 0 and int(found.max()) < samples)
    return found if inside else None


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
