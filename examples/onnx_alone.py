"""ONNX Runtime alone: what is pruned here runs where neither torch nor prunus is, with NumPy in and out.

Writing needs the extra `onnx`; for `classify` only `onnxruntime` and `numpy` are imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def classify(path: str, images: np.ndarray) -> np.ndarray:
    """The classes (n,) of grey images (n, 8, 8) with pixels from 0 to 255, by a file alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    (logits,) = session.run(None, {wanted.name: images[:, None].astype(np.float32)})
    found: np.ndarray = logits.argmax(1)
    return found


def write(path: str, epochs: int = 8) -> float:
    """Train, prune to half the MACs, tune, and write a file that takes pixels; its accuracy [percent]."""
    import prunus
    from prunus.deploy.onnx import export
    from prunus.deploy.sheet import DataSheet
    from prunus.training import TrainConfig

    digits = prunus.data.load("digits")
    task = prunus.Task(*digits.hold_out(0.2), digits.test, normalise=digits.normalise)
    model = prunus.models.lenet5(image_size=8)
    task.fit(model, TrainConfig(epochs=epochs, lr=0.05))
    outcome = prunus.shrink(model, task, macs=0.5, config=TrainConfig(epochs=max(epochs // 4, 1), lr=0.01))
    sheet = DataSheet((), *digits.normalise)
    export(outcome.model, task.example_inputs(), path, dynamic_batch=True, sheet=sheet, takes_pixels=True)
    np.save(Path(path).with_name("images.npy"), digits.test.images[:, 0].numpy())
    assert outcome.metric is not None
    return outcome.metric


def main(epochs: int = 8) -> None:
    """Write the file; then `python onnx_alone.py model.onnx images.npy`, on any machine."""
    accuracy = write("model.onnx", epochs)
    print(f"{Path('model.onnx').stat().st_size / 1000:.0f} kB, {accuracy:.1f} % right")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(*classify(sys.argv[1], np.load(sys.argv[2])))
    else:
        main()
