"""The names of what a run leaves in its folder: where they are said, nothing heavy is imported."""

from __future__ import annotations

RESULT = "result.json"
INDEX = ("training.json", RESULT)  # of a run; they say what its other files are
FILES = (
    "model.safetensors",
    "gates.safetensors",
    "plan.json",
    "model.onnx",
    "model.onnx.data",
    "model.int8.onnx",
    "model.int8.onnx.data",
    "report.html",
    *INDEX,
)
KEPT, OF_EPOCHS = "kept", "epoch-*.npy"  # a folder of the samples that every epoch was trained on, its files
PROGRESS = ("recipe.toml", "metrics.jsonl", KEPT)  # of a training; they belong to its checkpoints
OF_RUNS = frozenset({*FILES, *PROGRESS})

__all__ = ["FILES", "INDEX", "KEPT", "OF_EPOCHS", "OF_RUNS", "PROGRESS", "RESULT"]
