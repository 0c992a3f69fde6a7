"""Hugging Face: a callback prunes a convolutional network of `transformers` while their Trainer trains it.

Needs the extra `transformers`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import prunus
from prunus.integrations.transformers import PruningCallback
from prunus.methods.soft import SoftPruning

EXAMPLE = {"pixel_values": torch.zeros(1, 1, 8, 8)}  # what the network is called with


class Digits(Dataset[dict[str, Tensor]]):
    """Digits as their Trainer wants them."""

    def __init__(self, part: str) -> None:
        split = getattr(prunus.data.load("digits"), part)
        self.images, self.labels = split.images.float() / 255, split.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def network() -> ResNetForImageClassification:
    """A small ResNet of theirs; with weights, `ResNetForImageClassification.from_pretrained(…)`."""
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 48], "depths": [1, 1, 1]}
    config = ResNetConfig(num_channels=1, layer_type="basic", num_labels=10, **sizes)
    return ResNetForImageClassification(config)


def accuracy(found: Any) -> dict[str, float]:
    """What the Trainer shows."""
    return {"accuracy": 100 * float((found.predictions.argmax(1) == found.label_ids).mean())}


def main(epochs: int = 8, folder: str = "runs/huggingface", **options: Any) -> ResNetForImageClassification:
    """Train softly pruned, take the compact network, and fine-tune it by a Trainer like any other."""
    torch.manual_seed(0)
    model = network()
    settings = {"per_device_train_batch_size": 64, "learning_rate": 5e-3, "report_to": [], **options}
    callback = PruningCallback(SoftPruning(EXAMPLE, rate=0.5))
    digits, held = Digits("train"), Digits("test")
    arguments = TrainingArguments(folder, num_train_epochs=epochs, save_strategy="no", **settings)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=digits,
        eval_dataset=held,
        callbacks=[callback],
        compute_metrics=accuracy,
    )
    trainer.train()
    before = trainer.evaluate()["eval_accuracy"]
    small: Any = callback.small
    arguments = TrainingArguments(folder, num_train_epochs=1, save_strategy="no", **settings)
    tuning = Trainer(small, arguments, train_dataset=digits, eval_dataset=held, compute_metrics=accuracy)
    after = tuning.evaluate()["eval_accuracy"]
    tuning.train()
    print(
        f"{before:.1f} % softly pruned, {after:.1f} % without the filters,"
        f" {tuning.evaluate()['eval_accuracy']:.1f} % tuned"
    )
    print(f"{model.num_parameters():,} parameters before, {small.num_parameters():,} after")
    return small


if __name__ == "__main__":
    main()
